#include "gwd/control/guard_keeper.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {
namespace asio = boost::asio;

namespace {

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
constexpr std::string_view kTable = "gw_guard";
constexpr std::size_t kMessageHead = NLMSG_ALIGN(sizeof(nlmsghdr));
constexpr std::size_t kFamilyHead = NLMSG_ALIGN(sizeof(nfgenmsg));
constexpr std::size_t kAttributeHead = sizeof(nlattr);
// The same in each of these messages.
constexpr int kTableAttribute = NFTA_TABLE_NAME;
static_assert(kTableAttribute == int{NFTA_CHAIN_TABLE} && kTableAttribute == int{NFTA_RULE_TABLE} &&
              kTableAttribute == int{NFTA_SET_TABLE});

/// Messages and attributes begin at multiples of four bytes.
constexpr std::size_t aligned(std::size_t length) { return (length + 3) & ~std::size_t{3}; }

bool is_loss(std::uint16_t type) {
  if (type >> 8 != NFNL_SUBSYS_NFTABLES) return false;
  switch (type & 0xff) {
    case NFT_MSG_DELTABLE:
    case NFT_MSG_DELCHAIN:
    case NFT_MSG_DELRULE:
    case NFT_MSG_DELSET: return true;
    default: return false;
  }
}

/// Of the attributes behind a nfgenmsg; empty: it names none.
std::string_view table_of(std::span<const std::uint8_t> attributes) {
  while (attributes.size() >= kAttributeHead) {
    nlattr head;
    std::memcpy(&head, attributes.data(), sizeof head);
    const std::size_t length = head.nla_len;
    if (length < kAttributeHead || length > attributes.size()) return {};
    if ((head.nla_type & NLA_TYPE_MASK) == kTableAttribute) {
      const auto* text = reinterpret_cast<const char*>(attributes.data()) + kAttributeHead;
      return {text, ::strnlen(text, length - kAttributeHead)};
    }
    attributes = attributes.subspan(std::min(aligned(length), attributes.size()));
  }
  return {};
}

Fd open_events() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  constexpr int kGroup = NFNLGRP_NFTABLES;
  if (fd && (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
             ::setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &kGroup, sizeof kGroup) != 0))
    fd.reset();
  return fd;
}

}  // namespace

bool takes_from_guard(std::span<const std::uint8_t> notification) {
  while (notification.size() >= kMessageHead + kFamilyHead) {
    nlmsghdr head;
    std::memcpy(&head, notification.data(), sizeof head);
    const std::size_t length = head.nlmsg_len;
    if (length < kMessageHead + kFamilyHead || length > notification.size()) return false;
    const auto body = notification.first(length).subspan(kMessageHead);
    if (is_loss(head.nlmsg_type) && body[0] == NFPROTO_INET && table_of(body.subspan(kFamilyHead)) == kTable)
      return true;
    notification = notification.subspan(std::min(aligned(length), notification.size()));
  }
  return false;
}

GuardKeeper::GuardKeeper(asio::io_context& io) : io_(io), pause_(io) {}

void GuardKeeper::keep(const GuardPorts& ports) {
  if (!wanted_) watch();
  if (wanted_ == ports && installed_) return;
  wanted_ = ports;
  install();
}

void GuardKeeper::stop() {
  wanted_.reset();
  pause_.cancel();
  boost::system::error_code ignored;
  if (events_) events_->close(ignored);
}

void GuardKeeper::watch() {
  Fd fd = open_events();
  if (!fd)
    return log::warning("kernel", "cannot hear of changes of nftables ({}): a guard that is flushed stays away",
                        std::strerror(errno));
  events_.emplace(io_, fd.release());
  asio::co_spawn(io_, listen(), kEndOnException);
}

void GuardKeeper::install() {
  const auto done = install_forward_guard(*wanted_);
  if (events_) (void)read_losses();  // the one that was replaced
  if (done)
    log::info("kernel", "the nftables table gw_guard is in place");
  else
    log::error("kernel", "{}", done.error().describe());
  installed_ = done.has_value();
  if (!installed_) install_again();
}

void GuardKeeper::install_again() {
  if (std::exchange(pausing_, true)) return;
  pause_.expires_after(kPause);
  pause_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    pausing_ = false;
    if (wanted_ && !installed_) install();
  });
}

asio::awaitable<void> GuardKeeper::listen() {
  for (;;) {
    const auto [error] = co_await events_->async_wait(asio::posix::stream_descriptor::wait_read, kAwait);
    if (error || !wanted_) co_return;
    if (!read_losses()) continue;
    log::warning("kernel", "another program took nftables' table gw_guard away, or rules of it (a `flush ruleset`?)");
    installed_ = false;
    if (!pausing_) install();
    install_again();
  }
}

/// All that is there; whether anything of the guard's has gone, or may have.
bool GuardKeeper::read_losses() {
  bool lost = false;
  alignas(nlmsghdr) std::array<std::uint8_t, 16384> buffer;
  for (;;) {
    const ssize_t got = ::recv(events_->native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == ENOBUFS) {
      lost = true;  // more came than there was room for
      continue;
    }
    if (got < 0) return lost;
    const auto size = static_cast<std::size_t>(got);
    lost = lost || size > buffer.size() || takes_from_guard(std::span(buffer).first(std::min(size, buffer.size())));
  }
}

}  // namespace gw::gwd
