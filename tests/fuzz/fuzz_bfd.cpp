// BFD control packets into a session that is up: whatever comes, it stays within what RFC 5880 lets a session do, and
// what it sends reads back. The input is a row of packets, each behind a byte of milliseconds to wait first.
#include <cstdlib>
#include <span>

#include "ebpf/bfd/session.hpp"

namespace {
void require(bool condition) {
  if (!condition) std::abort();
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw::bfd;
  gw::MonoTime now{std::chrono::seconds(1000)};
  Session session(Snapshot{.local_discriminator = 1,
                           .state = State::kUp,
                           .remote = {.discriminator = 2, .state = State::kUp, .detect_multiplier = 3}},
                  {}, now);
  (void)parse(std::span(data, size));
  for (std::span rest(data, size); !rest.empty(); rest = rest.subspan(std::min<std::size_t>(rest.size(), 25))) {
    now += std::chrono::milliseconds(rest[0]);
    if (const auto packet = parse(rest.subspan(1))) (void)session.receive(*packet, now);
    session.advance(now);
    int sent = 0;
    while (const auto out = session.take_packet(now)) {
      require(++sent < 4);
      const auto back = parse(serialize(*out));
      require(out->your_discriminator != 0 || out->state == State::kDown || out->state == State::kAdminDown
                  ? back && *back == *out
                  : !back);
    }
    require(session.due() > now);
    require(session.transmit_interval().count() == 0 || session.transmit_interval() >= Session::kFastest);
  }
  return 0;
}
