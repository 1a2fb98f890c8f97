// How the numbers came about: counted in the table of October 2025 (901,899 and 160,147 prefixes, collected by
// the bart project, github.com/gaissmai/bart): prefixes of each length; networks of /8, /16, /24 (IPv4) and /16,
// /24, /32, /36, /40, /44 (IPv6) that have longer prefixes in them; the share of the 10 % fullest of those. A
// prefix follows its neighbour (same length) with the odds that make those numbers come out within about 30 %.
#include "tests/bench/fib_routes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <span>
#include <unordered_set>

namespace gw::bench {
namespace {

struct Length {
  unsigned length;
  unsigned count;
};

constexpr std::array<Length, 25> kLengthsV4 = {{{8, 16},     {9, 13},      {10, 38},    {11, 103},   {12, 299},
                                                {13, 581},   {14, 1203},   {15, 2100},  {16, 13490}, {17, 8235},
                                                {18, 13798}, {19, 24870},  {20, 42611}, {21, 50750}, {22, 108623},
                                                {23, 96510}, {24, 537698}, {25, 20},    {26, 3},     {27, 11},
                                                {28, 18},    {29, 17},     {30, 3},     {31, 3},     {32, 886}}};

constexpr std::array<Length, 46> kLengthsV6 = {
    {{16, 1},    {19, 1},    {20, 16},    {21, 3},    {22, 7},    {23, 8},    {24, 30},    {25, 8},
     {26, 15},   {27, 20},   {28, 193},   {29, 4371}, {30, 650},  {31, 284},  {32, 22548}, {33, 2926},
     {34, 2603}, {35, 1043}, {36, 5996},  {37, 880},  {38, 1617}, {39, 1377}, {40, 13418}, {41, 903},
     {42, 2301}, {43, 1001}, {44, 14365}, {45, 1553}, {46, 3039}, {47, 3153}, {48, 75488}, {49, 11},
     {50, 3},    {52, 1},    {55, 1},     {56, 24},   {58, 20},   {60, 2},    {64, 184},   {112, 2},
     {122, 1},   {124, 4},   {125, 9},    {126, 19},  {127, 42},  {128, 6}}};

/// Bits of an address, left-aligned; IPv4 uses the first 32. Two words are enough to shift and compare.
struct Bits {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend bool operator==(const Bits&, const Bits&) = default;
};

class Generator {
 public:
  explicit Generator(Family family) : family_(family), v4_(family == Family::kV4) {}

  std::vector<Prefix> run() {
    make_blocks();
    for (const Length& l : v4_ ? std::span<const Length>(kLengthsV4) : std::span<const Length>(kLengthsV6)) add(l);
    std::ranges::shuffle(prefixes_, random_);
    return std::move(prefixes_);
  }

 private:
  /// In [0, 1).
  double uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  std::uint64_t below(std::uint64_t limit) {
    return static_cast<std::uint64_t>(uniform() * static_cast<double>(limit));
  }
  /// The first blocks are the popular ones: the first x of all have x^evenness of the prefixes.
  std::uint64_t popular(const std::vector<std::uint64_t>& blocks, double evenness) {
    const double at = static_cast<double>(blocks.size()) * std::pow(uniform(), 1 / evenness);
    return blocks[static_cast<std::size_t>(at)];
  }
  /// Low values are given out first, in networks as in house numbers.
  std::uint64_t low_nibble(double skew) { return static_cast<std::uint64_t>(16 * std::pow(uniform(), skew)); }

  void make_blocks() {
    if (v4_) {
      while (blocks_.size() < 25400) blocks_.push_back((1 + below(223)) << 8 | below(256));
    } else {
      std::vector<std::uint64_t> top = {0x2001};
      while (top.size() < 9) top.push_back(0x2400 + below(0x20));
      while (top.size() < 59) top.push_back(0x2600 + below(0x610));
      while (blocks_.size() < 11000) blocks_.push_back(popular(top, 0.45) << 8 | below(256));
    }
  }

  /// The longer prefixes are within some of these.
  void choose_hosts(unsigned length, std::size_t count) {
    inner_.clear();
    std::vector<std::uint64_t> all;
    for (const Prefix& p : prefixes_)
      if (p.length() == length) all.push_back(top_bits(p, length));
    std::ranges::sample(all, std::back_inserter(inner_), static_cast<std::ptrdiff_t>(count), random_);
    std::ranges::shuffle(inner_, random_);
  }
  static std::uint64_t top_bits(const Prefix& p, unsigned length) {
    std::uint64_t bits = 0;
    for (unsigned i = 0; i < length / 8; ++i) bits = bits << 8 | p.address().bytes()[i];
    return bits;
  }

  Bits draw_v4(unsigned length) {
    if (length > 24) return {popular(inner_, 0.32) << 40 | below(256) << 32, 0};
    const std::uint64_t tail = length <= 16 ? below(0x10000) : low_nibble(2) << 12 | below(0x1000);
    const std::uint64_t block = length < 16 ? (1 + below(223)) << 8 | below(256) : popular(blocks_, 0.4);
    return {block << 48 | tail << 32, 0};
  }
  Bits draw_v6(unsigned length) {
    if (length <= 32) return {popular(blocks_, 0.15) << 40 | below(std::uint64_t{1} << 40), 0};
    if (length <= 48) {
      std::uint64_t bits = popular(inner_, 0.16);
      for (int nibble = 0; nibble < 4; ++nibble) bits = bits << 4 | low_nibble(5);
      return {bits << 16, 0};
    }
    return {popular(inner_, 0.25) << 16 | below(0x10000), length <= 64 ? 0 : random_()};
  }

  Bits cut(Bits b, unsigned length) const {
    const auto mask = [](unsigned n) { return n == 0 ? 0 : ~std::uint64_t{0} << (64 - n); };
    return {b.high & mask(std::min(length, 64u)), length <= 64 ? 0 : b.low & mask(length - 64)};
  }
  Bits next(Bits b, unsigned length) const {
    if (length <= 64)
      b.high += std::uint64_t{1} << (64 - length);
    else
      b.low += std::uint64_t{1} << (128 - length);
    return b;
  }

  void add(const Length& l) {
    if (l.length == (v4_ ? 25 : 33)) choose_hosts(v4_ ? 24 : 32, v4_ ? 451 : 10900);
    if (!v4_ && l.length == 49) choose_hosts(48, 104);
    const double odds = l.length <= 16 || l.length > 48 ? 0 : v4_ ? (l.length <= 24 ? 0.68 : 0) : 0.73;
    Bits previous;
    bool follow = false;
    std::unordered_set<std::uint64_t> seen;
    for (unsigned n = 0; n < l.count;) {
      const Bits bits = follow && uniform() < odds ? next(previous, l.length)
                                                   : cut(v4_ ? draw_v4(l.length) : draw_v6(l.length), l.length);
      follow = seen.insert(bits.high * 0x9e3779b97f4a7c15ull + bits.low).second;
      if (!follow) continue;
      previous = bits;
      prefixes_.push_back(to_prefix(bits, l.length));
      ++n;
    }
  }

  Prefix to_prefix(const Bits& bits, unsigned length) const {
    std::array<std::uint8_t, 16> bytes;
    for (unsigned i = 0; i < 8; ++i) {
      bytes[i] = static_cast<std::uint8_t>(bits.high >> (56 - 8 * i));
      bytes[8 + i] = static_cast<std::uint8_t>(bits.low >> (56 - 8 * i));
    }
    return Prefix::make(*IpAddress::from_bytes(std::span<const std::uint8_t>(bytes).first(address_bytes(family_))),
                        length)
        .value();
  }

  Family family_;
  bool v4_;
  std::mt19937_64 random_{20251001};
  std::vector<std::uint64_t> blocks_;  // IPv4: /16; IPv6: /24
  std::vector<std::uint64_t> inner_;   // networks that have the longer prefixes
  std::vector<Prefix> prefixes_;
};

}  // namespace

std::vector<Prefix> internet_table(Family family) { return Generator(family).run(); }

std::vector<IpAddress> random_addresses(const std::vector<Prefix>& table, std::size_t count) {
  std::mt19937_64 random(20251002);
  std::vector<IpAddress> addresses;
  addresses.reserve(count);
  while (addresses.size() < count) {
    const Prefix& within = table[random() % table.size()];
    if (within.family() == Family::kV4) {
      addresses.push_back(IpAddress::from_v4(static_cast<std::uint32_t>(random())));
      continue;
    }
    std::array<std::uint8_t, 16> bytes;
    std::ranges::copy(within.address().bytes(), bytes.begin());
    for (unsigned bit = within.length(); bit < 128; ++bit)
      if (random() & 1) bytes[bit / 8] |= static_cast<std::uint8_t>(0x80 >> (bit % 8));
    addresses.push_back(IpAddress::from_v6(bytes));
  }
  return addresses;
}

}  // namespace gw::bench
