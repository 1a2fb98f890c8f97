#include "ebpf/relay/ike_inbox.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

namespace gw::relay {

Result<std::unique_ptr<IkeInbox>> IkeInbox::make() {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("making the event of the IKE inbox");
  return std::unique_ptr<IkeInbox>(new IkeInbox(std::move(event)));
}

void IkeInbox::push(const IkeFlow& flow, std::span<const std::uint8_t> payload) {
  if (!queue_.push({flow, {payload.begin(), payload.end()}})) return dropped_.add();
  const std::uint64_t one = 1;
  (void)!::write(event_.get(), &one, sizeof one);
}

void IkeInbox::clear_event() {
  std::uint64_t value = 0;
  (void)!::read(event_.get(), &value, sizeof value);
}

}  // namespace gw::relay
