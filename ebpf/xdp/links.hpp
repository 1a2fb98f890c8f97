// A program in the place of another one at the same hook, without a packet that meets neither. Control thread.
#pragma once

#include <bpf/bpf.h>

#include "base/result.hpp"

namespace gw::xdp {

struct InheritedLink {
  int fd;
};
inline Status replace_program(const InheritedLink& link, int program_fd) {
  LIBBPF_OPTS(bpf_link_update_opts, options);
  if (bpf_link_update(link.fd, program_fd, &options) != 0) return fail_errno("replacing an attached BPF program");
  return {};
}

}  // namespace gw::xdp
