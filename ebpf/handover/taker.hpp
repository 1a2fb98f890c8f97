// The gw-fastpath that takes the place of a running one (giver.hpp): it asks, opens what it needs over the other's
// descriptors, installs what the other has, and takes the baton. It blocks: nobody else waits for this process yet.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ebpf/handover/baton.hpp"
#include "ebpf/handover/channel.hpp"
#include "ebpf/tun/fd_store.hpp"

namespace gw::handover {

class Taker {
 public:
  /// Null: nobody answers. kRefused: the one that runs says why; it goes on.
  static Result<std::unique_ptr<Taker>> ask(const std::string& path, const fp::HandoverAsk& ask);

  const fp::HandoverOffer& offer() const { return offer_; }
  /// Those that came with the offer.
  tun::FdStore& fds() { return fds_; }
  /// Both passes; descriptors that come between are in fds() before `part` needs them. `pass`: one has ended.
  struct Handlers {
    std::function<Status(const fp::HandoverPart&)> part;
    std::function<void()> descriptors;
    std::function<void()> pass;
  };
  Status install(const Handlers& handlers);
  /// The other one has stopped when this returns.
  Result<fp::HandoverFinal> stop_other();
  /// True: this process may send, and the other one never will. Before, nothing that both have is to be changed.
  bool take() { return baton_->take(); }
  void tell_taken();

 private:
  explicit Taker(std::unique_ptr<Channel> channel) : channel_(std::move(channel)) {}
  Status take_descriptors(const fp::HandoverDescriptors& m);
  Status receive_until(fp::HandoverStep step, const Handlers& handlers);

  const std::unique_ptr<Channel> channel_;
  fp::HandoverOffer offer_;
  tun::FdStore fds_;
  std::optional<Baton> baton_;
};

}  // namespace gw::handover
