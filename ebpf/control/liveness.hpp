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
#include "gw/fastpath/v1/fastpath.pb.h"

namespace gw::control {

namespace fp = ::gw::fastpath::v1;

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
    std::function<void(const fp::BfdSync&)> sync;  // for the other instance
  };
  Liveness(std::unique_ptr<liveness::Thread> thread, const Parts& parts);
  void on_findings(Handlers handlers) { handlers_ = std::move(handlers); }

  /// The other instance, or none. The same once more changes nothing but the key; what it looks like is told in any
  /// case. Errors name the field.
  Status set_peer(const std::optional<liveness::PeerSettings>& settings, Secret key);
  /// The heartbeat goes on where another process of this instance has stopped.
  Status go_on_with_peer(const liveness::PeerSettings& settings, Secret key,
                         const liveness::Partner::Continuation& from);
  /// None: no peer. Paused.
  std::optional<liveness::Partner::Continuation> continuation();
  /// All sessions that are up. Paused.
  void snapshot_bfd(fp::BfdSync& out);
  /// They go on here, by these sockets.
  Status go_on_with_bfd(const fp::BfdSync& sessions, std::array<Fd, 4> receivers);

  /// After a change of endpoints: what heartbeats say.
  void set_claims(const Endpoints& endpoints);
  /// gwd has asked something.
  void note_control() { thread_->note_control(); }
  /// A gwd that has just come knows nothing of the other instance yet.
  void tell_peer();

  liveness::Thread& thread() { return *thread_; }
  int event_fd() const { return thread_->event_fd(); }
  // --- BFD sessions of the other instance ---
  /// A new connection to it: it hears of all of ours.
  void sync_connected();
  void sync_disconnected() { in_sync_ = false; }
  /// What it said; of what cannot be, the first fault.
  Status receive_sync(std::string_view bytes);
  /// The device of a tunnel can send: its sessions that ran on the other instance go on here.
  void adopt(const std::string& device);
  void list(fp::BfdList& out);

  /// When event_fd() is readable.
  void forward_events();

 private:
  void share(const bfd::SharedSession& session);
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
  bool in_sync_ = false;
  std::map<bfd::SessionKey, bfd::State> logged_;
  std::string last_remark_;
};

}  // namespace gw::control
