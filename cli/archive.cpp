#include "cli/archive.hpp"

#include <google/protobuf/io/gzip_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <format>
#include <limits>

namespace gw::cli {
namespace {

namespace io = google::protobuf::io;

constexpr std::size_t kBlock = 512;

// POSIX.1-1988: all fields are text; numbers are octal.
struct Header {
  std::array<char, 100> name;
  std::array<char, 8> mode;
  std::array<char, 8> uid;
  std::array<char, 8> gid;
  std::array<char, 12> size;
  std::array<char, 12> time;
  std::array<char, 8> checksum;
  char type;
  std::array<char, 100> link;
  std::array<char, 6> magic;
  std::array<char, 2> version;
  std::array<char, 247> rest;
};
static_assert(sizeof(Header) == kBlock);

template <std::size_t N>
void put(std::array<char, N>& field, std::string_view text) {
  std::ranges::copy(text.substr(0, N - 1), field.begin());
}

template <std::size_t N>
void put_octal(std::array<char, N>& field, std::uint64_t value) {
  put(field, std::format("{:0{}o}", value, N - 1));
}

// The sum of all bytes, the checksum itself taken as spaces.
std::uint64_t sum_of(Header header) {
  header.checksum.fill(' ');
  std::array<unsigned char, kBlock> bytes;
  std::memcpy(bytes.data(), &header, kBlock);
  std::uint64_t sum = 0;
  for (const unsigned char byte : bytes) sum += byte;
  return sum;
}

template <std::size_t N>
Result<std::uint64_t> octal(const std::array<char, N>& field) {
  const std::string_view all(field.data(), N);
  const auto digits = all.substr(0, std::min(all.find_first_of(std::string_view(" \0", 2)), N));
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (ec != std::errc() || end != digits.data() + digits.size())
    return fail(Errc::kMalformed, "a number in the archive is not octal");
  return value;
}

Header header_of(const ArchiveFile& file, WallTime time) {
  Header header{};
  put(header.name, file.name);
  put_octal(header.mode, 0600);
  put_octal(header.uid, 0);
  put_octal(header.gid, 0);
  put_octal(header.size, file.content.size());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
  put_octal(header.time, static_cast<std::uint64_t>(std::max<std::int64_t>(seconds, 0)));
  header.type = '0';
  put(header.magic, "ustar");
  std::ranges::copy(std::string_view("00"), header.version.begin());
  put(header.checksum, std::format("{:06o}", sum_of(header)));
  header.checksum[7] = ' ';
  return header;
}

Result<std::string> inflate(std::string_view bytes) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    return fail(Errc::kLimit, "the bundle is too large");
  io::ArrayInputStream packed(bytes.data(), static_cast<int>(bytes.size()));
  io::GzipInputStream plain(&packed, io::GzipInputStream::GZIP);
  std::string out;
  const void* data = nullptr;
  int size = 0;
  while (plain.Next(&data, &size)) {
    if (out.size() + static_cast<std::size_t>(size) > kMaxUnpackedBytes)
      return fail(Errc::kLimit, "the bundle unpacks to more than 256 MiB");
    out.append(static_cast<const char*>(data), static_cast<std::size_t>(size));
  }
  // Z_STREAM_END is 1; Z_OK or an error: it was cut off or damaged.
  if (plain.ZlibErrorCode() != 1) return fail(Errc::kMalformed, "the bundle is damaged or cut off (gzip)");
  return out;
}

}  // namespace

bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

std::string pack(std::span<const ArchiveFile> files, WallTime time) {
  std::string tar;
  for (const ArchiveFile& file : files) {
    const Header header = header_of(file, time);
    tar.append(reinterpret_cast<const char*>(&header), kBlock);
    tar += file.content;
    tar.append((kBlock - file.content.size() % kBlock) % kBlock, '\0');
  }
  tar.append(2 * kBlock, '\0');  // the end
  std::string out;
  io::StringOutputStream target(&out);
  io::GzipOutputStream gzip(&target);
  std::string_view rest = tar;
  void* data = nullptr;
  int size = 0;
  while (!rest.empty() && gzip.Next(&data, &size)) {
    const std::size_t now = std::min(rest.size(), static_cast<std::size_t>(size));
    std::memcpy(data, rest.data(), now);
    rest.remove_prefix(now);
    if (now < static_cast<std::size_t>(size)) gzip.BackUp(size - static_cast<int>(now));
  }
  gzip.Close();
  return out;
}

Result<std::vector<ArchiveFile>> unpack(std::string_view bytes) {
  GW_TRY_ASSIGN(const std::string tar, inflate(bytes));
  std::vector<ArchiveFile> files;
  std::string_view rest = tar;
  while (rest.size() >= kBlock) {
    Header header;
    std::memcpy(&header, rest.data(), kBlock);
    rest.remove_prefix(kBlock);
    if (header.name[0] == '\0') return files;  // the end
    GW_TRY_ASSIGN(const std::uint64_t checksum, octal(header.checksum));
    if (checksum != sum_of(header)) return fail(Errc::kMalformed, "the bundle is damaged (a tar header)");
    GW_TRY_ASSIGN(const std::uint64_t size, octal(header.size));
    if (size > rest.size()) return fail(Errc::kMalformed, "the bundle is cut off (tar)");
    const std::size_t name = ::strnlen(header.name.data(), header.name.size());
    if (header.type == '0' || header.type == '\0')
      files.push_back({std::string(header.name.data(), name), std::string(rest.substr(0, size))});
    rest.remove_prefix(std::min<std::size_t>(rest.size(), (size + kBlock - 1) / kBlock * kBlock));
  }
  return fail(Errc::kMalformed, "the bundle is cut off (tar)");
}

}  // namespace gw::cli
