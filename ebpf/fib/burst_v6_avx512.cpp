// IPv6 lookups of a burst with AVX-512: 16 addresses a vector, level by level; each step prefetches the lines of the
// next. Any thread.
//
// Lines and entries are loaded one by one. Gather instructions look made for this, but on CPUs with the fix for
// Intel-SA-00828 ("Downfall") one takes 30 cycles, and what depends on it waits.
#include "ebpf/fib/burst_v6.hpp"

#ifdef __x86_64__

#include <immintrin.h>

#include <algorithm>

namespace gw::fib {
namespace {

// Entries change while they are read, an aligned one at a time: what the CPU loads is the old or the new one. C++ has
// no word for that with vectors.
#define GW_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl"), no_sanitize("thread")))
#define GW_AVX512_INLINE GW_AVX512 inline __attribute__((always_inline))

constexpr unsigned kLanes = 16;
constexpr unsigned kHalf = 8;
constexpr unsigned kWords = 4;  // of an address

/// What 16 lookups have come to.
struct Group {
  __m512i word[kWords];  // of the addresses, a lane each, as they are in memory
  __m512i best;
  // What to look at next; for lanes that are done: anything.
  alignas(64) const void* line[kLanes];
  alignas(64) const void* entry[kLanes];
  __mmask16 at_work;  // lanes that are not done
};

struct Rows {
  __m512i row[4];
};

GW_AVX512_INLINE __m128i load_16(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }

/// 16 bytes each from four of 16 places. Broadcasts, because they need no shuffle unit.
GW_AVX512_INLINE __m512i load_row(const void* const* from) {
  __m512i row = _mm512_castsi128_si512(load_16(from[0]));
  row = _mm512_mask_broadcast_i32x4(row, 0x00f0, load_16(from[4]));
  row = _mm512_mask_broadcast_i32x4(row, 0x0f00, load_16(from[8]));
  return _mm512_mask_broadcast_i32x4(row, 0xf000, load_16(from[12]));
}

/// 16 bytes from each of 16 places. Row j has those of lanes j, 4 + j, 8 + j and 12 + j.
GW_AVX512_INLINE Rows load_rows(const void* const* from) {
  return {{load_row(from), load_row(from + 1), load_row(from + 2), load_row(from + 3)}};
}

GW_AVX512_INLINE int load_4(const void* at) { return *static_cast<const int*>(at); }

GW_AVX512_INLINE __m128i load_four(const void* const* entry) {
  __m128i four = _mm_cvtsi32_si128(load_4(entry[0]));
  four = _mm_insert_epi32(four, load_4(entry[1]), 1);
  four = _mm_insert_epi32(four, load_4(entry[2]), 2);
  return _mm_insert_epi32(four, load_4(entry[3]), 3);
}

/// An entry for each lane.
GW_AVX512_INLINE __m512i load_entries(const void* const* entry) {
  const __m512i low = _mm512_inserti32x4(_mm512_castsi128_si512(load_four(entry)), load_four(entry + 4), 1);
  const __m256i high = _mm256_inserti32x4(_mm256_castsi128_si256(load_four(entry + 8)), load_four(entry + 12), 1);
  return _mm512_inserti64x4(low, high, 1);
}

GW_AVX512_INLINE __m512i low_half(__m512i v) { return _mm512_cvtepu32_epi64(_mm512_castsi512_si256(v)); }
GW_AVX512_INLINE __m512i high_half(__m512i v) { return _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(v, 1)); }
/// Half of the lanes' pointers.
GW_AVX512_INLINE __m512i load(const void* const* from) { return _mm512_load_si512(static_cast<const void*>(from)); }
GW_AVX512_INLINE void store(const void** to, __m512i half) { _mm512_store_si512(static_cast<void*>(to), half); }
GW_AVX512_INLINE __m512i everywhere(const void* p) { return _mm512_set1_epi64(reinterpret_cast<long long>(p)); }

GW_AVX512_INLINE void prefetch_half(const void* const* at) {
  __builtin_prefetch(at[0]);
  __builtin_prefetch(at[1]);
  __builtin_prefetch(at[2]);
  __builtin_prefetch(at[3]);
  __builtin_prefetch(at[4]);
  __builtin_prefetch(at[5]);
  __builtin_prefetch(at[6]);
  __builtin_prefetch(at[7]);
}

/// At most 16 addresses: goes to their entries of the root.
GW_AVX512_INLINE void begin(Group& g, const Memory& m, std::span<const std::uint8_t* const> addresses) {
  const void* from[kLanes];
  for (unsigned lane = 0; lane < kLanes; ++lane) from[lane] = addresses[lane < addresses.size() ? lane : 0];
  const auto [row] = load_rows(from);
  const __m512i low01 = _mm512_unpacklo_epi32(row[0], row[1]), low23 = _mm512_unpacklo_epi32(row[2], row[3]);
  const __m512i high01 = _mm512_unpackhi_epi32(row[0], row[1]), high23 = _mm512_unpackhi_epi32(row[2], row[3]);
  g.word[0] = _mm512_unpacklo_epi64(low01, low23);
  g.word[1] = _mm512_unpackhi_epi64(low01, low23);
  g.word[2] = _mm512_unpacklo_epi64(high01, high23);
  g.word[3] = _mm512_unpackhi_epi64(high01, high23);
  g.best = _mm512_setzero_si512();
  g.at_work = static_cast<__mmask16>((1u << addresses.size()) - 1);
  const __m128i first_two = _mm_setr_epi8(1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1, -1);
  const __m512i slot = _mm512_shuffle_epi8(g.word[0], _mm512_broadcast_i32x4(first_two));
  const __m512i offset = _mm512_slli_epi32(slot, 2);
  const __m512i root = everywhere(m.v6_root.data());
  store(g.entry, _mm512_add_epi64(root, low_half(offset)));
  store(g.entry + kHalf, _mm512_add_epi64(root, high_half(offset)));
}

/// Goes where the entries lead, for byte `byte` of the addresses; lanes whose entry leads to no node are done.
GW_AVX512_INLINE void follow(Group& g, const Memory& m, unsigned byte) {
  const __m512i entry = load_entries(g.entry);
  const __m512i zero = _mm512_setzero_si512();
  g.best = _mm512_mask_mov_epi32(g.best, _mm512_mask_cmpgt_epi32_mask(g.at_work, entry, zero), entry);
  g.at_work = _mm512_mask_cmplt_epi32_mask(g.at_work, entry, zero);
  const __m512i shift = _mm512_set1_epi32(static_cast<int>(byte % 4 * 8));
  const __m512i value = _mm512_and_si512(_mm512_srlv_epi32(g.word[byte / 4 % kWords], shift), _mm512_set1_epi32(0xff));
  const __m512i width = _mm512_and_si512(_mm512_srli_epi32(entry, GW_FIB_V6_WIDTH_SHIFT), _mm512_set1_epi32(7));
  const __m512i part = _mm512_srli_epi32(_mm512_sllv_epi32(value, width), 8);
  const __m512i first = _mm512_and_si512(entry, _mm512_set1_epi32(GW_FIB_V6_LINE_MASK));
  const __m512i line = _mm512_maskz_add_epi32(g.at_work, first, part);
  static_assert(sizeof(gw_fib_line) == 1 << 6);
  const __m512i lines = everywhere(m.v6_lines.data());
  store(g.line, _mm512_add_epi64(lines, _mm512_slli_epi64(low_half(line), 6)));
  store(g.line + kHalf, _mm512_add_epi64(lines, _mm512_slli_epi64(high_half(line), 6)));
  prefetch_half(g.line);
  prefetch_half(g.line + kHalf);
}

/// How many runs of the lines end below the byte: of lanes j, 4 + j, 8 + j, 12 + j, half of it in each 64 bits.
/// `which`: the byte of the word, once for each of `last`; 0 for what follows, so that it does not count.
GW_AVX512_INLINE __m512i ends_below(__m512i word, __m512i which, __m512i line) {
  const __m512i ends = _mm512_subs_epu8(_mm512_shuffle_epi8(word, which), line);
  return _mm512_sad_epu8(_mm512_min_epu8(ends, _mm512_set1_epi8(1)), _mm512_setzero_si512());
}

/// The sums of both halves, lanes of `a` and `b` in turn.
GW_AVX512_INLINE __m512i sums(__m512i a, __m512i b) {
  return _mm512_add_epi64(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/// The runs that hold byte `byte` of the addresses.
GW_AVX512_INLINE __m512i runs_of(const Group& g, const Rows& lines, unsigned byte) {
  const __m128i last = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -128, -128, -128, -128);
  const __m512i next = _mm512_set1_epi8(4);
  const __m512i word = g.word[byte / 4];
  const __m512i which0 = _mm512_add_epi8(_mm512_broadcast_i32x4(last), _mm512_set1_epi8(static_cast<char>(byte % 4)));
  const __m512i which1 = _mm512_add_epi8(which0, next);
  const __m512i which2 = _mm512_add_epi8(which1, next);
  const __m512i which3 = _mm512_add_epi8(which2, next);
  const __m512i sum01 = sums(ends_below(word, which0, lines.row[0]), ends_below(word, which1, lines.row[1]));
  const __m512i sum23 = sums(ends_below(word, which2, lines.row[2]), ends_below(word, which3, lines.row[3]));
  return _mm512_castps_si512(_mm512_shuffle_ps(_mm512_castsi512_ps(sum01), _mm512_castsi512_ps(sum23), 0x88));
}

/// Goes to the lines' entries for byte `byte` of the addresses.
GW_AVX512_INLINE void choose(Group& g, unsigned byte) {
  const Rows lines = load_rows(g.line);
  static_assert(offsetof(gw_fib_line, inherited) == 12);
  const __m512i inherited = _mm512_unpackhi_epi64(_mm512_unpackhi_epi32(lines.row[0], lines.row[1]),
                                                  _mm512_unpackhi_epi32(lines.row[2], lines.row[3]));
  g.best = _mm512_mask_mov_epi32(g.best, _mm512_mask_test_epi32_mask(g.at_work, inherited, inherited), inherited);
  const __m512i run = runs_of(g, lines, byte);
  const __m512i offset =
      _mm512_add_epi32(_mm512_slli_epi32(run, 2), _mm512_set1_epi32(static_cast<int>(offsetof(gw_fib_line, entry))));
  store(g.entry, _mm512_add_epi64(load(g.line), low_half(offset)));
  store(g.entry + kHalf, _mm512_add_epi64(load(g.line + kHalf), high_half(offset)));
}

}  // namespace

// In halves of a level, over all groups: the groups do not wait for each other, and so their loads overlap.
GW_AVX512 void burst_v6_avx512(const Memory& m, std::span<const std::uint8_t* const> addresses, NextHopIndex* found) {
  Group all[kLookupBurst / kLanes];
  const std::size_t count = (addresses.size() + kLanes - 1) / kLanes;
  const auto groups = std::span(all).first(count);
  for (std::size_t i = 0; i < count; ++i)
    begin(all[i], m, addresses.subspan(i * kLanes, std::min<std::size_t>(kLanes, addresses.size() - i * kLanes)));
  for (Group& g : groups) follow(g, m, 2);
  for (unsigned byte = 2; byte < 16; ++byte) {
    unsigned at_work = 0;
    for (Group& g : groups) {
      if (g.at_work != 0) choose(g, byte);
      at_work |= g.at_work;
    }
    if (at_work == 0) break;
    for (Group& g : groups)
      if (g.at_work != 0) follow(g, m, byte + 1);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t left = std::min<std::size_t>(kLanes, addresses.size() - i * kLanes);
    _mm512_mask_storeu_epi32(found + i * kLanes, static_cast<__mmask16>((1u << left) - 1), all[i].best);
  }
}

}  // namespace gw::fib
#endif
