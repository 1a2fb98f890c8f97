// bfdd's messages against structs laid out as its header has them (bfdd/bfddp_packet.h, FRR 10.3).
#include "ebpf/bfd/dplane_message.hpp"

#include <gtest/gtest.h>

#include <random>

#include "base/wire.hpp"

namespace gw::bfd {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes header(std::uint16_t type, std::size_t content, std::uint16_t id = 0) {
  Bytes m(8 + content);
  m[0] = 1;
  store_be(&m[2], type);
  store_be(&m[4], id);
  store_be(&m[6], static_cast<std::uint16_t>(m.size()));
  return m;
}

Bytes add_session(std::uint32_t flags) {
  Bytes m = header(2, 132);
  std::uint8_t* c = m.data() + 8;
  store_be(c, flags);
  const auto src = IpAddress::parse(flags & 16 ? "fe80::1" : "169.254.1.1").value();
  const auto dst = IpAddress::parse(flags & 16 ? "fe80::2" : "169.254.1.2").value();
  std::ranges::copy(src.bytes(), c + 4);
  std::ranges::copy(dst.bytes(), c + 20);
  store_be(c + 36, std::uint32_t{0xabcd});
  store_be(c + 40, std::uint32_t{50'000});
  store_be(c + 44, std::uint32_t{60'000});
  c[60] = 251;
  c[61] = 4;
  std::ranges::copy(std::string_view("tun1"), c + 68);
  return m;
}

template <class T>
T read(const Bytes& bytes) {
  DplaneReader reader;
  reader.feed(bytes);
  const auto m = reader.next();
  EXPECT_TRUE(m && *m);
  return std::get<T>(**m);
}

TEST(Dplane, AnAddedSession) {
  const auto s = read<AddSession>(add_session(0));
  EXPECT_EQ(s.id, DplaneId{0xabcd});
  EXPECT_EQ(to_string(s.key), "169.254.1.2 on tun1");
  EXPECT_EQ(s.key.local, IpAddress::parse("169.254.1.1").value());
  EXPECT_EQ(s.settings.desired_min_tx, Interval(50'000));
  EXPECT_EQ(s.settings.required_min_rx, Interval(60'000));
  EXPECT_EQ(s.settings.detect_multiplier, 4);
  EXPECT_EQ(s.settings.role, Role::kActive);
  EXPECT_EQ(s.settings.admin, Admin::kEnabled);
  EXPECT_EQ(s.min_ttl, 255) << "single hop, whatever it says";
  EXPECT_TRUE(s.refused.empty());
}

TEST(Dplane, ItsFlags) {
  const auto s = read<AddSession>(add_session(0x7f));
  EXPECT_EQ(to_string(s.key), "fe80::2 (multihop)");
  EXPECT_EQ(s.min_ttl, 251);
  EXPECT_EQ(s.settings.role, Role::kPassive);
  EXPECT_EQ(s.settings.admin, Admin::kDisabled);
  EXPECT_EQ(s.refused, (std::vector<std::string_view>{"demand mode", "echo mode"}));
}

TEST(Dplane, ANameWithoutAnEndIsAsLongAsItsField) {
  Bytes m = add_session(0);
  std::fill_n(m.begin() + 8 + 68, 64, 'x');
  EXPECT_EQ(read<AddSession>(m).key.device, std::string(64, 'x'));
}

TEST(Dplane, MessagesInPieces) {
  Bytes all = add_session(0);
  const Bytes unknown = header(42, 5);
  Bytes counters = header(5, 4, 7);
  counters[11] = 9;
  all.insert(all.end(), unknown.begin(), unknown.end());
  all.insert(all.end(), counters.begin(), counters.end());
  DplaneReader reader;
  std::size_t messages = 0;
  for (const std::uint8_t byte : all) {
    reader.feed(std::span(&byte, 1));
    const auto m = reader.next();
    ASSERT_TRUE(m);
    if (*m) ++messages;
  }
  EXPECT_EQ(messages, 2u) << "a later version's is passed over";
}

TEST(Dplane, WhatCannotBeEndsTheStream) {
  const auto error_of = [](const Bytes& bytes) {
    DplaneReader reader;
    reader.feed(bytes);
    const auto m = reader.next();
    return m ? Errc::kInternal : m.error().code;
  };
  Bytes m = add_session(0);
  m[0] = 2;
  EXPECT_EQ(error_of(m), Errc::kUnsupported);
  m = add_session(0);
  store_be(&m[6], std::uint16_t{7});
  EXPECT_EQ(error_of(m), Errc::kMalformed);
  store_be(&m[6], std::uint16_t{2000});
  EXPECT_EQ(error_of(m), Errc::kMalformed);
  EXPECT_EQ(error_of(header(2, 131)), Errc::kMalformed);
  EXPECT_EQ(error_of(header(3, 4)), Errc::kMalformed);
  EXPECT_EQ(error_of(header(5, 3)), Errc::kMalformed);
  EXPECT_EQ(error_of(header(0, 7)), Errc::kMalformed);
}

TEST(Dplane, GarbageNeverDoesMoreThanEndTheStream) {
  std::mt19937 random(1);
  for (int run = 0; run < 20'000; ++run) {
    Bytes m = add_session(0);
    for (int i = 0; i < 4; ++i) m[random() % m.size()] = static_cast<std::uint8_t>(random());
    m.resize(random() % (m.size() + 1));
    DplaneReader reader;
    reader.feed(m);
    while (true) {
      const auto next = reader.next();
      if (!next || !*next) break;
    }
  }
}

TEST(Dplane, AStateChange) {
  Session s(5, {}, MonoTime(std::chrono::seconds(1)));
  ASSERT_TRUE(s.receive({.diagnostic = Diagnostic::kPathDown,
                         .state = State::kInit,
                         .control_plane_independent = true,
                         .detect_multiplier = 4,
                         .my_discriminator = 99,
                         .your_discriminator = 5,
                         .desired_min_tx = Interval(1),
                         .required_min_rx = Interval(2),
                         .required_min_echo_rx = Interval(3)},
                        MonoTime(std::chrono::seconds(1))));
  const Bytes m = state_change(DplaneId{77}, s);
  ASSERT_EQ(m.size(), 36u);
  const std::uint8_t* c = m.data() + 8;
  EXPECT_EQ(load_be<std::uint16_t>(&m[2]), 4);
  EXPECT_EQ(load_be<std::uint16_t>(&m[6]), 36);
  const std::uint32_t words[] = {77, 99, 1, 1, 2, 3};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(load_be<std::uint32_t>(c + 4 * i), words[i]) << i;
  EXPECT_EQ(c[24], 3);
  EXPECT_EQ(c[25], 5);
  EXPECT_EQ(c[26], 4);
}

TEST(Dplane, Counters) {
  const Bytes m =
      counters_reply({DplaneId{9}, 7}, {.in_packets = 1, .in_bytes = 24, .out_packets = 2, .out_bytes = 48});
  ASSERT_EQ(m.size(), 80u);
  EXPECT_EQ(load_be<std::uint16_t>(&m[4]), 7) << "bfdd waits for this number";
  EXPECT_EQ(load_be<std::uint64_t>(&m[16]), 24u);
  EXPECT_EQ(load_be<std::uint64_t>(&m[24]), 1u);
  EXPECT_EQ(load_be<std::uint64_t>(&m[32]), 48u);
  EXPECT_EQ(load_be<std::uint64_t>(&m[40]), 2u);
}

}  // namespace
}  // namespace gw::bfd
