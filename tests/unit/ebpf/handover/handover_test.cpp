// Who has the baton, who may take over, and what comes over the channel from whoever it is.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "base/local_listener.hpp"
#include "ebpf/handover/baton.hpp"
#include "ebpf/handover/channel.hpp"
#include "ebpf/handover/giver.hpp"
#include "ebpf/handover/process.hpp"
#include "ebpf/handover/readiness.hpp"
#include "tests/support/await.hpp"

namespace gw::handover {
namespace {

using namespace std::chrono_literals;

TEST(Baton, OneOfThemHasItWhateverTheyDo) {
  // Every order of three attempts: after each, who may send follows from the word alone.
  enum class Act { kOffer, kWithdraw, kTake };
  for (int order = 0; order < 27; ++order) {
    auto old = Baton::make();
    ASSERT_TRUE(old);
    auto fresh = Baton::share(Fd(::dup(old->fd())));
    ASSERT_TRUE(fresh);
    bool taken = false;
    for (int step = 0, left = order; step < 3; ++step, left /= 3) {
      const Holder before = old->holder();
      bool done = false;
      switch (static_cast<Act>(left % 3)) {
        case Act::kOffer:
          done = old->offer();
          EXPECT_EQ(done, before == Holder::kOld);
          break;
        case Act::kWithdraw:
          done = old->withdraw();
          EXPECT_EQ(done, before == Holder::kOffered);
          break;
        case Act::kTake:
          done = fresh->take();
          EXPECT_EQ(done, before == Holder::kOffered);
          taken |= done;
          break;
      }
      EXPECT_EQ(fresh->holder(), old->holder());
      EXPECT_EQ(taken, old->holder() == Holder::kTaken) << "it is never given back";
    }
  }
}

TEST(Baton, IsOfOneSize) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const Fd other(ends[1]);
  EXPECT_FALSE(Baton::share(Fd(ends[0])));
}

fp::HandoverAsk ask() {
  fp::HandoverAsk a;
  a.set_version(1);
  a.set_release("1.2.3");
  a.set_wan("wan");
  a.set_vnet("vnet");
  a.set_max_sas(10);
  a.set_max_tunnels(5);
  a.set_record_version(2);
  return a;
}

TEST(Check, DifferencesAreNamed) {
  EXPECT_TRUE(check(ask(), ask()));
  const auto refused = [](auto change, std::string_view name) {
    fp::HandoverAsk other = ask();
    change(other);
    const auto done = check(other, ask());
    ASSERT_FALSE(done) << name;
    EXPECT_NE(done.error().message.find(name), std::string::npos) << done.error().message;
  };
  refused([](auto& a) { a.set_version(2); }, "the version of the handover is 1 here and 2 there");
  refused([](auto& a) { a.set_record_version(3); }, "SA records");
  refused([](auto& a) { a.set_wan("eth0"); }, "--wan is wan here and eth0 there");
  refused([](auto& a) { a.set_vnet("eth1"); }, "--vnet");
  refused([](auto& a) { a.set_circuit("er0"); }, "--circuit");
  refused([](auto& a) { a.set_instance(3); }, "--instance");
  refused([](auto& a) { a.set_max_sas(11); }, "--max-sas");
  refused([](auto& a) { a.set_max_tunnels(6); }, "--max-tunnels");
  refused([](auto& a) { a.set_bfd_port(50700); }, "--bfd-port");
  fp::HandoverAsk newer = ask();
  newer.set_release("2.0.0");
  EXPECT_TRUE(check(newer, ask())) << "a release alone is no difference";
}

struct Pair {
  Pair() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
    a = std::make_unique<Channel>(Fd(fds[0]));
    b = std::make_unique<Channel>(Fd(fds[1]));
  }
  std::unique_ptr<Channel> a, b;
};

TEST(Channel, DescriptorsComeWithTheFrameThatNamesThem) {
  Pair p;
  for (int round = 0; round < 3; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd read(ends[0]);
    Fd write(ends[1]);
    fp::HandoverFrame frame;
    frame.mutable_descriptors()->add_names("pipe");
    ASSERT_TRUE(p.a->send(frame, 100ms, std::array{write.get()}));
    write.reset();
    const auto got = p.b->receive(100ms);
    ASSERT_TRUE(got && got->has_descriptors());
    const auto fd = p.b->next_fd();
    ASSERT_TRUE(fd);
    ASSERT_EQ(::write(fd->get(), "x", 1), 1);
    char c = 0;
    EXPECT_EQ(::read(read.get(), &c, 1), 1);
  }
  EXPECT_FALSE(p.b->next_fd()) << "named and not sent";
}

TEST(Channel, ARefusalIsInTheOthersWords) {
  Pair p;
  fp::HandoverFrame frame;
  frame.mutable_refusal()->set_why("not today");
  ASSERT_TRUE(p.a->send(frame, 100ms));
  const auto got = p.b->receive(100ms);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Errc::kRefused);
  EXPECT_EQ(got.error().message, "not today");
}

TEST(Channel, SilenceEndAndNonsenseAreErrors) {
  {
    Pair p;
    EXPECT_EQ(p.b->receive(10ms).error().code, Errc::kTimeout);
    p.a.reset();
    EXPECT_EQ(p.b->receive(10ms).error().code, Errc::kClosed);
    EXPECT_EQ(p.b->send(fp::HANDOVER_READY, 10ms).error().code, Errc::kClosed);
  }
  for (const std::string_view bytes :
       {std::string_view("\x7f\xff\xff\xff", 4), std::string_view("\0\0\0\2\x0a\x7f", 6)}) {
    Pair p;
    ASSERT_EQ(::write(p.a->fd(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    EXPECT_FALSE(p.b->receive(10ms));
  }
}

TEST(Readiness, IsWaitedForNoLongerThanSaid) {
  boost::asio::io_context io;
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  const Fd ours(fds[0]);
  Fd theirs(fds[1]);
  const auto waited = [&](Until until, Patience patience) {
    return test::await(io, wait(io, ours.get(), until, patience));
  };
  EXPECT_EQ(waited(Until::kReadable, 20ms).error().code, Errc::kTimeout);
  EXPECT_TRUE(waited(Until::kWritable, 10s));
  const std::string much(std::size_t{64} << 10, 'x');
  while (::write(ours.get(), much.data(), much.size()) > 0) continue;
  EXPECT_EQ(waited(Until::kWritable, 20ms).error().code, Errc::kTimeout) << "the other one does not read";
  std::string sink(std::size_t{16} << 20, '\0');
  while (::read(theirs.get(), sink.data(), sink.size()) > 0) continue;
  EXPECT_TRUE(waited(Until::kWritable, 10s));
  theirs.reset();
  EXPECT_TRUE(waited(Until::kReadable, 10s)) << "its end is something to read";
  char c = 0;
  EXPECT_EQ(::read(ours.get(), &c, 1), 0) << "the descriptor is still ours";
}

TEST(Channel, ConnectsToASocketOfOurOwnUser) {
  const std::string path = std::format("{}/handover-{}.sock", testing::TempDir(), ::getpid());
  auto nobody = Channel::connect(path);
  ASSERT_TRUE(nobody);
  EXPECT_EQ(*nobody, nullptr) << "nobody listens there";
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const auto connected = Channel::connect(path);
  ASSERT_TRUE(connected);
  ASSERT_NE(*connected, nullptr);
  const auto who = peer_of((*connected)->fd());
  ASSERT_TRUE(who);
  EXPECT_EQ(who->uid, ::geteuid());
  ::unlink(path.c_str());
  EXPECT_FALSE(Channel::connect(std::string(200, 'x'))) << "too long for an address";
}

std::string end_of(const std::string& program, std::vector<std::string> options) {
  auto process = Process::start(program, std::move(options));
  if (!process) return process.error().message;
  pollfd ended{.fd = process->fd(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, 10'000) != 1) return "did not end";
  return process->reap();
}

TEST(Process, SaysHowItEnded) {
  EXPECT_EQ(end_of("/bin/sh", {"-c", "exit 3"}), "ended with status 3");
  EXPECT_EQ(end_of("/bin/sh", {"-c", "kill -KILL $$"}), "ended by signal 9");
  EXPECT_NE(end_of("/nonexistent", {}).find("No such file"), std::string::npos);
}

TEST(Process, HasOurEnvironmentAndNoneOfOurDescriptors) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);  // not close-on-exec
  const Fd read(ends[0]);
  const Fd write(ends[1]);
  ::setenv("GW_TEST_OF_US", "yes", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  const std::string look =
      std::format("test ! -e /proc/self/fd/{} && test $GW_TEST_OF_US = yes && test -z \"$WATCHDOG_PID\"", write.get());
  EXPECT_EQ(end_of("/bin/sh", {"-c", look}), "ended with status 0");
  ::unsetenv("WATCHDOG_PID");
}

}  // namespace
}  // namespace gw::handover
