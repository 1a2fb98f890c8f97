// Where a capture is written: a file, a pipe, a terminal. It waits for a reader, but never where a signal does not
// reach it. One run of gwctl.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "cli/capture/interrupts.hpp"

namespace gw::cli::capture {

class Sink {
 public:
  /// A new file, mode 0600, in the place of one of ours; or a FIFO or device that is there: of a FIFO it waits for the
  /// reader. The error names the file.
  static Result<Sink> create(const std::string& path, Interrupts& interrupts);
  static Result<Sink> standard_output(Interrupts& interrupts);
  Sink(Fd fd, Interrupts& interrupts);

  /// Takes from `bytes` what it writes: all, or what there is before an error. kTimeout: a signal came, and the reader
  /// stands still. A second signal waits for nobody.
  Status write(std::string_view& bytes);
  /// The last bytes that were written, of a file that create() has made. Of others nothing can be taken back.
  void take_back(std::size_t bytes);

 private:
  enum class Way : std::uint8_t {
    kNeverWaits,  // a file
    kWaits,       // a write of a page does not, once there is room
    kRefuses,     // O_NONBLOCK
  };
  static Result<Sink> open_special(const std::string& path, mode_t mode, Interrupts& interrupts);
  Status wait_for_room();

  Fd fd_;
  Interrupts* interrupts_;
  Way way_ = Way::kWaits;
  bool ours_ = false;
};

}  // namespace gw::cli::capture
