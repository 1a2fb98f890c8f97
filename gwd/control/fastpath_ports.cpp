#include "gwd/control/fastpath_ports.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <format>
#include <fstream>
#include <sstream>

#include "base/fd.hpp"

namespace gw::gwd {

std::string render_fastpath_ports(const config::GatewayModel& model) {
  std::string options = std::format("--wan {} --vnet {}", model.wan_interface, model.vnet_interface);
  if (!model.circuit_interface.empty()) options += std::format(" --circuit {}", model.circuit_interface);
  if (model.ha) options += std::format(" --instance {}", model.ha->self);
  std::string out = std::format("GW_FASTPATH_PORTS=\"{}\"\n", options);
  if (model.ha) out += std::format("GW_SYNC_PORT=\"{}\"\n", model.ha->port);
  std::string routers;
  for (const IpAddress& router : config::wan_routers(model))
    routers += std::format("{}{}", routers.empty() ? "" : " ", router);
  if (!routers.empty()) out += std::format("GW_WAN_ROUTERS=\"{}\"\n", routers);
  return out;
}

Status write_fastpath_ports(const std::string& file, const config::GatewayModel& model) {
  const std::string text = render_fastpath_ports(model);
  std::ostringstream before;
  if (std::ifstream stream(file); stream) before << stream.rdbuf();
  if (before.view() == text) return {};
  const std::string temporary = file + ".new";
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!fd) return fail_errno(std::format("cannot write {}", temporary));
  if (::fchmod(fd.get(), 0644) != 0 ||
      ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::rename(temporary.c_str(), file.c_str()) != 0)
    return fail_errno(std::format("cannot write {}", file));
  return {};
}

}  // namespace gw::gwd
