#include "cli/ha_certificates.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <format>
#include <fstream>
#include <iterator>
#include <set>

#include "base/fd.hpp"
#include "base/secret.hpp"
#include "cli/text.hpp"
#include "gwd/pki/certificate.hpp"

namespace gw::cli {
namespace {

constexpr mode_t kPublic = 0644;
constexpr mode_t kPrivate = 0600;

std::string in(const CertificateFolder& folder, const std::string& name) { return folder.path + "/" + name; }

struct NewFile {
  const std::string& path;
  std::string_view text;
  mode_t mode;
};

Status write_whole(const NewFile& file) {
  const std::string temporary = file.path + ".new";
  ::unlink(temporary.c_str());
  const auto failed = [&] { return fail_errno(std::format("cannot write {}", file.path)); };
  const Fd out(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, file.mode));
  if (!out) return failed();
  std::string_view rest = file.text;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(out.get(), rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return failed();
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
  // The umask must neither open a key nor close a certificate.
  if (::fchmod(out.get(), file.mode) != 0 || ::fsync(out.get()) != 0 ||
      ::rename(temporary.c_str(), file.path.c_str()) != 0)
    return failed();
  return {};
}

Result<std::string> read_whole(const std::string& path) {
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return fail_errno(std::format("cannot read {}", path), errno != 0 ? errno : EIO);
  return std::string{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

Status check_name(std::string_view option, const std::string& name) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-'; };
  const bool good =
      !name.empty() && name.size() <= 63 && name[0] != '.' && name[0] != '-' && std::ranges::all_of(name, allowed);
  if (good) return {};
  return fail_field(option,
                    std::format("'{}' is not a name (expected the one in gateway.yaml: a-z, 0-9, '.' and '-', at "
                                "most 63 characters, beginning with a letter or digit)",
                                printable(name.substr(0, 64))));
}

/// Its files would be the authority's.
Status check_instance(const std::string& name) {
  GW_TRY(check_name("INSTANCE", name));
  if (name != "ca") return {};
  return fail_field("INSTANCE",
                    "'ca' is the authority's, whose files are ca.crt and ca.key (expected another name of the "
                    "instance, here and in gateway.yaml)");
}

/// The authorities that are trusted, ca.crt.
Result<std::string> read_authorities(const CertificateFolder& folder) {
  auto bundle = read_whole(in(folder, "ca.crt"));
  if (!bundle) bundle.error().message += "; gwctl ha init makes it, --dir names another folder";
  return bundle;
}

/// The authority that `ca.key` belongs to; the files of an interrupted replacement included.
Result<pki::KeyPair> load_authority(const CertificateFolder& folder) {
  GW_TRY_ASSIGN(const std::string bundle, read_authorities(folder));
  auto key = read_whole(in(folder, "ca.key"));
  if (!key)
    return fail(Errc::kNotFound,
                std::format("{}; certificates are made where the authority's key is kept", key.error().message));
  const pki::Validity probe{folder.now, std::chrono::days(1)};
  for (const std::string& certificate : pki::split_certificates(bundle)) {
    pki::KeyPair authority{certificate, Secret(std::string_view(*key))};
    if (!pki::issue(authority, {"probe", "probe"}, probe)) continue;
    wipe(*key);
    return authority;
  }
  wipe(*key);
  return fail(Errc::kInvalidArgument,
              std::format("{} belongs to no certificate in {}", in(folder, "ca.key"), in(folder, "ca.crt")));
}

Status issue_for(const CertificateFolder& folder, const pki::KeyPair& authority, const pki::InstanceName& name) {
  GW_TRY_ASSIGN(const pki::KeyPair pair, pki::issue(authority, name, {folder.now, pki::kInstanceDays}));
  GW_TRY(write_whole({in(folder, name.instance + ".key"), pair.key.text(), kPrivate}));
  return write_whole({in(folder, name.instance + ".crt"), pair.certificate, kPublic});
}

struct Issued {
  pki::InstanceName name;
  pki::CertificateInfo info;
  std::string pem;
};

/// The instances' certificates in the folder, by name.
Result<std::vector<Issued>> instances_in(const CertificateFolder& folder) {
  std::vector<Issued> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path, error)) {
    if (entry.path().extension() != ".crt" || entry.path().stem() == "ca") continue;
    GW_TRY_ASSIGN(std::string pem, read_whole(entry.path().string()));
    GW_TRY_ASSIGN(pki::CertificateInfo info, pki::read_certificate(pem).transform_error([&](Error fault) {
      return std::move(fault).with_context(entry.path().string());
    }));
    const std::string instance = entry.path().stem().string();
    const std::string uri = info.uris.size() == 1 ? info.uris.front() : "";
    const std::string end = "/" + instance;
    if (!uri.starts_with("gw://") || !uri.ends_with(end) || uri.size() <= 5 + end.size())
      return fail(Errc::kInvalidArgument,
                  std::format("{} is not the certificate of instance {}", entry.path().string(), instance));
    out.push_back({{uri.substr(5, uri.size() - 5 - end.size()), instance}, std::move(info), std::move(pem)});
  }
  if (error) return fail(Errc::kIo, std::format("cannot read {}: {}", folder.path, error.message()));
  if (out.empty())
    return fail(Errc::kNotFound, std::format("{} has no certificate of an instance: gwctl ha init", folder.path));
  std::ranges::sort(out, {}, [](const Issued& one) { return one.name.instance; });
  return out;
}

std::string day(WallTime time) { return std::format("{:%F}", std::chrono::floor<std::chrono::days>(time)); }

}  // namespace

Result<std::string> init_certificates(const CertificateFolder& folder, const NewPair& pair) {
  GW_TRY(check_name("--gateway", pair.gateway));
  std::set<std::string> names;
  for (const std::string& name : pair.instances) {
    GW_TRY(check_instance(name));
    if (!names.insert(name).second)
      return fail_field("INSTANCE",
                        std::format("{} is named twice (expected each instance of gateway.yaml once)", name));
  }
  for (const char* name : {"ca.crt", "ca.key"})
    if (std::filesystem::exists(in(folder, name)))
      return fail(Errc::kAlreadyExists,
                  std::format("{} is there already: gwctl ha renew makes new certificates with it", in(folder, name)));
  std::error_code error;
  std::filesystem::create_directories(folder.path, error);
  if (error) return fail(Errc::kIo, std::format("cannot create {}: {}", folder.path, error.message()));
  GW_TRY_ASSIGN(const pki::KeyPair authority, pki::make_authority(pair.gateway, {folder.now, pki::kAuthorityDays}));
  for (const std::string& name : pair.instances) GW_TRY(issue_for(folder, authority, {pair.gateway, name}));
  GW_TRY(write_whole({in(folder, "ca.key"), authority.key.text(), kPrivate}));
  GW_TRY(write_whole({in(folder, "ca.crt"), authority.certificate, kPublic}));  // last: without it, nothing counts
  std::string out = std::format("made the authority of {} and certificates of {} instances in {}\n", pair.gateway,
                                pair.instances.size(), folder.path);
  for (const std::string& name : pair.instances)
    out += std::format("{} needs ca.crt, {}.crt, {}.key in the same folder: scp -p {}/{{ca.crt,{}.crt,{}.key}} ...\n",
                       name, name, name, folder.path, name, name);
  out += "ca.key makes certificates for whoever has it: keep it on one machine, or offline\n";
  return out;
}

Result<std::string> renew_certificates(const CertificateFolder& folder) {
  GW_TRY_ASSIGN(const pki::KeyPair authority, load_authority(folder));
  GW_TRY_ASSIGN(const std::vector<Issued> issued, instances_in(folder));
  std::string out;
  for (const Issued& one : issued) {
    GW_TRY(issue_for(folder, authority, one.name));
    out += std::format("{}: new key and certificate, good until {}\n", one.name.instance,
                       day(folder.now + pki::kInstanceDays));
  }
  return out + "copy each instance's .crt and .key to it; gwd takes them within seconds, and no connection is missed\n";
}

Result<std::string> renew_authority(const CertificateFolder& folder) {
  GW_TRY_ASSIGN(const std::string before, read_authorities(folder));
  GW_TRY_ASSIGN(const std::vector<Issued> issued, instances_in(folder));
  if (pki::split_certificates(before).size() != 1)
    return fail(Errc::kAlreadyExists, std::format("{} has an old authority beside the new one already: gwctl ha renew "
                                                  "--drop-old-authority ends that",
                                                  in(folder, "ca.crt")));
  GW_TRY_ASSIGN(const pki::KeyPair authority,
                pki::make_authority(issued.front().name.gateway, {folder.now, pki::kAuthorityDays}));
  GW_TRY(write_whole({in(folder, "ca.crt"), authority.certificate + before, kPublic}));
  GW_TRY(write_whole({in(folder, "ca.key"), authority.key.text(), kPrivate}));
  return std::string(
      "made a new authority; the old one is trusted beside it. Now, in this order:\n"
      "1. copy ca.crt to the other instance\n"
      "2. gwctl ha renew, and copy each instance's .crt and .key to it\n"
      "3. gwctl ha renew --drop-old-authority, and copy ca.crt to the other instance\n");
}

Result<std::string> drop_old_authority(const CertificateFolder& folder) {
  GW_TRY_ASSIGN(const std::string bundle, read_authorities(folder));
  GW_TRY_ASSIGN(const std::vector<Issued> issued, instances_in(folder));
  const std::vector<std::string> authorities = pki::split_certificates(bundle);
  if (authorities.size() < 2)
    return fail(Errc::kNotFound,
                std::format("{} has one authority only; gwctl ha renew --authority makes a new one beside it",
                            in(folder, "ca.crt")));
  for (const Issued& one : issued)
    if (!pki::is_issued_by({one.pem, authorities.front()}))
      return fail(Errc::kInvalidArgument, std::format("the certificate of {} is by the old authority still: gwctl ha "
                                                      "renew, and copy it to {}, first",
                                                      one.name.instance, one.name.instance));
  GW_TRY(write_whole({in(folder, "ca.crt"), authorities.front(), kPublic}));
  return std::string("the old authority is trusted no more; copy ca.crt to the other instance\n");
}

Result<std::string> describe_certificates(const CertificateFolder& folder) {
  GW_TRY_ASSIGN(const std::string bundle, read_authorities(folder));
  GW_TRY_ASSIGN(const std::vector<Issued> issued, instances_in(folder));
  Table table({{"NAME"}, {"GOOD UNTIL"}, {"DAYS", Align::kRight}, {"AUTHORITY"}, {"SHA-256"}});
  const auto days_left = [&](const pki::CertificateInfo& info) {
    const auto left = std::chrono::floor<std::chrono::days>(info.until - folder.now).count();
    return std::format("{}", left);
  };
  const std::vector<std::string> authorities = pki::split_certificates(bundle);
  for (std::size_t i = 0; i < authorities.size(); ++i) {
    GW_TRY_ASSIGN(const pki::CertificateInfo info, pki::read_certificate(authorities[i]));
    table.row({i == 0 ? "ca" : "ca (old)", day(info.until), days_left(info), "itself", info.fingerprint.substr(0, 23)});
  }
  for (const Issued& one : issued) {
    const auto by = std::ranges::find_if(
        authorities, [&](const std::string& authority) { return pki::is_issued_by({one.pem, authority}); });
    const std::string authority = by == authorities.end() ? "unknown" : by == authorities.begin() ? "ca" : "ca (old)";
    table.row(
        {one.name.instance, day(one.info.until), days_left(one.info), authority, one.info.fingerprint.substr(0, 23)});
  }
  return table.render(Style::kPlain);
}

}  // namespace gw::cli
