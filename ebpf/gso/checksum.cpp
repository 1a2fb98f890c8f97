#include "ebpf/gso/checksum.hpp"

#include <bit>
#include <cstring>

#include "ebpf/esp/checksum.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gw::gso {
namespace {

enum class Copy : std::uint8_t { kNo, kYes };

// Sums are of words as they lie in memory. A sum of swapped words is the swapped sum (RFC 1071 2B), so one swap
// at the end is enough.
std::uint16_t finish(std::uint64_t sum) {
  const std::uint16_t folded = esp::fold16((sum & 0xffffffff) + (sum >> 32));
  return std::endian::native == std::endian::little ? std::byteswap(folded) : folded;
}

std::uint64_t halves(std::uint64_t word) { return (word & 0xffffffff) + (word >> 32); }

template <Copy kCopy>
std::uint64_t words(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  std::uint64_t sum = 0;  // of 32-bit words: 2^32 of them fit
  std::size_t at = 0;
  for (; at + 8 <= bytes; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, from + at, 8);
    if constexpr (kCopy == Copy::kYes) std::memcpy(to + at, &word, 8);
    sum += halves(word);
  }
  if (at == bytes) return sum;
  std::uint64_t last = 0;
  std::memcpy(&last, from + at, bytes - at);
  if constexpr (kCopy == Copy::kYes) std::memcpy(to + at, &last, bytes - at);
  return sum + halves(last);
}

#if defined(__x86_64__)

// Two vectors a round, low and high halves summed apart: 24 bytes a cycle.
template <Copy kCopy>
__attribute__((target("avx2"))) std::uint64_t vectors(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i sum0 = _mm256_setzero_si256();
  __m256i sum1 = _mm256_setzero_si256();
  std::size_t at = 0;
  for (; at + 64 <= bytes; at += 64) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at + 32));
    if constexpr (kCopy == Copy::kYes) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + at), a);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + at + 32), b);
    }
    sum0 = _mm256_add_epi64(sum0, _mm256_add_epi64(_mm256_and_si256(a, low), _mm256_srli_epi64(a, 32)));
    sum1 = _mm256_add_epi64(sum1, _mm256_add_epi64(_mm256_and_si256(b, low), _mm256_srli_epi64(b, 32)));
  }
  const __m256i sum = _mm256_add_epi64(sum0, sum1);
  alignas(32) std::uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
  std::uint64_t total = lanes[0] + lanes[1] + lanes[2] + lanes[3];
  if (at < bytes) total += words<kCopy>(kCopy == Copy::kYes ? to + at : nullptr, from + at, bytes - at);
  return total;
}

#endif

}  // namespace

namespace detail {

std::uint16_t portable(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  return finish(to ? words<Copy::kYes>(to, from, bytes) : words<Copy::kNo>(nullptr, from, bytes));
}

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
std::uint16_t avx2(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  return finish(to ? vectors<Copy::kYes>(to, from, bytes) : vectors<Copy::kNo>(nullptr, from, bytes));
}
#else
bool has_avx2() { return false; }
std::uint16_t avx2(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) { return portable(to, from, bytes); }
#endif

}  // namespace detail

namespace {
const auto kBest = detail::has_avx2() ? detail::avx2 : detail::portable;
}

std::uint16_t sum_of(const std::uint8_t* from, std::size_t bytes) { return kBest(nullptr, from, bytes); }

std::uint16_t copy_and_sum(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes) {
  return kBest(to, from, bytes);
}

}  // namespace gw::gso
