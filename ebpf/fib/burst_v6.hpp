// The ways to look up a burst of IPv6 addresses; view.hpp has the one to use.
#pragma once

#include "ebpf/fib/view.hpp"

namespace gw::fib {

#ifdef __x86_64__
/// Needs AVX-512 F, BW, DQ and VL.
void burst_v6_avx512(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found);
#endif

}  // namespace gw::fib
