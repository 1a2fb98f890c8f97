// kernel-gw inside charon, with anything but gw-fastpath at the other end of its socket: the reader and what the
// session makes of each frame. The first byte says how many bytes a read brings at most.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "ike/plugin/session.h"

namespace {

constexpr std::uint32_t kTunnel = 7;
constexpr std::uint32_t kInboundSpi = 0x1000;
constexpr std::uint32_t kOutboundSpi = 0x2000;

gw_addr address(std::uint8_t host) { return {.len = 4, .bytes = {192, 0, 2, host}}; }  // RFC 5737

gw_sa_id id_of(gw_direction direction) {
  return direction == GW_INBOUND ? gw_sa_id{kInboundSpi, address(1)} : gw_sa_id{kOutboundSpi, address(2)};
}

gw_sa_params params(gw_direction direction) {
  gw_sa_params p{};
  p.spi = id_of(direction).spi;
  p.path.src = direction == GW_INBOUND ? address(2) : address(1);
  p.path.dst = id_of(direction).dst;
  p.direction = direction;
  p.tunnel_id = kTunnel;
  p.reqid = 1;
  p.algorithms = {.encryption = 1, .integrity = 0};
  p.key_len = GW_KEY_MAX;
  std::memset(p.key, 0x11, GW_KEY_MAX);
  for (gw_selectors* side : {&p.local, &p.remote}) {
    side->list = static_cast<gw_selector*>(std::calloc(1, sizeof(gw_selector)));
    if (side->list == nullptr) std::abort();
    side->list[0] = {.first = address(0), .last = address(255), .protocol = 0, .first_port = 0, .last_port = 65535};
    side->count = 1;
  }
  return p;
}

// charon at work on one connection: two SAs with policies from before, a trap, and callers that wait.
class Charon {
 public:
  Charon() {
    const gw_session_env env = {.now_ms = [] { return std::uint64_t{1'000'000}; },
                                .log = [](gw_log_level, const char*) {},
                                .hello = {.name = "charon", .epoch = 99}};
    session_ = gw_session_create(&env);
    for (const gw_direction direction : {GW_INBOUND, GW_OUTBOUND}) {
      gw_sa_params p = params(direction);
      gw_session_add_sa(session_, &p, &waits_[direction]);
    }
    const gw_policy trap{.tunnel_id = kTunnel, .reqid = 1, .sa = {.spi = 0, .dst = address(2)}};
    const gw_policy used{.tunnel_id = kTunnel, .reqid = 1, .sa = id_of(GW_OUTBOUND)};
    gw_session_add_policy(session_, &trap);
    gw_session_add_policy(session_, &used);
    gw_session_connected(session_);
  }
  // Whatever the peer did, nobody waits for ever.
  ~Charon() {
    gw_session_lost(session_);
    for (const gw_wait& wait : waits_)
      if (wait.outcome == GW_PENDING) std::abort();
    take_all();
    gw_session_destroy(session_);
  }
  Charon(const Charon&) = delete;
  Charon& operator=(const Charon&) = delete;

  bool receive(const Gw__Fastpath__V1__ServerFrame& frame) {
    const bool ok = gw_session_receive(session_, &frame);
    take_all();
    if (gw_session_state(session_) == GW_SESSION_READY && !asked_) ask();
    return ok;
  }

 private:
  // One request of each kind, once the session takes them.
  void ask() {
    asked_ = true;
    const gw_sa_id in = id_of(GW_INBOUND);
    const gw_sa_id out = id_of(GW_OUTBOUND);
    const gw_path moved{
        .src = address(1), .dst = address(3), .src_port = 4500, .dst_port = 4500, .encapsulation = GW_ENCAP_UDP};
    gw_session_query_sa(session_, &in, &waits_[2]);
    gw_session_update_sa(session_, &out, &moved, &waits_[3]);
    gw_sa_params more = params(GW_OUTBOUND);
    more.spi = kOutboundSpi + 1;
    gw_session_add_sa(session_, &more, &waits_[4]);
    gw_session_del_sa(session_, &in);
    take_all();
  }
  void take_all() {
    while (gw_session_to_send(session_) != nullptr) gw_session_sent(session_);
    gw_action* next = nullptr;
    for (gw_action* action = gw_session_take_actions(session_); action != nullptr; action = next) {
      next = action->next;
      if (action->kind != GW_RAISE_ACQUIRE && action->sa.dst.len != 4 && action->sa.dst.len != 16) std::abort();
      std::free(action);
    }
  }

  gw_session* session_;
  bool asked_ = false;
  std::array<gw_wait, 5> waits_{{{GW_DONE, ""}, {GW_DONE, ""}, {GW_DONE, ""}, {GW_DONE, ""}, {GW_DONE, ""}}};
};

// False: the connection is over.
bool take_frames(gw_reader& reader, Charon& charon) {
  for (;;) {
    Gw__Fastpath__V1__ServerFrame* frame = nullptr;
    const gw_read read = gw_reader_next(&reader, &frame);
    if (read != GW_READ_FRAME) return read == GW_READ_MORE;
    const bool ok = charon.receive(*frame);
    gw__fastpath__v1__server_frame__free_unpacked(frame, nullptr);
    if (!ok) return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t at_most = data[0] + std::size_t{1};
  std::span rest(data + 1, size - 1);
  Charon charon;
  gw_reader reader{};
  while (!rest.empty()) {
    std::size_t room = 0;
    std::uint8_t* space = gw_reader_space(&reader, &room);
    const std::size_t count = std::min({room, at_most, rest.size()});
    if (count == 0) std::abort();
    std::memcpy(space, rest.data(), count);
    gw_reader_received(&reader, count);
    rest = rest.subspan(count);
    if (!take_frames(reader, charon)) break;
  }
  gw_reader_clear(&reader);
  return 0;
}
