// IKE takeover, gwd's side: the server of charon's gw-ha plugin on this machine, and one end of a conversation with the
// other instance's HaLink, whose frames the owner carries (encrypted and authenticated: they hold IKE keys).
//
// Which address is whose is the owner's decision (HaController); this class carries it out and remembers it. A charon
// that has restarted gets its own IKE SAs back from the other instance, which holds them passive, before it owns them
// again. Whenever charon and the channel are both there (again), both sides tell everything, and what the owner of an
// address no longer has goes from the other side: nothing is doubled and no CHILD_SA is rekeyed. Everything on one
// thread's executor.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.hpp"
#include "base/result.hpp"

struct gw_ha_control;

namespace gw::ike {

class HaLink {
 public:
  /// Of a move that charon has carried out.
  struct Moved {
    std::uint32_t ike_sas = 0;
    std::chrono::microseconds took{0};  // in charon, from the order to the last SA's change of state
  };
  struct State {
    bool charon = false;            // gw-ha is connected
    bool channel = false;           // as the owner has said
    bool synced = false;            // since both are there, the other instance has told everything
    std::uint32_t held = 0;         // IKE SAs of the other instance, as of the last full sync
    std::uint64_t sent = 0;         // frames to the other instance
    std::uint64_t received = 0;     // frames from it
    std::uint64_t not_carried = 0;  // from either charon while the other end was away: the next full sync has it
    std::uint64_t refused = 0;      // frames that no HaLink sends
    std::uint64_t full_syncs = 0;   // received to the end
  };
  struct Handlers {
    /// A frame for the other instance's receive(): in order and without loss as long as the channel lasts. It holds
    /// keys: whoever keeps a copy wipes it (gw::wipe).
    std::function<void(std::string frame)> send;
    /// charon came or went, a full sync ended. From the executor, never from inside a call of the owner's.
    std::function<void(const State& state)> changed = nullptr;
  };

  HaLink(boost::asio::any_io_executor executor, Handlers handlers);
  ~HaLink();
  HaLink(const HaLink&) = delete;
  HaLink& operator=(const HaLink&) = delete;

  /// Makes the Unix socket, mode 0660: its group is that of the gateway's daemons. kAlreadyExists: another process
  /// answers there.
  Status listen(const std::string& path);
  void stop();

  /// charon has the connections of the present configuration: after each `changed` that says it came (nothing is synced
  /// before, because an IKE SA without its connection is refused) and whenever they have changed (what the other
  /// instance has of a connection that is new here was refused so far).
  void connections_loaded();
  /// A connection to the other instance begins, with nothing of the last one's to come; it has ended.
  void channel_up();
  void channel_down();
  /// A frame of the other instance's `send`. One that no HaLink sends is refused by name and changes nothing.
  Status receive(std::string_view frame);

  /// The IKE SAs of `address` are this instance's (true at once for those that come later), or the other's: then no
  /// message is sent for them, not even a DELETE when charon ends. Idempotent; remembered when charon is away or has no
  /// connections yet, which kClosed says. kTimeout: charon has the order but has not answered.
  /// `last_word`: how long take() waits for the end of what the other instance's charon has to say of `address`, which
  /// follows its release() (frames may be on the way yet when the owner hears of that elsewhere). Not with 0, nor
  /// longer than there is a channel.
  boost::asio::awaitable<Result<Moved>> take(IpAddress address, std::chrono::milliseconds timeout,
                                             std::chrono::milliseconds last_word = {});
  boost::asio::awaitable<Result<Moved>> release(IpAddress address, std::chrono::milliseconds timeout);

  const State& state() const { return state_; }
  /// As told by take() and release().
  const std::set<IpAddress>& owned() const { return owned_; }

 private:
  enum class Order : std::uint8_t;
  enum Frame : char;
  struct Waiting;
  struct LastWord;
  using Descriptor = boost::asio::posix::stream_descriptor;

  void accept();
  void watch_listener();
  void watch_charon();
  void lose_charon(std::string_view why);
  void from_charon();
  bool charon_said(std::span<const std::uint8_t> message);
  void control(const gw_ha_control& said);
  void ask_for_everything();
  void begin();
  void claim_owned();
  void to_charon(std::string message);
  void write_to_charon();
  void order(Order what, const std::optional<IpAddress>& address);
  void to_peer(std::string frame);
  void tell_peer(Frame what, const IpAddress& address);
  bool heard_last_word(std::string_view frame);
  boost::asio::awaitable<void> wait_for_last_word(IpAddress address, std::chrono::milliseconds timeout);
  void stop_waiting_for_last_words();
  void tell_changed();
  boost::asio::awaitable<Result<Moved>> move(Order what, IpAddress address, std::chrono::milliseconds timeout);

  boost::asio::any_io_executor executor_;
  Handlers handlers_;
  State state_;
  std::set<IpAddress> owned_;
  std::set<IpAddress> claimed_;  // the present charon has been told that they are ours
  bool loaded_ = false;          // the present charon has its connections
  bool asked_ = false;           // the other instance wants everything as soon as charon is there
  std::string path_;
  Descriptor listener_;
  Descriptor charon_;
  std::list<std::string> outgoing_;  // to charon; wiped when written
  bool writing_ = false;
  std::size_t outgoing_bytes_ = 0;
  boost::asio::steady_timer patience_;  // how long a charon that has restarted waits for the other instance's copies
  std::list<std::shared_ptr<Waiting>> waiting_;
  std::set<IpAddress> last_words_;  // the other instance has released them, and everything said before that is here
  std::list<std::shared_ptr<LastWord>> expected_;
  std::vector<std::uint8_t> buffer_;
  std::shared_ptr<bool> alive_;
};

}  // namespace gw::ike
