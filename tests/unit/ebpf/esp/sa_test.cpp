// Parameters that no SA is made of, and the arithmetic of its headers.
#include "tests/unit/ebpf/esp/support.hpp"

namespace gw::esp::test {
namespace {

Error fault_of(const SaParameters& p) {
  const auto crypto = backend(BackendChoice::kOpenssl);
  RuntimeRecord record{};
  EXPECT_TRUE(begin_outbound(record, 0));
  const auto out = OutboundSa::create(p, *crypto, record);
  const auto in = InboundSa::create(p, *crypto, record);
  EXPECT_FALSE(out);
  EXPECT_FALSE(in);
  if (out || in) return {};
  EXPECT_EQ(out.error().field, in.error().field);
  return out.error();
}

TEST(SaParametersCheck, FaultsNameTheField) {
  SaParameters p = parameters({});
  p.spi = 255;
  EXPECT_EQ(fault_of(p).field, "spi");
  for (const std::size_t n : {0U, 3U, 4U, 19U, 21U, 32U, 37U}) {
    p = parameters({});
    p.key = Secret(Bytes(n));
    EXPECT_EQ(fault_of(p).field, "key") << n;
  }
  p = parameters({});
  p.src.address = ip("2001:db8::1");
  EXPECT_EQ(fault_of(p).field, "dst");
  p = parameters({});
  p.dst.address = ip("224.0.0.1");
  EXPECT_EQ(fault_of(p).field, "dst");
  p = parameters({});
  p.src.address = ip("0.0.0.0");
  EXPECT_EQ(fault_of(p).field, "src");
  p = parameters({.encapsulation = Encapsulation::kUdp});
  p.src.port = 0;
  EXPECT_EQ(fault_of(p).field, "src");
  p = parameters({});
  p.local.clear();
  EXPECT_EQ(fault_of(p).field, "local");
  p = parameters({});
  p.sequence_jump = kMaxSequenceJump + 1;
  EXPECT_EQ(fault_of(p).field, "sequence_jump");
}

TEST(SaParametersCheck, ErrorsNeverShowTheKey) {
  SaParameters p = parameters({});
  p.key = Secret(std::string_view("ThisIsTheSecretKeyOfWrongLength"));
  EXPECT_EQ(fault_of(p).describe().find("Secret"), std::string::npos);
}

TEST(OutboundSa, NeedsARecordThatWasBegun) {
  const auto crypto = backend(BackendChoice::kOpenssl);
  RuntimeRecord record{};
  const auto sa = OutboundSa::create(parameters({}), *crypto, record);
  ASSERT_FALSE(sa);
  EXPECT_EQ(sa.error().code, Errc::kNeedsRekey);
}

TEST(OutboundSa, OuterLengthAndInnerMtuAgreeWithEachOther) {
  for (const Family f : {Family::kV4, Family::kV6})
    for (const Encapsulation e : {Encapsulation::kNative, Encapsulation::kUdp}) {
      SaPair pair({.outer = f, .encapsulation = e});
      for (std::uint32_t mtu = 0; mtu < 9100; ++mtu) {
        const std::uint32_t inner = pair.outbound->inner_mtu(mtu);
        if (inner == 0) {
          EXPECT_LT(mtu, 110U);
          continue;
        }
        EXPECT_LE(outer_length(*pair.outbound, inner), mtu);
        EXPECT_GT(outer_length(*pair.outbound, inner + 1), mtu);
      }
    }
  EXPECT_EQ(SaPair({}).outbound->inner_mtu(1500), 1446U);
  EXPECT_EQ(SaPair({.encapsulation = Encapsulation::kUdp}).outbound->inner_mtu(1500), 1438U);
}

}  // namespace
}  // namespace gw::esp::test
