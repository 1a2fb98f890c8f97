#include "cli/capture/filter.hpp"

#include <pcap/pcap.h>

namespace gw::cli::capture {

void Filter::Free::operator()(bpf_program* program) const {
  ::pcap_freecode(program);
  delete program;
}

Result<Filter> Filter::compile(const std::string& expression) {
  Filter filter;
  if (expression.find_first_not_of(" \t") == std::string::npos) return filter;
  constexpr int kSnap = 262144;  // tcpdump's
  const std::unique_ptr<pcap_t, decltype(&::pcap_close)> pcap(::pcap_open_dead(DLT_RAW, kSnap), &::pcap_close);
  if (!pcap) return fail(Errc::kInternal, "libpcap has no memory");
  auto program = std::make_unique<bpf_program>();
  if (::pcap_compile(pcap.get(), program.get(), expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0)
    return fail_field("filter", std::format("'{}': {}", expression, ::pcap_geterr(pcap.get())));
  filter.program_.reset(program.release());
  return filter;
}

bool Filter::matches(std::span<const std::uint8_t> bytes, std::uint32_t length) const {
  if (!program_) return true;
  pcap_pkthdr header{};
  header.caplen = static_cast<bpf_u_int32>(bytes.size());
  header.len = length;
  return ::pcap_offline_filter(program_.get(), &header, bytes.data()) != 0;
}

}  // namespace gw::cli::capture
