#include "ebpf/relay/ike_inbox.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

namespace gw::relay {

void IkeInbox::Door::copy_in(std::size_t at, std::span<const std::uint8_t> bytes) {
  const std::size_t from = at % kDoorBytes;
  const std::size_t first = std::min(bytes.size(), kDoorBytes - from);
  std::ranges::copy(bytes.first(first), bytes_.get() + from);
  std::ranges::copy(bytes.subspan(first), bytes_.get());
}

void IkeInbox::Door::copy_out(std::size_t at, std::span<std::uint8_t> bytes) const {
  const std::size_t from = at % kDoorBytes;
  const std::size_t first = std::min(bytes.size(), kDoorBytes - from);
  std::copy_n(bytes_.get() + from, first, bytes.begin());
  std::copy_n(bytes_.get(), bytes.size() - first, bytes.begin() + static_cast<std::ptrdiff_t>(first));
}

void IkeInbox::Door::push(const IkeFlow& flow, std::span<const std::uint8_t> payload) {
  static_assert(std::is_trivially_copyable_v<Head>);
  const std::size_t tail = tail_.load(std::memory_order_relaxed);
  const std::size_t room = kDoorBytes - (tail - head_.load(std::memory_order_acquire));
  if (payload.size() > GW_IKE_RELAY_MAX_PAYLOAD || sizeof(Head) + payload.size() > room) return dropped_.add();
  const Head head{flow, static_cast<std::uint32_t>(payload.size())};
  std::array<std::uint8_t, sizeof head> raw;
  std::memcpy(raw.data(), &head, sizeof head);
  copy_in(tail, raw);
  copy_in(tail + sizeof head, payload);
  tail_.store(tail + sizeof head + payload.size(), std::memory_order_release);
  pushed_ = true;
}

void IkeInbox::Door::ring() {
  if (std::exchange(pushed_, false)) (void)::eventfd_write(event_, 1);
}

std::optional<IkeMessage> IkeInbox::Door::pop(std::span<std::uint8_t> buffer) {
  const std::size_t at = head_.load(std::memory_order_relaxed);
  if (at == tail_.load(std::memory_order_acquire)) return std::nullopt;
  Head head;
  std::array<std::uint8_t, sizeof head> raw;
  copy_out(at, raw);
  std::memcpy(&head, raw.data(), sizeof head);
  const auto payload = buffer.first(head.length);
  copy_out(at + sizeof head, payload);
  head_.store(at + sizeof head + head.length, std::memory_order_release);
  return IkeMessage{head.flow, payload};
}

Result<std::unique_ptr<IkeInbox>> IkeInbox::make(std::size_t workers) {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("making the event of the IKE inbox");
  std::unique_ptr<IkeInbox> inbox(new IkeInbox(std::move(event)));
  for (std::size_t i = 0; i < workers; ++i) inbox->doors_.push_back(std::make_unique<Door>(inbox->fd()));
  return inbox;
}

void IkeInbox::clear_event() {
  eventfd_t value = 0;
  (void)::eventfd_read(event_.get(), &value);
}

void IkeInbox::leave_rest() { (void)::eventfd_write(event_.get(), 1); }

std::optional<IkeMessage> IkeInbox::pop(std::span<std::uint8_t> buffer) {
  for (std::size_t tries = 0; tries < doors_.size(); ++tries) {
    Door& door = *doors_[next_];
    next_ = (next_ + 1) % doors_.size();
    if (const auto message = door.pop(buffer)) return message;
  }
  return std::nullopt;
}

std::uint64_t IkeInbox::dropped() const {
  std::uint64_t all = 0;
  for (const auto& door : doors_) all += door->dropped_.get();
  return all;
}

}  // namespace gw::relay
