// What an attacker or a broken peer can send: damaged, cut, repeated, and authentic but malformed packets.
// Nothing of it may get through, and nothing unauthentic may move the replay window or a counter.
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

struct Outer {
  Family family;
  Encapsulation encapsulation;
};
constexpr Outer kOuters[] = {{Family::kV4, Encapsulation::kNative},
                             {Family::kV4, Encapsulation::kUdp},
                             {Family::kV6, Encapsulation::kNative},
                             {Family::kV6, Encapsulation::kUdp}};

// Outer bytes that neither a checksum nor the SA protects, and that change nothing about the delivery: RFC
// 4303 does not cover the outer header. Source address and port are reported as a mapping instead.
bool unprotected(const Outer& o, std::size_t i) {
  if (o.family == Family::kV4)
    return o.encapsulation == Encapsulation::kUdp && (i == 20 || i == 21 || i == 26 || i == 27);
  if (i == 0 || (i >= 1 && i <= 3) || i == 7 || (i >= 8 && i < 24)) return true;  // class, label, hops, source
  return o.encapsulation == Encapsulation::kUdp && (i == 40 || i == 41 || i == 46 || i == 47);
}

TEST(Hostile, EveryDamagedByteIsADropAndMovesNothing) {
  for (const Outer& o : kOuters) {
    for (const SequenceMode mode : {SequenceMode::k32Bit, SequenceMode::kExtended}) {
      SaPair pair({.outer = o.family, .encapsulation = o.encapsulation, .mode = mode});
      ASSERT_EQ(pair.open(pair.seal(inner_packet({}))).drop, GW_DROP_NONE);
      const Bytes wire = pair.seal(inner_packet({}));
      const RuntimeRecord before = pair.in_record;
      for (std::size_t i = 0; i < wire.size(); ++i) {
        if (unprotected(o, i)) continue;
        for (const std::uint8_t flip : {std::uint8_t{0x01}, std::uint8_t{0x80}, std::uint8_t{0xff}}) {
          Bytes bad = wire;
          bad[i] ^= flip;
          EXPECT_NE(pair.open(bad).drop, GW_DROP_NONE) << "byte " << i << " of " << wire.size();
          ASSERT_EQ(std::memcmp(&before, &pair.in_record, sizeof before), 0) << "byte " << i;
        }
      }
      EXPECT_EQ(pair.open(wire).drop, GW_DROP_NONE) << "the undamaged packet still counts as new";
    }
  }
}

TEST(Hostile, DamageOfTheEspPacketIsIcv) {
  SaPair pair({});
  const Bytes wire = pair.seal(inner_packet({}));
  for (std::size_t i = 24; i < wire.size(); ++i) {  // from the sequence number on
    Bytes bad = wire;
    bad[i] ^= 0x40;
    EXPECT_EQ(pair.open(bad).drop, GW_DROP_ICV) << i;
  }
}

TEST(Hostile, TruncationAtEveryLength) {
  for (const Outer& o : kOuters) {
    SaPair pair({.outer = o.family, .encapsulation = o.encapsulation});
    const Bytes wire = pair.seal(inner_packet({}));
    for (std::size_t n = 0; n < wire.size(); ++n) {
      const Bytes cut(wire.begin(), wire.begin() + static_cast<std::ptrdiff_t>(n));
      EXPECT_EQ(pair.open(cut).drop, GW_DROP_TRUNCATED) << n;
    }
    EXPECT_EQ(pair.in_record.replay_top, 0U);
    // The same, with lengths in the headers that agree with what is left.
    for (std::size_t n = wire.size() - 1; n > (o.family == Family::kV4 ? 27U : 47U); --n) {
      Bytes cut(wire.begin(), wire.begin() + static_cast<std::ptrdiff_t>(n));
      if (o.family == Family::kV4) {
        store_be(&cut[2], static_cast<std::uint16_t>(n));
        fix_ipv4_checksum(cut.data());
        if (o.encapsulation == Encapsulation::kUdp) store_be(&cut[24], static_cast<std::uint16_t>(n - 20));
      } else {
        store_be(&cut[4], static_cast<std::uint16_t>(n - 40));
        if (o.encapsulation == Encapsulation::kUdp) store_be(&cut[44], static_cast<std::uint16_t>(n - 40));
      }
      const gw_drop drop = pair.open(cut).drop;
      EXPECT_TRUE(drop == GW_DROP_TRUNCATED || drop == GW_DROP_ICV) << drop_info(drop).name << " at " << n;
    }
    EXPECT_EQ(pair.in_record.replay_top, 0U);
    EXPECT_EQ(pair.in_record.packets, 0U);
  }
}

TEST(Hostile, OuterHeaderContradictions) {
  struct Row {
    const char* what;
    Outer outer;
    void (*damage)(Bytes&);
    gw_drop want;
  };
  const Outer v4{Family::kV4, Encapsulation::kNative};
  const Outer udp{Family::kV4, Encapsulation::kUdp};
  const Outer v6{Family::kV6, Encapsulation::kNative};
  const Row rows[] = {
      {"family of another SA", v4, [](Bytes& p) { p[0] = 0x65; }, GW_DROP_MALFORMED_OUTER},
      {"version 5", v4, [](Bytes& p) { p[0] = 0x55; }, GW_DROP_MALFORMED_OUTER},
      {"header length 16", v4, [](Bytes& p) { p[0] = 0x44; }, GW_DROP_MALFORMED_OUTER},
      {"total below header", v4, [](Bytes& p) { p[2] = 0, p[3] = 19; }, GW_DROP_MALFORMED_OUTER},
      {"checksum", v4, [](Bytes& p) { p[10] ^= 1; }, GW_DROP_MALFORMED_OUTER},
      {"more fragments", v4, [](Bytes& p) { p[6] |= 0x20, fix_ipv4_checksum(p.data()); }, GW_DROP_OUTER_FRAGMENT},
      {"fragment offset", v4, [](Bytes& p) { p[7] = 9, fix_ipv4_checksum(p.data()); }, GW_DROP_OUTER_FRAGMENT},
      {"destination", v4, [](Bytes& p) { p[19] ^= 1, fix_ipv4_checksum(p.data()); }, GW_DROP_UNKNOWN_SPI},
      {"protocol", v4, [](Bytes& p) { p[9] = 6, fix_ipv4_checksum(p.data()); }, GW_DROP_MALFORMED_OUTER},
      {"SPI", v4, [](Bytes& p) { p[23] ^= 1; }, GW_DROP_UNKNOWN_SPI},
      {"UDP port", udp, [](Bytes& p) { p[23] ^= 1; }, GW_DROP_MALFORMED_OUTER},
      {"UDP source port 0", udp, [](Bytes& p) { p[20] = p[21] = 0; }, GW_DROP_MALFORMED_OUTER},
      {"UDP length 7", udp, [](Bytes& p) { p[24] = 0, p[25] = 7; }, GW_DROP_MALFORMED_OUTER},
      {"UDP length beyond IP", udp, [](Bytes& p) { ++p[25]; }, GW_DROP_MALFORMED_OUTER},
      {"UDP keepalive length", udp, [](Bytes& p) { p[24] = 0, p[25] = 9; }, GW_DROP_TRUNCATED},
      {"fragment header", v6, [](Bytes& p) { p[6] = 44; }, GW_DROP_OUTER_FRAGMENT},
      {"hop-by-hop header", v6, [](Bytes& p) { p[6] = 0; }, GW_DROP_MALFORMED_OUTER},
      {"destination", v6, [](Bytes& p) { p[39] ^= 1; }, GW_DROP_UNKNOWN_SPI},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    SaPair pair({.outer = row.outer.family, .encapsulation = row.outer.encapsulation});
    Bytes wire = pair.seal(inner_packet({}));
    row.damage(wire);
    EXPECT_EQ(pair.open(wire).drop, row.want);
    EXPECT_EQ(pair.in_record.replay_top, 0U);
  }
}

TEST(Hostile, AuthenticButMalformed) {
  const Bytes v4 = inner_packet({.from_peer = true});
  const Bytes v6 = inner_packet({.family = Family::kV6, .from_peer = true});
  const auto changed = [](Bytes b, std::size_t i, std::uint8_t value) {
    b[i] = value;
    return b;
  };
  Bytes long_pad = with_trailer(v4, 4);
  long_pad[long_pad.size() - 2] = 0xff;
  Bytes wrong_pad = with_trailer(inner_packet({.size = 101, .from_peer = true}), 4);
  wrong_pad[101] = 9;
  Bytes options = inner_packet({.from_peer = true});
  options[0] = 0x4f;  // header of 60 bytes
  fix_ipv4_checksum(options.data());
  struct Row {
    const char* what;
    Bytes text;
    gw_drop want;
  };
  const Row rows[] = {
      {"good IPv4", with_trailer(v4, 4), GW_DROP_NONE},
      {"good IPv6", with_trailer(v6, 41), GW_DROP_NONE},
      {"IPv4 with 40 bytes of options", with_trailer(options, 4), GW_DROP_NONE},
      {"pad length 0xff", long_pad, GW_DROP_PAD},
      {"pad longer than the packet by one", {1, 2, 3, 4, 5, 6, 7, 4}, GW_DROP_PAD},
      {"pad bytes not 1, 2, 3", wrong_pad, GW_DROP_PAD},
      {"trailer alone", {0, 4}, GW_DROP_MALFORMED_INNER},
      {"next header TCP (transport mode)", with_trailer(v4, 6), GW_DROP_NEXT_HEADER},
      {"next header 0", with_trailer(v4, 0), GW_DROP_NEXT_HEADER},
      {"next header 255", with_trailer(v4, 255), GW_DROP_NEXT_HEADER},
      {"dummy", with_trailer(Bytes(60, 0), 59), GW_DROP_DUMMY},
      {"IPv6 announced as IPv4", with_trailer(v6, 4), GW_DROP_MALFORMED_INNER},
      {"IPv4 announced as IPv6", with_trailer(v4, 41), GW_DROP_MALFORMED_INNER},
      {"version 5", with_trailer(changed(v4, 0, 0x55), 4), GW_DROP_MALFORMED_INNER},
      {"header length 4", with_trailer(changed(v4, 0, 0x44), 4), GW_DROP_MALFORMED_INNER},
      {"IPv4 header alone", with_trailer(inner_packet({.size = 20}), 4), GW_DROP_NONE},
      {"total beyond payload", with_trailer(changed(v4, 2, 0x7f), 4), GW_DROP_MALFORMED_INNER},
      {"inner checksum", with_trailer(changed(v4, 11, static_cast<std::uint8_t>(v4[11] ^ 1)), 4),
       GW_DROP_MALFORMED_INNER},
      {"IPv4 header cut", with_trailer(Bytes(v4.begin(), v4.begin() + 19), 4), GW_DROP_MALFORMED_INNER},
      {"IPv6 header cut", with_trailer(Bytes(v6.begin(), v6.begin() + 39), 41), GW_DROP_MALFORMED_INNER},
      {"IPv6 length beyond payload", with_trailer(changed(v6, 4, 1), 41), GW_DROP_MALFORMED_INNER},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    SaPair pair({});
    const Bytes wire = pair.forge(row.text, 7);
    EXPECT_EQ(pair.open(wire).drop, row.want);
    // Authentic: it counts, and it cannot be sent again.
    EXPECT_EQ(pair.in_record.replay_top, 7U);
    EXPECT_EQ(pair.in_record.packets, 1U);
    EXPECT_EQ(pair.open(wire).drop, GW_DROP_REPLAY);
  }
}

// A pad one longer than what is there, made so that the byte before the plaintext continues it: the sender's IV
// ends in 1. Only the length check stands between this and a payload of -1 bytes.
TEST(Hostile, PadThatBeginsInTheIv) {
  SaPair pair({});
  constexpr std::uint64_t kSequence = 133;
  static_assert(kSequence * 77 % 256 == 1, "forge() makes the IV so");
  EXPECT_EQ(pair.open(pair.forge(Bytes{2, 3, 4, 5, 6, 7, 7, 4}, kSequence)).drop, GW_DROP_PAD);
}

TEST(Hostile, EveryPadLengthAgainstEveryPayloadLength) {
  for (std::size_t size = 2; size < 70; ++size) {
    for (int pad = 0; pad < 256; ++pad) {
      SaPair pair({});
      Bytes text(size, 0);
      text[size - 2] = static_cast<std::uint8_t>(pad);
      text[size - 1] = 4;
      const gw_drop drop = pair.open(pair.forge(text, 1)).drop;
      // Zeroed "IPv4" never passes; a pad longer than what is there is always `pad`.
      if (static_cast<std::size_t>(pad) + 2 > size) {
        EXPECT_EQ(drop, GW_DROP_PAD);
      } else {
        EXPECT_TRUE(drop == GW_DROP_PAD || drop == GW_DROP_MALFORMED_INNER) << drop_info(drop).name;
      }
      if (pad > 70) pad += 36;
    }
    size += 6;
  }
}

TEST(Hostile, TfcPaddingIsCutOff) {  // RFC 4303 2.7
  SaPair pair({});
  Bytes padded = inner_packet({.from_peer = true});
  const Bytes plain = padded;
  padded.resize(1000, 0xee);
  EXPECT_EQ(pair.open(pair.forge(with_trailer(padded, 4), 1)).inner, plain);
}

TEST(Hostile, WrongKeyIsIcv) {
  SaPair a({.spi = 0x5001});
  SaPair b({.spi = 0x5002});
  Bytes wire = b.seal(inner_packet({}));
  store_be(&wire[20], std::uint32_t{0x5001});
  EXPECT_EQ(a.open(wire).drop, GW_DROP_ICV);
}

TEST(Hostile, RandomBytesNeverPass) {
  std::mt19937 random(7);
  for (const Outer& o : kOuters) {
    SaPair pair({.outer = o.family, .encapsulation = o.encapsulation});
    const Bytes good = pair.seal(inner_packet({}));
    const RuntimeRecord before = pair.in_record;
    for (int i = 0; i < 3000; ++i) {
      Bytes junk(random() % 200);
      std::ranges::generate(junk, [&] { return static_cast<std::uint8_t>(random()); });
      if (i % 2 == 0)  // keep the outer header, so that the random part is looked at
        std::copy_n(good.begin(), std::min<std::size_t>(junk.size(), o.family == Family::kV4 ? 24 : 44), junk.begin());
      EXPECT_NE(pair.open(junk).drop, GW_DROP_NONE);
    }
    EXPECT_EQ(std::memcmp(&before, &pair.in_record, sizeof before), 0);
  }
}

TEST(Mapping, AnAuthenticPacketFromElsewhereIsReportedOnce) {
  SaPair pair({.encapsulation = Encapsulation::kUdp});
  Bytes moved = pair.seal(inner_packet({}));
  store_be(&moved[20], std::uint16_t{61000});
  moved[15] = 99;
  fix_ipv4_checksum(moved.data());
  Bytes forged = moved;
  forged.back() ^= 1;
  EXPECT_EQ(pair.open(forged).result.events, 0) << "an unauthentic packet moves nobody";
  EXPECT_EQ(pair.open(moved).result.events, kMapping);
  EXPECT_EQ(pair.inbound->take_events(), kMapping);
  EXPECT_EQ(pair.inbound->seen_source(), (Endpoint{ip("203.0.113.99"), 61000}));
  Bytes again = pair.seal(inner_packet({}));
  std::copy_n(moved.begin() + 12, 4, again.begin() + 12);
  store_be(&again[20], std::uint16_t{61000});
  fix_ipv4_checksum(again.data());
  EXPECT_EQ(pair.open(again).result.events, 0) << "the same place again is no news";
  EXPECT_TRUE(
      pair.inbound->set_endpoints({ip("203.0.113.99"), 61000}, {ip("198.51.100.20"), 4500}, Encapsulation::kUdp));
  EXPECT_EQ(pair.open(pair.seal(inner_packet({}))).result.events, kMapping) << "back at the old place";
}

TEST(Mapping, ADelayedPacketDoesNotMoveThePeerBack) {
  SaPair pair({.encapsulation = Encapsulation::kUdp});
  const Bytes old_path = pair.seal(inner_packet({}));
  Bytes new_path = pair.seal(inner_packet({}));
  store_be(&new_path[20], std::uint16_t{61000});
  EXPECT_EQ(pair.open(new_path).result.events, kMapping);
  ASSERT_TRUE(
      pair.inbound->set_endpoints({ip("203.0.113.10"), 61000}, {ip("198.51.100.20"), 4500}, Encapsulation::kUdp));
  EXPECT_EQ(pair.open(old_path).drop, GW_DROP_NONE);
  EXPECT_EQ(pair.inbound->seen_source(), (Endpoint{ip("203.0.113.10"), 61000}));
}

TEST(Mapping, EitherEncapsulationIsAcceptedAtAnyTime) {  // RFC 7296 2.23
  const Endpoint from{ip("203.0.113.10"), 4500};
  const Endpoint to{ip("198.51.100.20"), 4500};
  using enum Encapsulation;
  for (const auto& [ours, seen] : {std::pair{kNative, kUdp}, {kUdp, kNative}}) {
    SaPair pair({.encapsulation = ours});
    ASSERT_TRUE(pair.outbound->set_endpoints(from, to, seen));
    const auto opened = pair.open(pair.seal(inner_packet({})));
    EXPECT_EQ(opened.drop, GW_DROP_NONE);
    EXPECT_EQ(opened.result.events, 0) << "no port, or one that is not the SA's business: nothing to move the peer to";
  }
}

}  // namespace
}  // namespace gw::esp::test
