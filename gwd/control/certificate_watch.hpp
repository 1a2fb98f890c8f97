// Looks every few seconds how long the sync channel's certificates are still good (gwd/pki/lifetime.hpp), and says so
// in the log when that is not long. Owner: HaController; thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "gwd/control/loop_wake.hpp"
#include "gwd/pki/lifetime.hpp"

namespace gw::gwd {

class CertificateWatch {
 public:
  static constexpr std::chrono::milliseconds kLook{5000};

  CertificateWatch(boost::asio::io_context& io, const Clock& clock, std::string folder, std::string instance);

  void start();
  void stop();
  bool idle() const { return !running_; }

  const std::vector<pki::CertificateEnd>& ends() const { return ends_; }

 private:
  boost::asio::awaitable<void> run();
  void look();

  boost::asio::io_context& io_;
  const Clock& clock_;
  std::string folder_;
  std::string instance_;
  LoopWake wake_;
  std::vector<pki::CertificateEnd> ends_;
  std::map<std::string, pki::Lifetime> told_;  // by file
  bool running_ = false;
  bool stopping_ = false;
};

}  // namespace gw::gwd
