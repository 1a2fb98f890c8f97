#include "ebpf/net/ip_statistics.hpp"

#include <fstream>
#include <sstream>
#include <string>

namespace gw::net {
namespace {

/// Two lines that begin with "Ip:": names, then values in the same order.
std::uint64_t ipv4_counter(const std::string& name) {
  std::ifstream file("/proc/net/snmp");
  std::string names;
  std::string values;
  while (std::getline(file, names) && !names.starts_with("Ip:")) {
  }
  std::getline(file, values);
  std::istringstream name_words(names);
  std::istringstream value_words(values);
  std::string key;
  std::string value;
  while (name_words >> key && value_words >> value)
    if (key == name) return std::stoull(value);
  return 0;
}

/// A line each: name, value.
std::uint64_t ipv6_counter(const std::string& name) {
  std::ifstream file("/proc/net/snmp6");
  std::string key;
  std::uint64_t value = 0;
  while (file >> key >> value)
    if (key == name) return value;
  return 0;
}

}  // namespace

std::uint64_t reassembly_failures() { return ipv4_counter("ReasmFails") + ipv6_counter("Ip6ReasmFails"); }

}  // namespace gw::net
