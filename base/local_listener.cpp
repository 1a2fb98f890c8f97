#include "base/local_listener.hpp"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <format>

namespace gw {

Status listen_at(boost::asio::local::stream_protocol::acceptor& acceptor, const std::string& path,
                 const Listening& how) {
  using Protocol = boost::asio::local::stream_protocol;
  constexpr mode_t kAll = 0777;
  if (path.size() >= sizeof(sockaddr_un::sun_path))
    return fail_field("socket", std::format("path is too long: {}", path));
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  boost::system::error_code error;
  acceptor.open(Protocol(), error);
  const mode_t before = ::umask(kAll & ~how.mode);
  if (!error) acceptor.bind(Protocol::endpoint(path), error);
  ::umask(before);
  if (!error) acceptor.listen(how.backlog, error);
  if (error) return fail_errno(std::format("listening at {}", path), error.value());
  return {};
}

Result<ucred> peer_of(int socket) {
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return fail_errno("asking who is connected");
  return who;
}

bool is_privileged(const ucred& who) { return who.uid == 0 || who.uid == ::geteuid(); }

}  // namespace gw
