// kernel-gw's wire format, read back with the C++ protobuf library's view of the same bytes.
#include "ike/plugin/messages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "make_sa.hpp"

namespace gw::kernel_gw_test {
namespace {

struct FreeRequest {
  void operator()(Gw__Fastpath__V1__ClientFrame* f) const { gw__fastpath__v1__client_frame__free_unpacked(f, nullptr); }
};
using Request = std::unique_ptr<Gw__Fastpath__V1__ClientFrame, FreeRequest>;

Request parse(gw_frame frame) {
  EXPECT_GE(frame.len, 4U);
  const std::size_t length = std::size_t{frame.bytes[0]} << 24 | std::size_t{frame.bytes[1]} << 16 |
                             std::size_t{frame.bytes[2]} << 8 | frame.bytes[3];
  EXPECT_EQ(length, frame.len - 4);
  Request request{gw__fastpath__v1__client_frame__unpack(nullptr, length, frame.bytes + 4)};
  gw_frame_clear(&frame);
  EXPECT_EQ(frame.bytes, nullptr);
  return request;
}

struct Sa : gw_sa {
  explicit Sa(gw_direction direction) : gw_sa{} { params = kernel_gw_test::params(0x3000abcd, direction); }
  ~Sa() { gw_sa_params_clear(&params); }
  Sa(const Sa&) = delete;
  Sa& operator=(const Sa&) = delete;
};

TEST(Messages, AddSaCarriesTheSa) {
  Sa sa{GW_OUTBOUND};
  sa.params.path.encapsulation = GW_ENCAP_UDP;
  sa.params.path.src_port = 4500;
  sa.params.path.dst_port = 40001;
  const Request request = parse(gw_message_add_sa(17, &sa, 0));
  ASSERT_EQ(request->body_case, GW__FASTPATH__V1__CLIENT_FRAME__BODY_ADD_SA);
  EXPECT_EQ(request->id, 17U);
  const Gw__Fastpath__V1__AddSa& body = *request->add_sa;
  EXPECT_EQ(body.id->spi, 0x3000abcdU);
  EXPECT_EQ(body.key.len, 36U);
  EXPECT_EQ(body.dst->port, 40001U);
  EXPECT_TRUE(body.udp_encapsulation);
  EXPECT_FALSE(body.inbound);
  EXPECT_EQ(body.replay_window, 0U);
  ASSERT_EQ(body.n_local_selectors, 1U);
  EXPECT_EQ(body.local_selectors[0]->last_port, 65535U);
}

TEST(Messages, AddSaCarriesAlgorithmsAndBothKeys) {
  Sa sa{GW_OUTBOUND};
  sa.params.algorithms = {.encryption = GW__FASTPATH__V1__ENCRYPTION__AES_CBC,
                          .integrity = GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_512_256};
  sa.params.tfc_pad_to_bytes = 700;
  sa.params.key_len = 32;
  sa.params.integrity_key_len = GW_INTEGRITY_KEY_MAX;
  std::memset(sa.params.integrity_key, 0x22, GW_INTEGRITY_KEY_MAX);
  const Request request = parse(gw_message_add_sa(17, &sa, 0));
  const Gw__Fastpath__V1__AddSa& body = *request->add_sa;
  EXPECT_EQ(body.encryption, GW__FASTPATH__V1__ENCRYPTION__AES_CBC);
  EXPECT_EQ(body.integrity, GW__FASTPATH__V1__INTEGRITY__HMAC_SHA2_512_256);
  EXPECT_EQ(body.tfc_pad_to, 700U);
  EXPECT_EQ(body.key.len, 32U);
  ASSERT_EQ(body.integrity_key.len, 64U);
  EXPECT_EQ(body.integrity_key.data[63], 0x22);
}

TEST(Messages, PortsAreOnlyForEncapsulation) {
  Sa sa{GW_OUTBOUND};
  sa.params.path.dst_port = 4500;
  EXPECT_EQ(parse(gw_message_add_sa(1, &sa, 0))->add_sa->dst->port, 0U);
}

TEST(Messages, FreshMeansThatNobodyEverAcknowledged) {
  Sa sa{GW_OUTBOUND};
  EXPECT_TRUE(parse(gw_message_add_sa(1, &sa, 0))->add_sa->fresh);
  sa.acknowledged = true;
  EXPECT_FALSE(parse(gw_message_add_sa(1, &sa, 0))->add_sa->fresh);
}

TEST(Messages, SyncedIsSaidOfTheOtherInstancesSas) {
  Sa sa{GW_OUTBOUND};
  EXPECT_FALSE(parse(gw_message_add_sa(1, &sa, 0))->add_sa->synced);
  sa.params.origin = GW_SYNCED;
  EXPECT_TRUE(parse(gw_message_add_sa(1, &sa, 0))->add_sa->synced);
}

TEST(Messages, InboundWindowIsNeverSwitchedOff) {
  Sa sa{GW_INBOUND};
  EXPECT_EQ(parse(gw_message_add_sa(1, &sa, 0))->add_sa->replay_window, 64U);
  sa.params.replay_window_pkts = 1024;
  EXPECT_EQ(parse(gw_message_add_sa(1, &sa, 0))->add_sa->replay_window, 1024U);
}

TEST(Messages, HardSecondsAreWhatIsLeftAndNeverTurnIntoNoLimit) {
  Sa sa{GW_INBOUND};
  sa.installed_ms = 1'000'000;
  const auto left_at = [&](std::uint64_t now_ms) {
    return parse(gw_message_add_sa(1, &sa, now_ms))->add_sa->lifetime->hard_seconds;
  };
  EXPECT_EQ(left_at(1'000'000), 0U);  // no limit
  sa.params.limits.hard_seconds = 100;
  EXPECT_EQ(left_at(1'000'000), 100U);
  EXPECT_EQ(left_at(1'040'000), 60U);
  EXPECT_EQ(left_at(1'100'000), 1U);
  EXPECT_EQ(left_at(9'000'000), 1U);
}

TEST(Messages, AddressesAreFourOrSixteenBytes) {
  std::vector<std::uint8_t> bytes(17, 1);
  gw_addr out{};
  for (std::size_t length = 0; length <= 17; length++) {
    const ProtobufCBinaryData data = {.len = length, .data = bytes.data()};
    EXPECT_EQ(gw_message_address(&data, &out), length == 4 || length == 16) << length;
  }
}

TEST(Messages, SaIdNeedsAnSpiAndAnAddress) {
  gw_sa_id out{};
  EXPECT_FALSE(gw_message_sa_id(nullptr, &out));
  Gw__Fastpath__V1__SaId id = GW__FASTPATH__V1__SA_ID__INIT;
  gw_addr dst = kPeer;
  id.dst = {.len = 4, .data = dst.bytes};
  EXPECT_FALSE(gw_message_sa_id(&id, &out));
  id.spi = 0x1000;
  EXPECT_TRUE(gw_message_sa_id(&id, &out));
  id.dst.len = 3;
  EXPECT_FALSE(gw_message_sa_id(&id, &out));
}

TEST(Messages, UnknownCodesHaveAName) {
  EXPECT_STREQ(gw_message_code_name(GW__FASTPATH__V1__CODE__LIMIT), "LIMIT");
  EXPECT_STREQ(gw_message_code_name(static_cast<Gw__Fastpath__V1__Code>(99)), "unknown code");
}

class Reader : public testing::Test {
 protected:
  ~Reader() override { gw_reader_clear(&reader_); }

  void feed(const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
      std::size_t room = 0;
      std::uint8_t* space = gw_reader_space(&reader_, &room);
      ASSERT_GT(room, 0U);
      const std::size_t count = std::min(room, bytes.size() - at);
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), count, space);
      gw_reader_received(&reader_, count);
      at += count;
    }
  }
  gw_read next(std::uint64_t* id = nullptr) {
    Gw__Fastpath__V1__ServerFrame* frame = nullptr;
    const gw_read result = gw_reader_next(&reader_, &frame);
    if (result == GW_READ_FRAME) {
      if (id) *id = frame->response->id;
      gw__fastpath__v1__server_frame__free_unpacked(frame, nullptr);
    }
    return result;
  }
  // ServerFrame{response{id}}, id below 128
  static std::string response(char id) { return {0, 0, 0, 4, 0x0a, 2, 0x08, id}; }

  gw_reader reader_{};
};

TEST_F(Reader, TakesFramesByteByByteAndSeveralAtOnce) {
  std::uint64_t id = 0;
  for (char byte : response(5)) {
    EXPECT_EQ(next(), GW_READ_MORE);
    feed(std::string(1, byte));
  }
  EXPECT_EQ(next(&id), GW_READ_FRAME);
  EXPECT_EQ(id, 5U);
  feed(response(6) + response(7) + std::string(3, '\0'));
  EXPECT_EQ(next(&id), GW_READ_FRAME);
  EXPECT_EQ(next(&id), GW_READ_FRAME);
  EXPECT_EQ(id, 7U);
  EXPECT_EQ(next(), GW_READ_MORE);
}

TEST_F(Reader, RefusesALengthAboveTheLimitBeforeTheBodyComes) {
  feed({0, 0x10, 0, 1});
  EXPECT_EQ(next(), GW_READ_TOO_LONG);
}

TEST_F(Reader, TakesAFrameOfExactlyTheLimit) {
  // Response.status.message of the length that makes the frame 1 MiB: 1048576 - 3 x (1 tag + 3 length)
  const std::string message(1024 * 1024 - 12, 'm');
  const auto field = [](char tag, const std::string& body) {
    const std::size_t n = body.size();
    return std::string{tag, static_cast<char>((n & 0x7f) | 0x80), static_cast<char>((n >> 7 & 0x7f) | 0x80),
                       static_cast<char>(n >> 14)} +
           body;
  };
  const std::string body = field(0x0a, field(0x12, field(0x12, message)));
  ASSERT_EQ(body.size(), std::size_t{GW_FRAME_MAX});
  feed(std::string({0, 0x10, 0, 0}) + body);
  EXPECT_EQ(next(), GW_READ_FRAME);
}

TEST_F(Reader, RefusesABodyThatDoesNotParse) {
  feed({0, 0, 0, 2, '\xff', '\xff'});
  EXPECT_EQ(next(), GW_READ_MALFORMED);
}

}  // namespace
}  // namespace gw::kernel_gw_test
