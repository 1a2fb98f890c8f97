// The service manager's protocol from the other end: what arrives at NOTIFY_SOCKET. (Handing descriptors
// back needs a process of its own: tests/system/test_fastpath.py does it with keeper.py.)
#include "ebpf/tun/fd_store.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace gw::tun {
namespace {

struct Received {
  std::string text;
  Fd fd;
};

class Manager {
 public:
  Manager() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "gw-fd-store-test-" + std::to_string(::getpid());
    name.copy(address.sun_path + 1, name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ::setenv("NOTIFY_SOCKET", ("@" + name).c_str(), 1);
  }
  ~Manager() { ::unsetenv("NOTIFY_SOCKET"); }

  std::optional<Received> receive() {
    std::array<char, 512> text;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec data{text.data(), text.size()};
    msghdr m{};
    m.msg_iov = &data;
    m.msg_iovlen = 1;
    m.msg_control = control.data();
    m.msg_controllen = control.size();
    const ssize_t n = ::recvmsg(socket_.get(), &m, MSG_DONTWAIT);
    if (n < 0) return std::nullopt;
    Received r{std::string(text.data(), static_cast<std::size_t>(n)), Fd()};
    if (const cmsghdr* c = CMSG_FIRSTHDR(&m); c && c->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c), sizeof fd);
      r.fd = Fd(fd);
    }
    return r;
  }

 private:
  Fd socket_;
};

TEST(FdStore, KeepsADescriptorByName) {
  Manager manager;
  FdStore store = FdStore::from_environment();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  ASSERT_TRUE(store.keep("tun-7", write_end.get()));
  auto got = manager.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->text, "FDSTORE=1\nFDPOLL=0\nFDNAME=tun-7");
  ASSERT_TRUE(got->fd);
  EXPECT_EQ(::write(got->fd.get(), "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(read_end.get(), &c, 1), 1) << "another descriptor than the one given";
}

TEST(FdStore, ForgetsAndTellsReadiness) {
  Manager manager;
  FdStore store = FdStore::from_environment();
  ASSERT_TRUE(store.forget("tun-7"));
  EXPECT_EQ(manager.receive()->text, "FDSTOREREMOVE=1\nFDNAME=tun-7");
  ASSERT_TRUE(store.manager().notify("READY=1"));
  EXPECT_EQ(manager.receive()->text, "READY=1");
}

TEST(FdStore, WithoutAManagerNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  FdStore store = FdStore::from_environment();
  EXPECT_TRUE(store.keep("tun-7", 0));
  EXPECT_TRUE(store.manager().notify("READY=1"));
}

TEST(FdStore, AManagerThatIsGoneIsAnError) {
  ::setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
  FdStore store = FdStore::from_environment();
  EXPECT_FALSE(store.manager().notify("READY=1"));
  ::unsetenv("NOTIFY_SOCKET");
}

TEST(FdStore, DescriptorsOfAnotherProcessAreNotTaken) {
  ::setenv("LISTEN_PID", "1", 1);  // inherited by mistake: not ours
  ::setenv("LISTEN_FDS", "1", 1);
  FdStore store = FdStore::from_environment();
  EXPECT_TRUE(store.take_kept("").empty());
  EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr) << "our children must not take them either";
}

}  // namespace
}  // namespace gw::tun
