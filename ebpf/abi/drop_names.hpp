// Names and meanings of the drop reasons, for counters, `gwctl show counters` and the documentation.
// User space only; pure; any thread.
#pragma once

#include <optional>
#include <string_view>

#include "ebpf/abi/drop.h"

namespace gw {

struct DropInfo {
  std::string_view name;     // snake_case, as metrics and the RPC carry it
  std::string_view meaning;  // one English sentence
};

/// A number outside the enum gives {"unknown", ...}: counters of a newer peer never crash a reader.
const DropInfo& drop_info(gw_drop reason);
std::optional<gw_drop> drop_by_name(std::string_view name);

}  // namespace gw
