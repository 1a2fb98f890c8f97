#include "base/loopback_peer.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <format>
#include <fstream>
#include <sstream>
#include <string>

namespace gw {

// "  1: 0100007F:A1B2 0100007F:2B0B 01 00000000:00000000 00:00000000 00000000   101        0 12345 ..." (proc(5))
std::optional<std::uint32_t> owner_of_connection(std::string_view proc_net_tcp, std::uint16_t local_port,
                                                 std::uint16_t remote_port) {
  const std::string wanted = std::format("0100007F:{:04X} 0100007F:{:04X} ", local_port, remote_port);
  const std::size_t at = proc_net_tcp.find(wanted);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = proc_net_tcp.substr(at + wanted.size());
  rest = rest.substr(0, rest.find('\n'));
  for (int field = 0; field < 4; ++field) {  // state, queues, timer, retransmissions
    const std::size_t word = rest.find_first_not_of(' ');
    const std::size_t end = word == std::string_view::npos ? word : rest.find(' ', word);
    if (end == std::string_view::npos) return std::nullopt;
    rest.remove_prefix(end);
  }
  rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
  std::uint32_t user = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), user);
  if (error != std::errc{} || end == rest.data()) return std::nullopt;
  return user;
}

std::optional<std::uint32_t> owner_of_connection(std::uint16_t local_port, std::uint16_t remote_port) {
  std::ifstream file("/proc/thread-self/net/tcp");
  std::ostringstream text;
  text << file.rdbuf();
  return owner_of_connection(text.view(), local_port, remote_port);
}

std::vector<std::uint32_t> frr_users() {
  std::vector<std::uint32_t> users = {0, ::geteuid()};
  if (const passwd* frr = ::getpwnam("frr")) users.push_back(frr->pw_uid);
  return users;
}

}  // namespace gw
