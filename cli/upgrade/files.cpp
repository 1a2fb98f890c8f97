#include "cli/upgrade/files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <format>
#include <fstream>
#include <sstream>

#include "base/fd.hpp"
#include "cli/session.hpp"

namespace gw::cli::upgrade {
namespace {

constexpr const char* kBefore = "before.json";
constexpr const char* kLast = "last.json";
constexpr const char* kSlots = "slots.json";

}  // namespace

Result<bool> Notes::read(const char* name, google::protobuf::Message& into) const {
  std::error_code error;
  if (!std::filesystem::exists(path(name), error)) return false;
  const std::ifstream stream(path(name), std::ios::binary);
  std::stringstream text;
  text << stream.rdbuf();
  if (!stream || !from_json(text.str(), into))
    return fail(Errc::kMalformed, std::format("{} cannot be understood", path(name)));
  return true;
}

Status Notes::write(const char* name, const google::protobuf::Message& message) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::string whole = path(name);
  const std::string part = whole + ".part";
  const std::string text = to_json(message, Layout::kIndented);
  const auto failed = [&] { return fail_errno(std::format("cannot write {}", whole)); };
  const Fd out(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!out) return failed();
  if (::write(out.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) return failed();
  // The machine restarts next: the name, too, has to be on the disk.
  if (::fsync(out.get()) != 0 || ::rename(part.c_str(), whole.c_str()) != 0) return failed();
  const Fd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::fsync(folder.get()) != 0) return failed();
  return {};
}

Result<std::optional<gw::api::v1::UpgradeBefore>> Notes::before() const {
  gw::api::v1::UpgradeBefore out;
  GW_TRY_ASSIGN(const bool found, read(kBefore, out));
  if (!found) return std::nullopt;
  return out;
}
Status Notes::write(const gw::api::v1::UpgradeBefore& before) const { return write(kBefore, before); }
Status Notes::drop_before() const {
  if (::unlink(path(kBefore).c_str()) != 0 && errno != ENOENT)
    return fail_errno(std::format("cannot remove {}", path(kBefore)));
  return {};
}

std::optional<gw::api::v1::UpgradeOutcome> Notes::last() const {
  gw::api::v1::UpgradeOutcome out;
  const auto found = read(kLast, out);
  if (!found || !*found) return std::nullopt;
  return out;
}
Status Notes::write(const gw::api::v1::UpgradeOutcome& outcome) const { return write(kLast, outcome); }

gw::api::v1::UpgradeSlots Notes::slots() const {
  gw::api::v1::UpgradeSlots out;
  if (!read(kSlots, out)) out.Clear();
  return out;
}
Status Notes::write(const gw::api::v1::UpgradeSlots& slots) const { return write(kSlots, slots); }

}  // namespace gw::cli::upgrade
