// The Internet checksum (RFC 1071) over whole payloads, alone or while they are copied: what segmenting and
// coalescing spend their time on. AVX2 where the CPU has it, 64-bit words elsewhere; one result. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gw::gso {

/// Folded one's complement sum of the bytes as big-endian 16-bit words, an odd last byte padded with zero: the
/// value of esp::fold16(esp::sum16(...)). 0 only if all bytes are 0.
std::uint16_t sum_of(const std::uint8_t* from, std::size_t bytes);

/// The same, and copies; the two do not overlap.
std::uint16_t copy_and_sum(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes);

/// The two implementations, for tests and benchmarks; `to` may be null. AVX2 only if has_avx2().
namespace detail {
std::uint16_t portable(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes);
std::uint16_t avx2(std::uint8_t* to, const std::uint8_t* from, std::size_t bytes);
bool has_avx2();
}  // namespace detail

}  // namespace gw::gso
