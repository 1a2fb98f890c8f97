// A folder with secret files and a small valid document, for the configuration tests.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gwd/config/validate.hpp"

namespace gw::config {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "gw-config-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path() const { return path_.string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    const std::string full = file(name);
    std::ofstream(full, std::ios::binary) << text;
    ::chmod(full.c_str(), mode);
    return full;
  }

 private:
  std::filesystem::path path_;
};

// Line numbers matter: the golden messages have them.
inline const std::string kDocument = R"(version: 1
gateway:
  name: hub-east
  asn: 65515
  instances:
    - name: gw-a
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.10 } ] }
      vnet: { interface: eth1 }
    - name: gw-b
      wan: { interface: eth0, endpoints: [ { address: 203.0.113.11 } ] }
      vnet: { interface: eth1 }
vnet:
  prefixes: [ 10.0.0.0/16 ]
sites:
  - name: paris
    asn: 65021
    devices:
      - { name: ce1, address: 198.51.100.1 }
      - { name: ce2, address: 198.51.100.2 }
connections:
  - name: paris-ce1
    device: paris/ce1
    secret: { psk_file: a.psk }
    ipsec: { encryption: GCMAES256 }
)";

// `text` with the one place that says `from` saying `to`.
inline std::string with(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos)
    ADD_FAILURE() << "the document has no '" << from << "'";
  else
    text.replace(at, from.size(), to);
  return text;
}

inline std::vector<std::string> findings_of(const std::string& text, const std::string& base_dir) {
  std::vector<std::string> out;
  for (const Finding& finding : validate(load_document(text, "g.yaml"), {.base_dir = base_dir}))
    out.push_back(finding.describe());
  return out;
}

}  // namespace gw::config
