#include "ebpf/handover/request.hpp"

#include "ebpf/handover/channel.hpp"

namespace gw::handover {
namespace {

using namespace std::chrono_literals;

constexpr Patience kAsking = 5s;
constexpr Patience kReplacing = 150s;  // a full table, twice, on a busy machine

}  // namespace

Result<std::string> request_successor(const std::string& path, const std::vector<std::string>& options) {
  GW_TRY_ASSIGN(auto channel, Channel::connect(path));
  if (!channel) return fail(Errc::kNotFound, std::format("no gw-fastpath runs at {}", path));
  fp::HandoverFrame frame;
  for (const std::string& option : options) frame.mutable_start()->add_options(option);
  GW_TRY(channel->send(frame, kAsking));
  GW_TRY_ASSIGN(frame, channel->receive(kReplacing));
  if (!frame.has_done()) return fail(Errc::kMalformed, "the running gw-fastpath answers with something else");
  return std::format("gw-fastpath {}, process {}, has taken over; packets waited for {} us", frame.done().release(),
                     frame.done().pid(), frame.done().waited_us());
}

}  // namespace gw::handover
