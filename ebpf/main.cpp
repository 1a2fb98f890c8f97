// gw-fastpath: options in, one-line errors out.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "ebpf/abi/fib.h"
#include "ebpf/fastpath.hpp"
#include "ebpf/fib/v4_table.hpp"
#include "ebpf/handover/giver.hpp"
#include "ebpf/handover/request.hpp"

namespace {

int request_upgrade(const gw::FastpathOptions& options, std::vector<std::string> words) {
  std::erase(words, "--upgrade");
  words.emplace_back("--replace");
  const auto done = gw::handover::request_successor(gw::handover::socket_beside(options.socket), words);
  if (done)
    std::printf("%s\n", done->c_str());
  else
    std::fprintf(stderr, "gw-fastpath: %s\n", done.error().describe().c_str());
  return done ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"gw-fastpath: ESP by XDP and AF_XDP between a wan and a vnet interface"};
  gw::FastpathOptions options;
  std::string crypto = "auto";
  std::string workers = "auto";
  gw::log::Level level = gw::log::Level::kInfo;
  const std::map<std::string, gw::log::Level> levels = {{"debug", gw::log::Level::kDebug},
                                                        {"info", gw::log::Level::kInfo},
                                                        {"warning", gw::log::Level::kWarning},
                                                        {"error", gw::log::Level::kError}};
  app.set_version_flag("--version", GW_VERSION);
  app.add_option("--wan", options.wan, "interface towards the peers (encrypted)")->required();
  app.add_option("--vnet", options.vnet, "interface towards the VNet (clear)")->required();
  app.add_option("--circuit", options.circuit, "interface towards the private circuit (clear); none: no circuit");
  using Kind = std::optional<gw::PortKind>;
  const std::map<std::string, Kind> kinds = {{"auto", {}}, {"xsk", gw::PortKind::kXsk}, {"gso", gw::PortKind::kGso}};
  const auto add_kind = [&](const char* name, Kind& kind, const char* help) {
    app.add_option_function<std::string>(
           name, [&](const std::string& word) { kind = kinds.at(word); }, help)
        ->check(CLI::IsMember({"auto", "xsk", "gso"}))
        ->default_str("auto");
  };
  add_kind("--wan-port", options.wan_port, "xsk (XDP and AF_XDP) or gso (UDP sockets with offload)");
  add_kind("--vnet-port", options.vnet_port, "xsk (XDP and AF_XDP) or gso (TUN device with offload)");
  add_kind("--circuit-port", options.circuit_port, "xsk (XDP) or gso (tcx, with offload)");
  app.add_option("--socket", options.socket, "RPC socket")->capture_default_str();
  app.add_option("--ike-socket", options.ike_socket, "socket for charon's IKE datagrams (ike.sock beside --socket)");
  app.add_option(
         "--bfd-port", options.bfd_port,
         "TCP port on 127.0.0.1 for bfdd, started with --dplaneaddr ipv4c:127.0.0.1:PORT; 0: bfdd runs BFD itself")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  app.add_option("--state-dir", options.state_dir, "sequence numbers and nonces; must be on tmpfs")
      ->capture_default_str();
  app.add_flag_callback(
      "--state-on-disk-for-tests", [&] { options.state_place = gw::StatePlace::kAnywhere; },
      "accept a --state-dir that is not on tmpfs: it can repeat nonces after a power loss or a rolled back volume");
  app.add_option("--instance", options.instance, "number of this instance")
      ->check(CLI::Range(0, 15))
      ->capture_default_str();
  app.add_option("--crypto", crypto, "auto, ipsec-mb or openssl")
      ->check(CLI::IsMember({"auto", "ipsec-mb", "openssl"}))
      ->capture_default_str();
  app.add_flag("--allow-legacy-crypto", options.transforms.legacy, "accept SAs with 3DES, for devices without AES");
  app.add_flag("--null-encryption-for-tests", options.transforms.test, "accept SAs that do not encrypt at all");
  app.add_option("--max-tunnels", options.max_tunnels, "size of the tunnel table")
      ->check(CLI::Range(1, 65000))
      ->capture_default_str();
  app.add_option("--max-sas", options.max_sas, "size of the SA table, both directions")
      ->check(CLI::Range(2, 1000000))
      ->capture_default_str();
  app.add_option("--workers", workers, "packet threads: a number, or auto (as CPUs and receive queues allow)")
      ->check(CLI::IsMember({"auto"}) | CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--fib-v4-groups", options.fib.v4_groups, "/24 networks with longer IPv4 prefixes in them, 512 B each")
      ->check(CLI::Range(1u, GW_FIB_V4_MAX_GROUPS - gw::fib::kOwnV4Groups))
      ->capture_default_str();
  app.add_option("--fib-v6-lines", options.fib.v6_lines, "memory for IPv6 prefixes longer than /16, 64 B each")
      ->check(CLI::Range(1024u, GW_FIB_V6_LINE_MASK))
      ->capture_default_str();
  app.add_option("--fib-next-hops", options.fib.next_hops, "distinct next hops of all routes, 544 B each")
      ->check(CLI::Range(16u, GW_FIB_MAX_NEXT_HOPS))
      ->capture_default_str();
  app.add_flag_callback(
      "--replace", [&] { options.start = gw::Start::kReplace; },
      "take the place of the gw-fastpath that runs with the same options: sockets, SAs, routes and counters go over, "
      "packets wait for a few milliseconds; if none runs, just start");
  bool upgrade = false;
  app.add_flag("--upgrade", upgrade,
               "have the gw-fastpath that runs at --socket start the program of its path, as it is now, with these "
               "options in its place; wait until it has (systemctl reload gw-fastpath)");
  app.add_option("--log-level", level, "debug, info, warning or error")
      ->transform(CLI::CheckedTransformer(levels, CLI::ignore_case));
  CLI11_PARSE(app, argc, argv);

  if (upgrade) return request_upgrade(options, {argv + 1, argv + argc});
  gw::log::init("gw-fastpath", level);
  if (workers != "auto") options.workers = std::stoul(workers);
  auto choice = gw::esp::parse_backend(crypto);
  if (choice) options.crypto = *choice;
  auto done = choice ? gw::run_fastpath(options) : std::unexpected(std::move(choice).error());
  if (done) return 0;
  if (done.error().code == gw::Errc::kPermission)
    std::fprintf(stderr, "gw-fastpath: %s (needs root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF)\n",
                 done.error().describe().c_str());
  else
    std::fprintf(stderr, "gw-fastpath: %s\n", done.error().describe().c_str());
  return 1;
}
