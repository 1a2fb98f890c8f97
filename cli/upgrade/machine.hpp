// RAUC's words understood: what a bundle is, what slots the machine has, and whether the one may be written over the
// other. Pure; any thread. Everything an operator can get wrong is refused here, before a byte is written, with the
// reason and what to do about it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace gw::cli::upgrade {

struct Bundle {
  struct Image {
    std::string slot_class;  // "rootfs", "boot"
    std::uint64_t bytes = 0;
  };
  std::string compatible;
  std::string version;
  std::uint32_t state_format = 0;  // 0: the bundle does not say
  std::vector<Image> images;
};
/// Of `rauc info --output-format=json-2`.
Result<Bundle> parse_bundle(const std::string& json);
/// What `rauc info` or `rauc install` said when it refused `file`, in words that help.
Error explain_refusal(std::string_view file, std::string_view said);

struct Machine {
  struct Slot {
    std::string name;        // "rootfs.0"
    std::string slot_class;  // "rootfs"
    std::string device;
    std::string boot_name;  // "A"; of a boot partition: its root's
    bool good = false;
  };
  std::string compatible;
  std::string booted;  // "A"
  std::string next;    // which the boot loader would choose
  std::vector<Slot> slots;

  /// "B", when A runs.
  std::string other() const { return booted == "A" ? "B" : "A"; }
  bool good(std::string_view boot_name) const;
};
/// Of `rauc status --output-format=json`.
Result<Machine> parse_machine(const std::string& json);

/// What `admit` needs to know beside the bundle and the slots.
struct Surrounds {
  std::uint32_t state_format = 0;           // of the running gwd
  std::vector<std::uint32_t> kept_formats;  // copies of older ones that gwd kept
  std::vector<std::uint64_t> target_bytes;  // of the target's partitions, in the order of bundle.images
  bool undecided = false;                   // the update before has no verdict yet
};
/// --older-state: whoever goes back to an older gwd accepts its older revisions.
enum class OlderState : std::uint8_t { kRefuse, kAccept };
Status admit(const Bundle& bundle, const Machine& machine, const Surrounds& surrounds, OlderState older);

}  // namespace gw::cli::upgrade
