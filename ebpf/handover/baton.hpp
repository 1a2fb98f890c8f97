// Which of two processes may send: the one that leaves, or the one that takes its place. One word in memory that both
// map; each change is one compare-and-swap, so whatever either does, and wherever either dies, one of them has it.
//
//   kOld --offer()--> kOffered --take()--> kTaken, for good
//     ^------withdraw()---|
//
// offer(): the old process, after it has stopped. Until take() succeeds the new one has sent nothing and written
// nothing that is shared; so withdraw(), when the new one is late or dead, puts everything back as it was.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace gw::handover {

enum class Holder : std::uint32_t { kOld = 1, kOffered = 2, kTaken = 3 };

class Baton {
 public:
  /// With the old process.
  static Result<Baton> make();
  static Result<Baton> share(Fd fd);
  Baton(Baton&& other) noexcept : fd_(std::move(other.fd_)), word_(std::exchange(other.word_, nullptr)) {}
  Baton(const Baton&) = delete;
  Baton& operator=(const Baton&) = delete;
  Baton& operator=(Baton&&) = delete;
  ~Baton();

  int fd() const { return fd_.get(); }
  /// The old process.
  bool offer() { return change(Holder::kOld, Holder::kOffered); }
  bool withdraw() { return change(Holder::kOffered, Holder::kOld); }
  /// The new one.
  bool take() { return change(Holder::kOffered, Holder::kTaken); }
  Holder holder() const { return static_cast<Holder>(std::atomic_ref(*word_).load()); }

 private:
  Baton(Fd fd, std::uint32_t* word) : fd_(std::move(fd)), word_(word) {}
  bool change(Holder from, Holder to) {
    auto expected = static_cast<std::uint32_t>(from);
    return std::atomic_ref(*word_).compare_exchange_strong(expected, static_cast<std::uint32_t>(to));
  }

  Fd fd_;
  std::uint32_t* word_;
};

}  // namespace gw::handover
