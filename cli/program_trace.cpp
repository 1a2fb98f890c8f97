// gwctl trace: one packet's way through the gateway, computed.
#include <algorithm>
#include <array>
#include <charconv>
#include <format>
#include <optional>
#include <tuple>

#include "base/ip.hpp"
#include "cli/program.hpp"

namespace gw::cli {
namespace {

struct Protocol {
  std::string_view name;
  std::uint32_t number;
};
constexpr auto kProtocols = std::to_array<Protocol>({{"tcp", 6}, {"udp", 17}, {"icmp", 1}, {"esp", 50}});
constexpr std::uint32_t kIcmpV6 = 58;

std::optional<std::uint32_t> protocol_of(std::string_view word, Family family) {
  const auto named = std::ranges::find(kProtocols, word, &Protocol::name);
  if (named != kProtocols.end()) return word == "icmp" && family == Family::kV6 ? kIcmpV6 : named->number;
  std::uint32_t number = 0;
  const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || rest != word.data() + word.size() || number > 255) return std::nullopt;
  return number;
}

}  // namespace

void Program::add_trace() {
  CLI::App& trace =
      command(app_, "trace", "What would become of a packet now: every check, and the verdict; nothing is sent",
              "  gwctl trace --from vnet 10.1.0.10 10.20.0.5\n"
              "  gwctl trace --from vnet 10.1.0.10 10.20.0.5 --proto tcp --dport 443 --size 1500\n"
              "  gwctl trace --from tunnel:paris-ce1 10.20.0.5 10.1.0.10 --proto icmp\n"
              "  gwctl trace --from wan 198.51.100.7 192.0.2.1 --proto esp");
  trace.add_option("--from", trace_.from, "where it comes from")->type_name("vnet|circuit|wan|tunnel:NAME")->required();
  trace.add_option("SRC", trace_.source, "its source address")->required();
  trace.add_option("DST", trace_.destination, "its destination")->required();
  trace.add_option("--proto", trace_.protocol, "tcp, udp, icmp, esp or a number [udp]")->type_name("PROTO");
  trace.add_option("--sport", trace_.source_port, "source port: a flow keeps to one of several tunnels")
      ->type_name("N")
      ->check(CLI::Range(0, 65535));
  trace.add_option("--dport", trace_.destination_port, "destination port")->type_name("N")->check(CLI::Range(0, 65535));
  trace.add_option("--size", trace_.size, "bytes of the IP packet [100]")
      ->type_name("BYTES")
      ->check(CLI::Range(20, 3500));
  trace.add_flag("--fragmentable", trace_.may_be_cut, "IPv4 without DF");
  trace.add_flag("--check", check_, "exit with 4 if it would be dropped");
  does(trace, [this] { return trace_packet(); });
}

/// False: told to the user.
bool Program::read_trace(api::TraceRequest& request) const {
  std::array<std::optional<IpAddress>, 2> ends;
  for (const auto& [i, name, text] : {std::tuple(0, "SRC", trace_.source), std::tuple(1, "DST", trace_.destination)}) {
    const auto address = IpAddress::parse(text);
    if (!address) return usage(std::format("{}: {} (expected e.g. 10.1.0.10)", name, address.error().message)), false;
    ends[static_cast<std::size_t>(i)] = *address;
  }
  if (ends[0]->family() != ends[1]->family())
    return usage(std::format("DST: {} and {} are of different families; both IPv4 or both IPv6", trace_.source,
                             trace_.destination)),
           false;
  const auto protocol = protocol_of(trace_.protocol, ends[0]->family());
  if (!protocol)
    return usage(std::format("--proto: '{}' is not tcp, udp, icmp, esp or a number up to 255", trace_.protocol)), false;
  const bool tunnel = trace_.from.starts_with("tunnel:") && trace_.from.size() > 7;
  if (!tunnel && trace_.from != "vnet" && trace_.from != "circuit" && trace_.from != "wan")
    return usage(std::format("--from: '{}' is not vnet, circuit, wan or tunnel:NAME", trace_.from)), false;
  request.set_from(trace_.from);
  request.set_source(trace_.source);
  request.set_destination(trace_.destination);
  request.set_protocol(*protocol);
  request.set_source_port(trace_.source_port);
  request.set_destination_port(trace_.destination_port);
  request.set_size(trace_.size);
  request.set_may_be_cut(trace_.may_be_cut);
  return true;
}

int Program::trace_packet() {
  api::TraceRequest request;
  if (!read_trace(request)) return kUsage;
  api::TraceReply reply;
  if (const Exit asked = session_->ask(post("/v1/trace", request), reply); asked != kOk) return asked;
  print(reply);
  return check_ && reply.verdict() == "dropped" ? kNotUp : kOk;
}

}  // namespace gw::cli
