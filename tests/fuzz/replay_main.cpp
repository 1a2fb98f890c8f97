// Feeds a fuzz target without libFuzzer: each seed of a folder, every prefix of it, and mutations of it that are the
// same on every run. What ends the target is left in a file, for `fuzz_NAME FILE` to be run with again.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Bytes = std::vector<std::uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr int kMutations = 2000;              // of each seed
constexpr std::chrono::seconds kAtMost{3};    // for these, and for the prefixes: what is left out is said
constexpr std::size_t kLongest = 64U * 1024;  // a mutation
constexpr std::size_t kStepped = 4096;        // of a longer seed not every prefix is tried

struct Seed {
  std::string name;
  Bytes bytes;
};

/// splitmix64: the same numbers everywhere, which the standard's distributions do not promise.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : next() % limit; }

 private:
  std::uint64_t state_;
};

// What is under way, for the file that is left behind.
Bytes current;
std::string left_behind;

void leave_behind() {
  std::FILE* out = std::fopen(left_behind.c_str(), "wb");
  if (out == nullptr) return;
  (void)std::fwrite(current.data(), 1, current.size(), out);
  (void)std::fclose(out);
  std::fprintf(stderr, "the input is in %s\n", left_behind.c_str());
}

void on_signal(int number) {
  leave_behind();
  (void)std::signal(number, SIG_DFL);
  (void)std::raise(number);
}

/// Of its own allocation: a byte beyond it is ASan's to see.
void run(Bytes input) {
  input.shrink_to_fit();
  current = std::move(input);
  (void)LLVMFuzzerTestOneInput(current.data(), current.size());
}

std::size_t length_of_part(const Bytes& bytes, std::size_t at, Chance& chance) {
  return std::min(bytes.size() - at, 1 + chance.below(chance.below(4) == 0 ? 64 : 8));
}

void mutate_once(Bytes& bytes, const Bytes& other, Chance& chance) {
  constexpr std::array<std::uint8_t, 8> kOdd{0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x20, '"'};
  if (bytes.empty()) return bytes.push_back(static_cast<std::uint8_t>(chance.next()));
  const std::size_t at = chance.below(bytes.size());
  const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
  const auto part = static_cast<std::ptrdiff_t>(length_of_part(bytes, at, chance));
  switch (chance.below(8)) {
    case 0: bytes[at] ^= static_cast<std::uint8_t>(1U << chance.below(8)); break;
    case 1: bytes[at] = kOdd[chance.below(kOdd.size())]; break;
    case 2: bytes[at] = static_cast<std::uint8_t>(chance.next()); break;
    case 3: bytes[at] = static_cast<std::uint8_t>(bytes[at] + (chance.below(2) == 0 ? 1 : 255)); break;
    case 4: std::fill(here, here + part, kOdd[chance.below(kOdd.size())]); break;  // lengths of several bytes
    case 5: bytes.erase(here, here + part); break;
    case 6: {  // said twice
      const Bytes copy(here, here + part);
      bytes.insert(here, copy.begin(), copy.end());
      break;
    }
    default: {  // the rest of another seed
      const std::size_t from = chance.below(other.size() + 1);
      bytes.erase(here, bytes.end());
      bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
    }
  }
  if (bytes.size() > kLongest) bytes.resize(kLongest);
}

Bytes mutated(const Seed& seed, const Seed& other, Chance& chance) {
  Bytes bytes = seed.bytes;
  for (std::size_t left = 1 + chance.below(4); left > 0; --left) mutate_once(bytes, other.bytes, chance);
  return bytes;
}

Bytes content(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::vector<Seed> seeds_of(const std::filesystem::path& folder) {
  std::vector<Seed> seeds;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    seeds.push_back({entry.path().filename().string(), content(entry.path())});
  std::ranges::sort(seeds, {}, &Seed::name);
  return seeds;
}

// Truncation is what parsers get wrong. True: there was time for all.
bool run_prefixes(const std::vector<Seed>& seeds) {
  const Clock::time_point end = Clock::now() + kAtMost;
  for (const Seed& seed : seeds) {
    const std::size_t step = seed.bytes.size() > kStepped ? 97 : 1;
    for (std::size_t n = 0; n <= seed.bytes.size(); n += step) {
      if (Clock::now() >= end) return false;
      run({seed.bytes.begin(), seed.bytes.begin() + static_cast<std::ptrdiff_t>(n)});
    }
  }
  return true;
}

// In turn, so that all seeds have the same share of the time.
int run_mutations(const std::vector<Seed>& seeds) {
  Chance chance(20261121);
  const Clock::time_point end = Clock::now() + kAtMost;
  int rounds = 0;
  for (; rounds < kMutations && Clock::now() < end; ++rounds)
    for (const Seed& seed : seeds) run(mutated(seed, seeds[chance.below(seeds.size())], chance));
  return rounds;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s SEED-FOLDER | INPUT\n", argv[0]);
    return 2;
  }
  left_behind = "crash-" + std::filesystem::path(argv[0]).filename().string();
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(leave_behind);
  (void)std::signal(SIGABRT, on_signal);
  if (!std::filesystem::is_directory(argv[1])) {
    run(content(argv[1]));
    return 0;
  }
  const std::vector<Seed> seeds = seeds_of(argv[1]);
  for (const Seed& seed : seeds) run(seed.bytes);
  const bool whole = run_prefixes(seeds);
  const int rounds = seeds.empty() ? 0 : run_mutations(seeds);
  std::printf("%zu seeds replayed, %s, %d mutations of each\n", seeds.size(),
              whole ? "all prefixes" : "prefixes as far as time went", rounds);
  return seeds.empty() ? 1 : 0;
}
