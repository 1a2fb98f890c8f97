#include "ebpf/handover/taker.hpp"

#include "ebpf/rpc/messages.hpp"

namespace gw::handover {
namespace {

using namespace std::chrono_literals;

constexpr Patience kAnswer = 10s;  // it may be busy with another one
constexpr Patience kNextPart = 10s;
constexpr Patience kStopping = 2s;

}  // namespace

Result<std::unique_ptr<Taker>> Taker::ask(const std::string& path, const fp::HandoverAsk& ask) {
  GW_TRY_ASSIGN(auto channel, Channel::connect(path));
  if (!channel) return nullptr;
  std::unique_ptr<Taker> taker(new Taker(std::move(channel)));
  fp::HandoverFrame frame;
  *frame.mutable_ask() = ask;
  GW_TRY(taker->channel_->send(frame, kAnswer));
  GW_TRY_ASSIGN(frame, taker->channel_->receive(kAnswer));
  if (!frame.has_offer()) return fail(Errc::kMalformed, "the running gw-fastpath answers with something else");
  taker->offer_ = frame.offer();
  for (std::uint32_t come = 0; come < taker->offer_.descriptors();) {
    GW_TRY_ASSIGN(const fp::HandoverFrame more, taker->channel_->receive(kAnswer));
    if (!more.has_descriptors() || more.descriptors().names().empty())
      return fail(Errc::kMalformed, "the running gw-fastpath does not send its descriptors");
    GW_TRY(taker->take_descriptors(more.descriptors()));
    come += static_cast<std::uint32_t>(more.descriptors().names_size());
  }
  GW_TRY_ASSIGN(Baton baton, Baton::share(taker->fds_.take("baton")));
  taker->baton_.emplace(std::move(baton));
  return taker;
}

Status Taker::take_descriptors(const fp::HandoverDescriptors& m) {
  for (const std::string& name : m.names()) {
    GW_TRY_ASSIGN(Fd fd, channel_->next_fd());
    fds_.put(name, std::move(fd));
  }
  return {};
}

Status Taker::receive_until(fp::HandoverStep step, const Handlers& handlers) {
  for (;;) {
    GW_TRY_ASSIGN(fp::HandoverFrame frame, channel_->receive(kNextPart));
    if (frame.has_step() && frame.step() == step) {
      handlers.pass();
      return {};
    }
    if (frame.has_descriptors()) {
      GW_TRY(take_descriptors(frame.descriptors()));
      handlers.descriptors();
      continue;
    }
    if (!frame.has_part()) return fail(Errc::kMalformed, "the running gw-fastpath sends something else");
    Status installed = handlers.part(frame.part());
    if (frame.part().has_sa()) rpc::wipe_keys(*frame.mutable_part()->mutable_sa()->mutable_add());
    GW_TRY(std::move(installed));
  }
}

Status Taker::install(const Handlers& handlers) {
  GW_TRY(channel_->send(fp::HANDOVER_BULK_WANTED, kAnswer));
  GW_TRY(receive_until(fp::HANDOVER_BULK_SENT, handlers));
  GW_TRY(channel_->send(fp::HANDOVER_BULK_IN, kAnswer));
  return receive_until(fp::HANDOVER_CHANGES_SENT, handlers);
}

Result<fp::HandoverFinal> Taker::stop_other() {
  GW_TRY(channel_->send(fp::HANDOVER_READY, kAnswer));
  for (;;) {
    GW_TRY_ASSIGN(fp::HandoverFrame frame, channel_->receive(kStopping));
    if (frame.has_final()) return std::move(*frame.mutable_final());
    if (!frame.has_descriptors()) return fail(Errc::kMalformed, "the running gw-fastpath sends something else");
    GW_TRY(take_descriptors(frame.descriptors()));
  }
}

void Taker::tell_taken() { (void)channel_->send(fp::HANDOVER_TAKEN, kAnswer); }

}  // namespace gw::handover
