// The notes about updates, on the data partition and so the same for both slots: JSON files of api/v1/upgrade.proto,
// each written in one step. Owner: one run of gwctl, as root.
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <string>

#include "base/result.hpp"
#include "gw/api/v1/upgrade.pb.h"

namespace gw::cli::upgrade {

inline constexpr const char* kNotes = "/var/lib/gw-update";

class Notes {
 public:
  explicit Notes(std::string folder) : folder_(std::move(folder)) {}

  /// Not set: there is none. kMalformed: it cannot be understood.
  Result<std::optional<gw::api::v1::UpgradeBefore>> before() const;
  Status write(const gw::api::v1::UpgradeBefore& before) const;
  Status drop_before() const;

  std::optional<gw::api::v1::UpgradeOutcome> last() const;
  Status write(const gw::api::v1::UpgradeOutcome& outcome) const;

  gw::api::v1::UpgradeSlots slots() const;
  Status write(const gw::api::v1::UpgradeSlots& slots) const;

 private:
  std::string path(const char* name) const { return folder_ + "/" + name; }
  Status write(const char* name, const google::protobuf::Message& message) const;
  /// False: there is no such file.
  Result<bool> read(const char* name, google::protobuf::Message& into) const;
  std::string folder_;
};

}  // namespace gw::cli::upgrade
