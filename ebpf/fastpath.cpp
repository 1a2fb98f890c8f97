#include "ebpf/fastpath.hpp"

#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.hpp"
#include "ebpf/process.hpp"
#include "ebpf/xdp/maps.hpp"

namespace gw {
namespace {

/// Keys and clear packets stay out of core files and of other processes of this user. What systemd-coredump
/// gets by a pipe ignores the limit, hence both.
Status refuse_dumps() {
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0) return fail_errno("switching core files off");
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return fail_errno("making the process undumpable");
  return {};
}
Status replace(const FastpathOptions& options, handover::Taker& from) {
  GW_TRY_ASSIGN(auto fastpath, Fastpath::make(options, &from));
  return fastpath->serve(options, &from);
}

}  // namespace

Status run_fastpath(const FastpathOptions& options) {
  GW_TRY(refuse_dumps());
  xdp::quiet_libbpf();
  if (options.start == Start::kReplace) {
    GW_TRY_ASSIGN(auto from, handover::Taker::ask(handover::socket_beside(options.socket), question(options)));
    if (from) {
      auto done = replace(options, *from);
      if (done || done.error().code != Errc::kClosed) return done;
      log::warning("handover", "{}; starting anew", done.error().describe());
    } else {
      log::info("handover", "no gw-fastpath runs at {}: starting anew", options.socket);
    }
  }
  GW_TRY_ASSIGN(auto fastpath, Fastpath::make(options, nullptr));
  return fastpath->serve(options, nullptr);
}

}  // namespace gw
