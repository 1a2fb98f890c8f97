// The mixing step of the flow hash, shared by the worker (esp::flow_hash) and the tcx program, which must
// find the same tunnel of an ECMP group for a packet. splitmix64's finalizer: full avalanche in three
// multiplications. Written in C for both worlds.
#pragma once

#include <linux/types.h>

static inline __attribute__((always_inline)) __u64 gw_flow_mix(__u64 h, __u64 v) {
  h ^= v + 0x9e3779b97f4a7c15ull;
  h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ h >> 27) * 0x94d049bb133111ebull;
  return h ^ h >> 31;
}

static inline __attribute__((always_inline)) __u32 gw_flow_fold(__u64 h) { return (h >> 32 ^ h) & 0xffffffffu; }
