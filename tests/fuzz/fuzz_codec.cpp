// The codec against a second, simple ESP that knows nothing of it: OpenSSL's ciphers and RFC 4303 word by word. What
// the codec seals the other opens, and finds the packet with right padding in it; what the other seals, any plaintext,
// the codec delivers or drops as the RFC says. First bytes: transform, SA, sequence number; the rest is content.
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/wire.hpp"
#include "ebpf/esp/checksum.hpp"
#include "ebpf/esp/codec.hpp"

namespace gw::esp {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t kSpi = 0xc0ffee01;

void require(bool condition) {
  if (!condition) std::abort();
}

CryptoBackend& backend() {
  static const auto made = make_backend(BackendChoice::kAuto).value();
  return *made;
}

// --- the other ESP -----------------------------------------------------------------------------------

struct Suite {
  std::string_view name;          // ours
  const EVP_CIPHER* (*cipher)();  // null: none
  const EVP_MD* (*digest)();      // null: combined
  std::size_t key, salt, integrity_key, iv, block, icv;
};
constexpr std::array<Suite, 9> kSuites{{
    {"AES_GCM_16-128", EVP_aes_128_gcm, nullptr, 16, 4, 0, 8, 4, 16},
    {"AES_GCM_16-256", EVP_aes_256_gcm, nullptr, 32, 4, 0, 8, 4, 16},
    {"AES_GCM_8-128", EVP_aes_128_gcm, nullptr, 16, 4, 0, 8, 4, 8},
    {"CHACHA20_POLY1305", EVP_chacha20_poly1305, nullptr, 32, 4, 0, 8, 4, 16},
    {"AES_CBC-128/HMAC_SHA1_96", EVP_aes_128_cbc, EVP_sha1, 16, 0, 20, 16, 16, 12},
    {"AES_CBC-192/HMAC_SHA2_256_128", EVP_aes_192_cbc, EVP_sha256, 24, 0, 32, 16, 16, 16},
    {"AES_CBC-256/HMAC_SHA2_512_256", EVP_aes_256_cbc, EVP_sha512, 32, 0, 64, 16, 16, 32},
    {"3DES_CBC/HMAC_SHA1_96", EVP_des_ede3_cbc, EVP_sha1, 24, 0, 20, 8, 8, 12},
    {"NULL/HMAC_SHA2_384_192", nullptr, EVP_sha384, 0, 0, 48, 0, 4, 24},
}};

struct Sa {
  const Suite* suite;
  Bytes key;  // and salt
  Bytes integrity_key;
  bool esn;
};

Bytes operator+(Bytes a, std::span<const std::uint8_t> b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes be(std::uint32_t v) {
  Bytes b(4);
  store_be(b.data(), v);
  return b;
}

struct Context {
  EVP_CIPHER_CTX* c = EVP_CIPHER_CTX_new();
  ~Context() { EVP_CIPHER_CTX_free(c); }
};

enum class Way : int { kOpen = 0, kSeal = 1 };

// RFC 4106, RFC 7634. Opening: the tag is that of what was opened.
Bytes combined(const Sa& sa, Way way, std::uint64_t sequence, const Bytes& iv, std::span<const std::uint8_t> text,
               Bytes& tag) {
  const auto low = static_cast<std::uint32_t>(sequence);
  const Bytes aad = sa.esn ? be(kSpi) + be(static_cast<std::uint32_t>(sequence >> 32)) + be(low) : be(kSpi) + be(low);
  const std::size_t key = sa.suite->key;
  const Bytes nonce = Bytes(sa.key.begin() + static_cast<std::ptrdiff_t>(key), sa.key.end()) + iv;
  Context x;
  Bytes out(text.size());
  int n = 0;
  const int seal = static_cast<int>(way);
  require(EVP_CipherInit_ex(x.c, sa.suite->cipher(), nullptr, sa.key.data(), nonce.data(), seal) == 1);
  if (way == Way::kOpen)
    require(EVP_CIPHER_CTX_ctrl(x.c, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()), tag.data()) == 1);
  require(EVP_CipherUpdate(x.c, nullptr, &n, aad.data(), static_cast<int>(aad.size())) == 1);
  require(EVP_CipherUpdate(x.c, out.data(), &n, text.data(), static_cast<int>(text.size())) == 1);
  require(EVP_CipherFinal_ex(x.c, out.data() + n, &n) == 1);
  if (way == Way::kSeal) {
    tag.resize(16);
    require(EVP_CIPHER_CTX_ctrl(x.c, EVP_CTRL_AEAD_GET_TAG, 16, tag.data()) == 1);
    tag.resize(sa.suite->icv);
  }
  return out;
}

// RFC 3602, RFC 2451, RFC 2410.
Bytes alone(const Sa& sa, Way way, const Bytes& iv, std::span<const std::uint8_t> text) {
  if (sa.suite->cipher == nullptr) return {text.begin(), text.end()};
  Context x;
  Bytes out(text.size() + 16);
  int n = 0;
  require(EVP_CipherInit_ex(x.c, sa.suite->cipher(), nullptr, sa.key.data(), iv.data(), static_cast<int>(way)) == 1);
  EVP_CIPHER_CTX_set_padding(x.c, 0);
  require(EVP_CipherUpdate(x.c, out.data(), &n, text.data(), static_cast<int>(text.size())) == 1);
  require(n == static_cast<int>(text.size()));
  out.resize(text.size());
  return out;
}

// RFC 4303 2.2.1: with ESN the high half is hashed behind what is sent.
Bytes icv_of(const Sa& sa, std::uint64_t sequence, std::span<const std::uint8_t> sent) {
  Bytes covered(sent.begin(), sent.end());
  if (sa.esn) covered = covered + be(static_cast<std::uint32_t>(sequence >> 32));
  Bytes out(EVP_MAX_MD_SIZE);
  unsigned n = 0;
  require(HMAC(sa.suite->digest(), sa.integrity_key.data(), static_cast<int>(sa.integrity_key.size()), covered.data(),
               covered.size(), out.data(), &n) != nullptr);
  out.resize(sa.suite->icv);
  return out;
}

Bytes seal(const Sa& sa, std::uint64_t sequence, std::span<const std::uint8_t> text) {
  Bytes iv(sa.suite->iv);
  for (std::size_t i = 0; i < iv.size(); ++i) iv[i] = static_cast<std::uint8_t>(sequence * 13 + i);
  const Bytes header = be(kSpi) + be(static_cast<std::uint32_t>(sequence)) + iv;
  if (sa.suite->digest == nullptr) {
    Bytes tag;
    const Bytes sealed = combined(sa, Way::kSeal, sequence, iv, text, tag);
    return header + sealed + tag;
  }
  const Bytes sent = header + alone(sa, Way::kSeal, iv, text);
  return sent + icv_of(sa, sequence, sent);
}

Bytes open(const Sa& sa, std::uint64_t sequence, std::span<const std::uint8_t> esp) {
  const Suite& s = *sa.suite;
  require(esp.size() >= 8 + s.iv + 2 + s.icv);
  require(load_be<std::uint32_t>(&esp[0]) == kSpi &&
          load_be<std::uint32_t>(&esp[4]) == static_cast<std::uint32_t>(sequence));
  const Bytes iv(esp.begin() + 8, esp.begin() + 8 + static_cast<std::ptrdiff_t>(s.iv));
  const auto text = esp.subspan(8 + s.iv, esp.size() - 8 - s.iv - s.icv);
  Bytes tag(esp.end() - static_cast<std::ptrdiff_t>(s.icv), esp.end());
  if (s.digest == nullptr) return combined(sa, Way::kOpen, sequence, iv, text, tag);
  require(icv_of(sa, sequence, esp.first(esp.size() - s.icv)) == tag);
  return alone(sa, Way::kOpen, iv, text);
}

// RFC 4303 3.4.4: what a plaintext is. Delivered: GW_DROP_NONE and how many bytes.
struct Verdict {
  gw_drop drop;
  std::size_t delivered = 0;
};
Verdict judge(std::span<const std::uint8_t> text) {
  const std::size_t pad = text[text.size() - 2];
  if (pad + 2 > text.size()) return {GW_DROP_PAD};
  const std::size_t payload = text.size() - 2 - pad;
  for (std::size_t i = 0; i < pad; ++i)
    if (text[payload + i] != ((i + 1) & 0xff)) return {GW_DROP_PAD};
  if (text.back() == 59) return {GW_DROP_DUMMY};
  if (text.back() != 4 && text.back() != 41) return {GW_DROP_NEXT_HEADER};
  const bool v4 = text.back() == 4;
  if (payload < (v4 ? 20U : 40U) || text[0] >> 4 != (v4 ? 4 : 6)) return {GW_DROP_MALFORMED_INNER};
  if (!v4) {
    const std::size_t total = 40U + load_be<std::uint16_t>(&text[4]);
    return total <= payload ? Verdict{GW_DROP_NONE, total} : Verdict{GW_DROP_MALFORMED_INNER};
  }
  const std::size_t header = (text[0] & 15) * 4U;
  const std::size_t total = load_be<std::uint16_t>(&text[2]);
  if (header < 20 || total < header || total > payload || fold16(sum16(text.data(), header)) != 0xffff)
    return {GW_DROP_MALFORMED_INNER};
  return {GW_DROP_NONE, total};
}

// --- both ends ---------------------------------------------------------------------------------------

SaParameters parameters(const Sa& sa, std::uint8_t how) {
  const auto ip = [](const char* text) { return IpAddress::parse(text).value(); };
  const bool v6 = (how & 1) != 0;
  SaParameters p;
  p.spi = kSpi;
  p.src = {ip(v6 ? "2001:db8:f::10" : "203.0.113.10"), 4500};
  p.dst = {ip(v6 ? "2001:db8:e::20" : "198.51.100.20"), 4500};
  p.encapsulation = (how & 2) != 0 ? Encapsulation::kUdp : Encapsulation::kNative;
  p.sequence_mode = sa.esn ? SequenceMode::kExtended : SequenceMode::k32Bit;
  p.transform = find_transform(sa.suite->name);
  require(p.transform != nullptr);
  p.key = Secret(sa.key);
  p.integrity_key = Secret(sa.integrity_key);
  p.local =
      p.remote = {{ip("0.0.0.0"), ip("255.255.255.255")}, {ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")}};
  return p;
}

// A packet around `content`, as a host sends it.
Bytes inner_of(std::span<const std::uint8_t> content, std::uint8_t how) {
  if ((how & 8) != 0) {
    Bytes p(40);
    p[0] = 0x60;
    store_be(&p[4], static_cast<std::uint16_t>(content.size()));
    p[6] = 253;  // RFC 3692: experiments
    p[7] = 64;
    p[8] = p[24] = 0x20;
    p[39] = 9;
    return p + content;
  }
  Bytes p(20);
  p[0] = 0x45;
  store_be(&p[2], static_cast<std::uint16_t>(20 + content.size()));
  p[8] = 64;
  p[9] = 253;
  p[12] = p[16] = 10;
  store_be(&p[10], static_cast<std::uint16_t>(~fold16(sum16(p.data(), 20))));
  return p + content;
}

void ours_to_the_other(const Sa& sa, std::uint8_t how, std::uint64_t sequence, std::span<const std::uint8_t> content) {
  RuntimeRecord record{};
  require(begin_outbound(record, 1).has_value());
  record.next_sequence = sequence;
  const auto out = OutboundSa::create(parameters(sa, how), backend(), record).value();
  const Bytes inner = inner_of(content, how);
  Bytes memory = Bytes(kMaxHeadroom) + inner;
  memory.resize(memory.size() + kMaxTailroom);
  Packet packet{.base = memory.data(), .capacity = static_cast<std::uint32_t>(memory.size()), .offset = kMaxHeadroom};
  packet.length = static_cast<std::uint32_t>(inner.size());
  packet.out = out.get();
  Codec codec(backend());
  require(codec.encapsulate({&packet, 1}, 1).passed == 1);
  const auto esp = packet.bytes().subspan(out->header().size() - 4);  // header() ends with the SPI
  const Bytes text = open(sa, sequence, esp);
  require(text.size() % sa.suite->block == 0 && text.size() < inner.size() + 2 + sa.suite->block);
  const Verdict verdict = judge(text);
  require(verdict.drop == GW_DROP_NONE && verdict.delivered == inner.size());
  require(std::ranges::equal(std::span(text).first(inner.size()), inner));
}

void the_other_to_us(const Sa& sa, std::uint8_t how, std::uint64_t sequence, std::span<const std::uint8_t> content) {
  Bytes text(content.begin(), content.end());
  const std::size_t rest = text.size() % sa.suite->block;
  text.insert(text.begin(), rest == 0 ? 0 : sa.suite->block - rest, 0x45);
  if (text.empty()) return;
  Bytes esp = seal(sa, sequence, text);
  RuntimeRecord record{};
  record.replay_top = sequence - 1;  // its high half is known
  const auto in = InboundSa::create(parameters(sa, how), backend(), record).value();
  const std::array<std::uint8_t, 16> source{};
  Packet packet{.base = esp.data(), .capacity = static_cast<std::uint32_t>(esp.size())};
  packet.length = packet.capacity;
  packet.in = in.get();
  packet.source = source.data();
  Codec codec(backend());
  (void)codec.decapsulate({&packet, 1}, 1);
  const Verdict verdict = judge(text);
  require(packet.drop == verdict.drop && record.replay_top == sequence);
  if (verdict.drop == GW_DROP_NONE)
    require(std::ranges::equal(packet.bytes(), std::span(text).first(verdict.delivered)));
}

}  // namespace
}  // namespace gw::esp

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gw::esp;
  constexpr std::size_t kMostBytes = 9000;
  if (size < 3 || size > kMostBytes) return 0;
  const std::uint8_t how = data[1];
  Sa sa{.suite = &kSuites[data[0] % kSuites.size()], .key = {}, .integrity_key = {}, .esn = (how & 4) != 0};
  for (std::size_t i = 0; i < sa.suite->key + sa.suite->salt; ++i)
    sa.key.push_back(static_cast<std::uint8_t>(i * 7 + 1));
  for (std::size_t i = 0; i < sa.suite->integrity_key; ++i)
    sa.integrity_key.push_back(static_cast<std::uint8_t>(i * 5 + 3));
  static constexpr std::array<std::uint64_t, 6> kSequences{1, 2, 0x7fffffff, 0xfffffff0, 0x1'0000'0000, 0x7'0000'0001};
  const std::uint64_t sequence = kSequences[data[2] % std::size_t{sa.esn ? 6U : 4U}];
  const std::span content(data + 3, size - 3);
  if ((how & 16) != 0)
    ours_to_the_other(sa, how, sequence, content);
  else
    the_other_to_us(sa, how, sequence, content);
  return 0;
}
