#include "ike/vici_message.hpp"

#include <gtest/gtest.h>

#include <random>

namespace gw::ike {
namespace {

std::span<const std::uint8_t> payload(const std::string& packet) {
  return {reinterpret_cast<const std::uint8_t*>(packet.data()) + 4, packet.size() - 4};
}

ViciMessage sample() {
  ViciMessage inner;
  inner.add("key2", "value2").add_list("list", {"a", "", "ccc"});
  ViciMessage m;
  m.add("key1", "value1").add_section("section", std::move(inner)).add_list("empty", {});
  return m;
}

// The example of the VICI specification, byte by byte.
TEST(ViciMessage, EncodesAsSpecified) {
  ViciMessage sub;
  sub.add("key2", "value2");
  ViciMessage section;
  section.add_section("sub-section", std::move(sub));
  section.add_list("list1", {"item1", "item2"});
  ViciMessage m;
  m.add("key1", "value1").add_section("section1", std::move(section));
  const auto packet = encode_packet(ViciPacketType::kCommandResponse, "", m);
  ASSERT_TRUE(packet);
  const std::string expected = std::string("\x00\x00\x00\x53", 4) + "\x01" +
                               std::string("\x03\x04key1\x00\x06value1", 14) + "\x01\x08section1" +
                               "\x01\x0bsub-section" + std::string("\x03\x04key2\x00\x06value2", 14) + "\x02" +
                               std::string("\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06", 24) + "\x02";
  EXPECT_EQ(packet->substr(4), expected.substr(4));
  EXPECT_EQ(packet->size(), 4U + static_cast<unsigned char>((*packet)[3]));
}

TEST(ViciMessage, RoundTrip) {
  const auto packet = encode_packet(ViciPacketType::kEvent, "log", sample());
  ASSERT_TRUE(packet);
  const auto back = parse_packet(payload(*packet));
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(back->type, ViciPacketType::kEvent);
  EXPECT_EQ(back->name, "log");
  EXPECT_EQ(back->message.to_string(), sample().to_string());
  EXPECT_EQ(back->message.text("key1"), "value1");
  EXPECT_EQ(back->message.section("section")->text("key2"), "value2");
  EXPECT_EQ(back->message.section("section")->list("list")->size(), 3U);
  EXPECT_EQ(back->message.find("section"), std::nullopt);  // of another kind
  EXPECT_EQ(back->message.list("absent"), nullptr);
}

TEST(ViciMessage, TruncatedAnywhereIsAnErrorOrAWholeShorterMessage) {
  const auto packet = encode_packet(ViciPacketType::kEvent, "log", sample());
  std::size_t refused = 0;
  for (std::size_t n = 0; n < packet->size() - 4; ++n) {
    const std::vector<std::uint8_t> cut(payload(*packet).begin(), payload(*packet).begin() + static_cast<long>(n));
    const auto parsed = parse_packet(cut);
    if (!parsed) {
      ++refused;
      EXPECT_EQ(parsed.error().code, Errc::kMalformed);
    }
  }
  // Only cuts between elements of the top level are messages of their own: after the name and two elements.
  EXPECT_EQ(refused, packet->size() - 4 - 3);
}

TEST(ViciMessage, FlippedBytesNeverCrash) {
  const auto packet = encode_packet(ViciPacketType::kEvent, "log", sample());
  std::mt19937 random(1);  // NOLINT: the same bytes every time
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::uint8_t> bytes(payload(*packet).begin(), payload(*packet).end());
    for (int flips = 0; flips < 3; ++flips) bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    const auto parsed = parse_packet(bytes);
    if (parsed) {
      EXPECT_LE(parsed->message.to_string().size(), 4096U);
    }
  }
}

TEST(ViciMessage, NestingIsBounded) {
  std::vector<std::uint8_t> bytes{1};
  for (int i = 0; i < 100; ++i) bytes.insert(bytes.end(), {1, 1, 'x'});
  const auto parsed = parse_packet(bytes);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Errc::kLimit);
}

TEST(ViciMessage, LimitsAreErrorsThatNameTheKey) {
  ViciMessage big;
  big.add("data", std::string(kMaxViciValue + 1, 'x'));
  const auto refused = encode_packet(ViciPacketType::kCommandRequest, "load", big);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().field, "data");
  ViciMessage many;
  for (int i = 0; i < 9; ++i) many.add("data", std::string(kMaxViciValue, 'x'));
  EXPECT_EQ(encode_packet(ViciPacketType::kCommandRequest, "load", many).error().code, Errc::kLimit);
  EXPECT_FALSE(encode_packet(ViciPacketType::kCommandRequest, "", {}));
}

TEST(ViciMessage, SecretsAreSentAndNotPrinted) {
  ViciMessage m;
  m.add_secret("data", Secret("hunter2"));
  EXPECT_EQ(m.to_string(), "data = (secret)\n");
  EXPECT_TRUE(encode_packet(ViciPacketType::kCommandRequest, "load-shared", m)->contains("hunter2"));
}

TEST(ViciMessage, Numbers) {
  ViciMessage m;
  m.add("n", "42").add("spi", "c0ffee01").add("bad", "4x").add("none", "");
  EXPECT_EQ(m.number("n"), 42U);
  EXPECT_EQ(m.hex("spi"), 0xc0ffee01U);
  EXPECT_EQ(m.number("bad"), std::nullopt);
  EXPECT_EQ(m.number("none"), std::nullopt);
  EXPECT_EQ(m.number("absent"), std::nullopt);
}

}  // namespace
}  // namespace gw::ike
