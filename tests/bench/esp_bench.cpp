// esp-1408, esp-512, esp-64, esp-decap-1408, esp-decap-64: the encapsulation and decapsulation steps in memory, one
// SA, one core, against raw ipsec-mb on buffers of the same kind. sa-1k, sa-10k, sa-60k: the encapsulation step
// over that many SAs in turn, against one.
#include <array>
#include <cstring>
#include <format>
#include <memory>

#include "ebpf/esp/codec.hpp"
#include "ebpf/esp/outer.hpp"
#include "tests/bench/bench.hpp"
#include "tests/bench/raw_side.hpp"
#include "tests/bench/sample_sa.hpp"

namespace gw::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Load {
  std::uint32_t inner_bytes = 0;
  std::size_t sas = 1;
};

class EspSide {
 public:
  static Result<std::shared_ptr<EspSide>> create(const Load& load) {
    auto side = std::make_shared<EspSide>(load);
    GW_TRY_ASSIGN(side->backend_, esp::make_backend(esp::BackendChoice::kIpsecMb));
    side->codec_ = std::make_unique<esp::Codec>(*side->backend_);
    GW_TRY(side->make_sas());
    return side;
  }
  explicit EspSide(const Load& load)
      : load_(load),
        rounds_(rounds_for(load.inner_bytes)),
        inner_(sample_header(static_cast<std::uint16_t>(load.inner_bytes), 0x0a020007)),
        packets_(kPackets),
        records_(load.sas + 1) {
    for (std::size_t i = 0; i < kPackets; ++i) {
      packets_[i].base = buffers_.at(i);
      packets_[i].capacity = kBufferBytes;
    }
  }

  // Encryption scrambles the inner header, so each round writes it anew; that is part of what is measured.
  Sample encapsulate() {
    const auto start = Clock::now();
    std::uint64_t passed = 0;
    for (std::uint64_t r = 0; r < rounds_; ++r) {
      reset_packets();
      passed += codec_->encapsulate(packets_, 1).passed;
    }
    return {passed, Clock::now() - start};
  }
  Sample decapsulate() {
    Sample s;
    for (std::uint64_t r = 0; r < rounds_; ++r) {
      reset_packets();
      codec_->encapsulate(packets_, 1);
      for (esp::Packet& p : packets_) {
        esp::OuterHeader outer;  // whoever received the packet has parsed it
        (void)esp::strip_outer(p, outer);
        p.in = in_.get();
      }
      const auto start = Clock::now();
      s.items += codec_->decapsulate(packets_, 1).passed;
      s.took += Clock::now() - start;
    }
    return s;
  }

 private:
  Status make_sas() {
    for (std::size_t i = 0; i < load_.sas; ++i) {
      GW_TRY(esp::begin_outbound(records_[i], 0));
      GW_TRY_ASSIGN(
          auto sa, esp::OutboundSa::create(sample_sa(0x10001 + static_cast<std::uint32_t>(i)), *backend_, records_[i]));
      out_.push_back(std::move(sa));
    }
    GW_TRY_ASSIGN(in_, esp::InboundSa::create(sample_sa(0x10001), *backend_, records_[load_.sas]));
    return {};
  }

  void reset_packets() {
    for (esp::Packet& p : packets_) {
      p.offset = kFrontRoom;
      p.length = load_.inner_bytes;
      p.drop = GW_DROP_NONE;
      p.out = out_[next_sa_].get();
      next_sa_ = next_sa_ + 1 == load_.sas ? 0 : next_sa_ + 1;
      std::memcpy(p.data(), inner_.data(), inner_.size());
    }
  }

  Load load_;
  std::uint64_t rounds_;
  std::array<std::uint8_t, 20> inner_;
  Buffers buffers_{kPackets};
  std::vector<esp::Packet> packets_;
  std::vector<esp::RuntimeRecord> records_;
  std::unique_ptr<esp::CryptoBackend> backend_;
  std::unique_ptr<esp::Codec> codec_;
  std::vector<std::unique_ptr<esp::OutboundSa>> out_;
  std::unique_ptr<esp::InboundSa> in_;
  std::size_t next_sa_ = 0;
};

Result<Comparison> against_raw(std::uint32_t bytes, Sample (EspSide::*subject)(), Sample (RawSide::*reference)()) {
  GW_TRY_ASSIGN(auto esp, EspSide::create({.inner_bytes = bytes}));
  GW_TRY_ASSIGN(auto raw, RawSide::create(bytes));
  return Comparison{.reference = raw->name(),
                    .unit = "packets/s",
                    .subject = [esp, subject] { return (*esp.*subject)(); },
                    .other = [raw, reference] { return (*raw.*reference)(); }};
}

Result<Comparison> against_one_sa(std::size_t count) {
  constexpr std::uint32_t kBytes = 1408;
  GW_TRY_ASSIGN(auto many, EspSide::create({.inner_bytes = kBytes, .sas = count}));
  GW_TRY_ASSIGN(auto one, EspSide::create({.inner_bytes = kBytes}));
  return Comparison{.reference = "the same with 1 SA",
                    .unit = "packets/s",
                    .subject = [many] { return many->encapsulate(); },
                    .other = [one] { return one->encapsulate(); }};
}

}  // namespace

void add_esp(std::vector<Benchmark>& all) {
  for (const std::uint32_t bytes : {1408U, 512U, 64U})
    all.push_back({std::format("esp-{}", bytes),
                   std::format("ESP encapsulation step, {} B inner packets, one core", bytes),
                   [bytes] { return against_raw(bytes, &EspSide::encapsulate, &RawSide::encrypt); }});
  for (const std::uint32_t bytes : {1408U, 64U})
    all.push_back({std::format("esp-decap-{}", bytes),
                   std::format("ESP decapsulation step with anti-replay, {} B inner packets, one core", bytes),
                   [bytes] { return against_raw(bytes, &EspSide::decapsulate, &RawSide::decrypt); }});
  for (const std::size_t thousands : {1U, 10U, 60U})
    all.push_back({std::format("sa-{}k", thousands),
                   std::format("ESP encapsulation step, 1408 B, {},000 SAs in turn, one core", thousands),
                   [thousands] { return against_one_sa(thousands * 1000); }});
}

}  // namespace gw::bench
