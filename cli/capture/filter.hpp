// The filter language of tcpdump (pcap-filter(7)), by libpcap: compiled for packets that begin at an IP header.
// One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.hpp"

struct bpf_program;

namespace gw::cli::capture {

class Filter {
 public:
  /// kInvalidArgument, field "filter", in libpcap's words. Empty: everything matches.
  static Result<Filter> compile(const std::string& expression);
  /// Of a packet of `length`, the bytes that there are.
  bool matches(std::span<const std::uint8_t> bytes, std::uint32_t length) const;

 private:
  struct Free {
    void operator()(bpf_program* program) const;
  };
  std::unique_ptr<bpf_program, Free> program_;  // null: everything
};

}  // namespace gw::cli::capture
