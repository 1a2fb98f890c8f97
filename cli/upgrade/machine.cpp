#include "cli/upgrade/machine.hpp"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <charconv>
#include <format>

#include "cli/text.hpp"

namespace gw::cli::upgrade {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

const Value& field(const Struct& from, const char* name) {
  static const Value nothing;
  const auto it = from.fields().find(name);
  return it == from.fields().end() ? nothing : it->second;
}
const Struct& group(const Struct& from, const char* name) { return field(from, name).struct_value(); }
const std::string& text(const Struct& from, const char* name) { return field(from, name).string_value(); }

Result<Struct> parse(const std::string& json, std::string_view what) {
  Struct out;
  if (!google::protobuf::util::JsonStringToMessage(json, &out).ok())
    return fail(Errc::kMalformed, std::format("rauc said something else than expected about {}", what));
  return out;
}

std::uint32_t number(std::string_view digits) {
  std::uint32_t n = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), n);
  return n;
}

Machine::Slot slot_of(const std::string& name, const Struct& from) {
  return {.name = name,
          .slot_class = text(from, "class"),
          .device = text(from, "device"),
          .boot_name = text(from, "bootname"),
          .good = text(from, "boot_status") == "good"};
}

std::string join(const std::vector<std::uint32_t>& numbers) {
  std::string out;
  for (const std::uint32_t n : numbers) out += (out.empty() ? "" : ", ") + std::to_string(n);
  return out;
}

Status admit_state(const Bundle& bundle, const Surrounds& surrounds, OlderState older) {
  if (bundle.state_format == 0)
    return fail(Errc::kUnsupported,
                "the bundle does not say which format of gwd's revisions it knows; it was not made by images/bundle");
  if (bundle.state_format >= surrounds.state_format) return {};
  const std::string what = std::format("its gwd knows revisions up to format {}, this gateway's have format {}",
                                       bundle.state_format, surrounds.state_format);
  if (std::ranges::find(surrounds.kept_formats, bundle.state_format) == surrounds.kept_formats.end())
    return fail(
        Errc::kRefused,
        std::format(
            "{}, and no copy of format {} is kept here (there are: {}): it could not run. Install a version that knows "
            "format {}, or make a new machine of the older image, with gateway.yaml in its seed",
            what, bundle.state_format, surrounds.kept_formats.empty() ? "none" : join(surrounds.kept_formats),
            surrounds.state_format));
  if (older == OlderState::kRefuse)
    return fail(Errc::kRefused, std::format("{}. It would go on with the revisions of before that change; later ones "
                                            "stay in a file, out of use. If that is "
                                            "wanted: --older-state",
                                            what));
  return {};
}

}  // namespace

bool Machine::good(std::string_view boot_name) const {
  return std::ranges::any_of(slots, [&](const Slot& slot) { return slot.boot_name == boot_name && slot.good; });
}

Result<Bundle> parse_bundle(const std::string& json) {
  GW_TRY_ASSIGN(const Struct info, parse(json, "the bundle"));
  Bundle out{.compatible = text(group(info, "update"), "compatible"),
             .version = text(group(info, "update"), "version"),
             .state_format = number(text(group(group(info, "meta"), "gw"), "state-format")),
             .images = {}};
  for (const Value& image : field(info, "images").list_value().values())
    out.images.push_back({text(image.struct_value(), "slot-class"),
                          static_cast<std::uint64_t>(field(image.struct_value(), "size").number_value())});
  return out;
}

Error explain_refusal(std::string_view file, std::string_view said) {
  const auto has = [&](std::string_view words) { return said.contains(words); };
  // Its last line is the reason; what is above it is progress.
  std::string_view reason = said.substr(0, said.find_last_not_of("\n \t") + 1);
  if (const auto newline = reason.rfind('\n'); newline != std::string_view::npos) reason = reason.substr(newline + 1);
  const auto error = [&](Errc code, std::string_view what) {
    return Error{
        code, std::format("{}: {} (rauc: {})", file, what, printable(reason)), {}, std::source_location::current()};
  };
  if (has("No such file")) return error(Errc::kNotFound, "there is no such file");
  if (has("not yet valid") || has("has expired"))
    return error(Errc::kPermission,
                 "the signer's certificate is not good at this machine's time; is the clock right (chronyc tracking)?");
  if (has("signature verification failed"))
    return error(Errc::kPermission,
                 "it is not signed by an authority that this appliance trusts (/etc/rauc/keyring.pem); take a bundle "
                 "from where the "
                 "image came from");
  if (has("Signature size is 0"))
    return error(Errc::kPermission, "it is not signed: not an update bundle, or one without its end");
  if (has("exceeds bundle size") || has("Invalid bundle format") || has("Failed to decode") || has("not a squashfs"))
    return error(Errc::kMalformed, "it is not a whole update bundle; compare it with SHA256SUMS, and copy it again");
  if (has("lready processing a different method"))
    return error(Errc::kRefused, "another update is being written just now: wait for it (gwctl upgrade status)");
  if (has("Compatible mismatch")) return error(Errc::kUnsupported, "it is for another kind of machine");
  if (has("No space left") || has("too small") || has("larger than"))
    return error(Errc::kLimit, "an image does not fit into its partition");
  return error(Errc::kRefused, "it was refused");
}

Result<Machine> parse_machine(const std::string& json) {
  GW_TRY_ASSIGN(const Struct status, parse(json, "the slots"));
  Machine out{.compatible = text(status, "compatible"), .booted = text(status, "booted"), .next = {}, .slots = {}};
  std::vector<std::pair<std::size_t, std::string>> parents;
  for (const Value& entry : field(status, "slots").list_value().values())
    for (const auto& [name, slot] : entry.struct_value().fields()) {
      if (const std::string& parent = text(slot.struct_value(), "parent"); !parent.empty())
        parents.emplace_back(out.slots.size(), parent);
      out.slots.push_back(slot_of(name, slot.struct_value()));
      if (name == text(status, "boot_primary")) out.next = out.slots.back().boot_name;
    }
  for (const auto& [index, parent] : parents)
    if (const auto root = std::ranges::find(out.slots, parent, &Machine::Slot::name); root != out.slots.end())
      out.slots[index].boot_name = root->boot_name;
  if (out.booted != "A" && out.booted != "B")
    return fail(
        Errc::kUnsupported,
        "this machine was not started from one of the appliance's slots: updates are for the appliance's image; "
        "elsewhere apt installs newer packages");
  return out;
}

Status admit(const Bundle& bundle, const Machine& machine, const Surrounds& surrounds, OlderState older) {
  if (bundle.compatible != machine.compatible)
    return fail(Errc::kUnsupported, std::format("the bundle is for '{}', this machine is '{}'",
                                                printable(bundle.compatible), machine.compatible));
  if (surrounds.undecided)
    return fail(Errc::kRefused, "the update before is not decided yet; wait for it: gwctl upgrade status");
  for (std::size_t i = 0; i < bundle.images.size() && i < surrounds.target_bytes.size(); ++i)
    if (bundle.images[i].bytes > surrounds.target_bytes[i])
      return fail(
          Errc::kLimit,
          std::format(
              "not enough space: the bundle's {} has {}, the partition {}; a machine of a newer image has larger ones",
              printable(bundle.images[i].slot_class), human_bytes(bundle.images[i].bytes),
              human_bytes(surrounds.target_bytes[i])));
  return admit_state(bundle, surrounds, older);
}

}  // namespace gw::cli::upgrade
