// The control thread's side of the liveness thread: its findings become log lines and events to clients.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ebpf/control/endpoints.hpp"
#include "ebpf/liveness/thread.hpp"

namespace gw::control {

class Liveness {
 public:
  struct Parts {
    worker::Workers& workers;
    const Clock& clock;
    std::uint8_t instance = 0;
  };
  /// What gwd is to hear.
  struct Handlers {
    std::function<void(const liveness::PartnerStatus&)> peer;
    std::function<void(const liveness::Loss&)> lost;
  };
  Liveness(std::unique_ptr<liveness::Thread> thread, const Parts& parts);
  void on_findings(Handlers handlers) { handlers_ = std::move(handlers); }

  /// The other instance, or none. The same once more changes nothing but the key; what it looks like is told in any
  /// case. Errors name the field.
  Status set_peer(const std::optional<liveness::PeerSettings>& settings, Secret key);
  /// After a change of endpoints: what heartbeats say.
  void set_claims(const Endpoints& endpoints);

  liveness::Thread& thread() { return *thread_; }
  int event_fd() const { return thread_->event_fd(); }
  /// When event_fd() is readable.
  void forward_events();

 private:
  void on(const liveness::BfdChanged& event);
  void on(const liveness::BfdEnded& event);
  void on(const liveness::BfddConnection& event);
  void on(const liveness::PartnerStatus& event);
  void on(const liveness::Loss& event);
  void on(const liveness::Remark& event);

  std::unique_ptr<liveness::Thread> thread_;
  Parts parts_;
  Handlers handlers_;
  std::vector<liveness::GatedClaim> claims_;
  std::optional<liveness::PeerSettings> peer_;
  bool peer_alive_ = false;
  std::map<bfd::SessionKey, bfd::State> logged_;
  std::string last_remark_;
};

}  // namespace gw::control
