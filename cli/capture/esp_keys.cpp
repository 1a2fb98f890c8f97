#include "cli/capture/esp_keys.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <format>

#include "base/ip.hpp"
#include "base/secret.hpp"

namespace gw::cli::capture {
namespace {

// The names are Wireshark's (epan/dissectors/packet-ipsec.c), and its own.
std::string_view encryption_name(fp::Encryption encryption) {
  switch (encryption) {
    case fp::AES_GCM_16: return "AES-GCM with 16 octet ICV [RFC4106]";
    case fp::AES_GCM_12: return "AES-GCM with 12 octet ICV [RFC4106]";
    case fp::AES_GCM_8: return "AES-GCM with 8 octet ICV [RFC4106]";
    case fp::CHACHA20_POLY1305: return "ChaCha20 with Poly1305 [RFC7634]";
    case fp::AES_CBC: return "AES-CBC [RFC3602]";
    case fp::TRIPLE_DES_CBC: return "TripleDES-CBC [RFC2451]";
    case fp::NULL_CIPHER: return "NULL";
    default: return "";
  }
}

std::string_view integrity_name(fp::Integrity integrity) {
  switch (integrity) {
    case fp::INTEGRITY_UNSPECIFIED: return "NULL";
    case fp::HMAC_SHA1_96: return "HMAC-SHA-1-96 [RFC2404]";
    case fp::HMAC_SHA2_256_128: return "HMAC-SHA-256-128 [RFC4868]";
    case fp::HMAC_SHA2_384_192: return "HMAC-SHA-384-192 [RFC4868]";
    case fp::HMAC_SHA2_512_256: return "HMAC-SHA-512-256 [RFC4868]";
    default: return "";
  }
}

void append_hex(std::string& out, std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  if (bytes.empty()) return;
  out += "0x";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
}

/// False: nothing that Wireshark could read.
bool append_line(std::string& out, const fp::AddSa& sa) {
  const auto src = IpAddress::from_bytes(
      {reinterpret_cast<const std::uint8_t*>(sa.src().address().data()), sa.src().address().size()});
  const auto dst =
      IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(sa.id().dst().data()), sa.id().dst().size()});
  const std::string_view encryption = encryption_name(sa.encryption());
  const std::string_view integrity = integrity_name(sa.integrity());
  if (!src || !dst || encryption.empty() || integrity.empty()) return false;
  out += std::format("\"{}\",\"{}\",\"{}\",\"0x{:08x}\",\"{}\",\"", dst->is_v4() ? "IPv4" : "IPv6", src->to_string(),
                     dst->to_string(), sa.id().spi(), encryption);
  append_hex(out, sa.key());
  out += std::format("\",\"{}\",\"", integrity);
  append_hex(out, sa.integrity_key());
  out += "\"\n";
  return true;
}

}  // namespace

std::string KeyLines::take(const fp::CaptureKeys& keys) {
  constexpr std::size_t kLongest = 512;
  std::string lines;
  // In one piece from the beginning: what grows leaves copies behind.
  lines.reserve(kLongest * static_cast<std::size_t>(keys.sas_size()));
  for (const fp::AddSa& sa : keys.sas()) {
    const auto name = std::pair(sa.id().spi(), sa.id().dst());
    if (!seen_.contains(name) && append_line(lines, sa)) seen_.insert(name);
  }
  return lines;
}

Result<Fd> create_key_file(const std::string& path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (fd) return fd;
  if (errno == EEXIST)
    return fail_field("--esp-keys", std::format("{} exists: keys go into a file of their own", path));
  return fail_errno(std::format("making {}", path));
}

Status KeyLines::write(int fd, const fp::CaptureKeys& keys) {
  std::string lines = take(keys);
  Status done;
  for (std::size_t at = 0; at < lines.size() && done;) {
    const ssize_t n = ::write(fd, lines.data() + at, lines.size() - at);
    if (n < 0 && errno != EINTR) done = fail_errno("writing the keys");
    if (n > 0) at += static_cast<std::size_t>(n);
  }
  wipe(lines);
  return done;
}

void wipe_keys(fp::CaptureKeys& keys) {
  for (fp::AddSa& sa : *keys.mutable_sas()) {
    wipe(*sa.mutable_key());
    wipe(*sa.mutable_integrity_key());
  }
}

}  // namespace gw::cli::capture
