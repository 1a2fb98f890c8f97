#include <CLI/Validators.hpp>
#include <filesystem>
#include <format>

#include "cli/capture/run.hpp"
#include "cli/program.hpp"

namespace gw::cli {

void Program::add_capture() {
  CLI::App& sub =
      command(app_, "capture", "Packets of the fast path as they are inside, outside and when dropped; for root",
              "  gwctl capture host 10.1.0.10 and tcp port 443\n"
              "  gwctl capture --point drops --tunnel paris-ce1/gw-a\n"
              "  gwctl capture --seconds 30 -w paris.pcapng --tunnel paris-ce1/gw-a\n"
              "  gwctl capture -w - | wireshark -k -i -");
  capture::Words& w = capture_words_;
  sub.add_option("--point", w.points, "inner (clear), outer (ESP), drops (with the reason) or all [all]")
      ->type_name("POINT")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"inner", "outer", "drops", "all"}));
  sub.add_option("--tunnel", w.tunnel, "only this one's")->type_name("NAME");
  sub.add_option("--worker", w.worker, "only this packet thread's")->type_name("N");
  sub.add_option("--count", w.count,
                 std::format("ends after so many that the filter passes [{}]", capture::kDefaultCount))
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  sub.add_option("--seconds", w.seconds, std::format("ends after that time [{}]", capture::kDefaultSeconds))
      ->type_name("S")
      ->check(CLI::Range(1, 86400));
  sub.add_option("--snap", w.snap, "the first bytes of each packet [all]")
      ->type_name("BYTES")
      ->check(CLI::Range(32, 65535));
  sub.add_option("-w,--write", w.file, "a pcapng file, mode 0600; -: standard output")->type_name("FILE");
  sub.add_option("--esp-keys", w.esp_keys,
                 "a new file, mode 0600, with the keys of the SAs as Wireshark's table esp_sa; secret")
      ->type_name("FILE");
  sub.add_option("FILTER", w.filter, "in the language of tcpdump (pcap-filter(7)); of packets from their IP header on");
  does(sub, [this] {
    const std::filesystem::path beside = std::filesystem::path(socket_).parent_path();
    return capture::run(capture_words_, {.err = surroundings_.err,
                                         .style = surroundings_.style,
                                         .json = json_,
                                         .version = surroundings_.version,
                                         .socket = (beside / capture::kSocketName).string()});
  });
}

}  // namespace gw::cli
