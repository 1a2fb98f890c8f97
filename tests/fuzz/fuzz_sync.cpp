// The sync channel after TLS: frames, the first exchange, streams and acknowledgements, as a hostile peer with a good
// certificate could say them.
#include <google/protobuf/stubs/logging.h>

#include <cstdlib>
#include <span>

#include "base/frame.hpp"
#include "gwd/sync/connection.hpp"
#include "gwd/sync/fastpath_carrier.hpp"
#include "gwd/sync/session.hpp"

namespace {

using namespace gw::gwd::sync;

void introduce(const Session& session, const wire::Hello& hello) {
  static const Party party{.gateway = "hub", .instance = "gw-a", .peer_instance = "gw-b", .peer_number = 1};
  (void)choose_version(hello);
  (void)judge_identity(party, hello.identity());
  (void)session.continues(hello);
}

// False: the connection would end here.
bool take(Session& session, wire::Frame& frame) {
  if (frame.has_hello()) introduce(session, frame.hello());
  if (frame.has_ack()) return session.acknowledge(frame.ack().positions(), gw::MonoTime{}).has_value();
  if (!frame.has_data()) return true;
  const auto kind = kind_of(frame.data().kind());
  if (!kind) return true;
  Inbox& inbox = session.in(*kind);
  const auto message = inbox.accept(*frame.mutable_data());
  if (!message) return false;
  if (!*message) return true;
  if ((*message)->size() > kMaxMessage) std::abort();
  gw::ha::v1::FastpathCarry carry;
  CarrierPair pair;
  (void)pair.local_up(1);
  if (carry.ParseFromString(**message) && !pair.fits(carry)) (void)pair.heard_state(carry);
  inbox.handed_on((*message)->size());
  if (inbox.position().limit() < inbox.position().received()) std::abort();
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  [[maybe_unused]] static const auto before = google::protobuf::SetLogHandler(nullptr);
  gw::FrameReader reader(kMaxFrame);
  reader.feed(std::span(data, size));
  Session session;
  wire::Identity peer;
  for (const Kind kind : kKinds) peer.add_kinds(static_cast<std::uint32_t>(kind));
  session.begin(1, peer);
  for (int i = 0; i < 3; ++i) (void)session.out(Kind::kControl).push("message", gw::MonoTime{});
  (void)session.collect(1000);
  for (;;) {
    const auto bytes = reader.next();
    if (!bytes || !*bytes) return 0;
    auto frame = parse_frame(**bytes);
    if (!frame || !take(session, *frame)) return 0;
    session.rewind();
    (void)session.collect(kMaxFrame);
  }
}
