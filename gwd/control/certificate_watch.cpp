#include "gwd/control/certificate_watch.hpp"

#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"

namespace gw::gwd {

CertificateWatch::CertificateWatch(boost::asio::io_context& io, const Clock& clock, std::string folder,
                                   std::string instance)
    : io_(io), clock_(clock), folder_(std::move(folder)), instance_(std::move(instance)), wake_(io) {}

void CertificateWatch::start() {
  running_ = true;
  boost::asio::co_spawn(io_, run(), kEndOnException);
}

void CertificateWatch::stop() {
  stopping_ = true;
  wake_.wake();
}

boost::asio::awaitable<void> CertificateWatch::run() {
  while (!stopping_) {
    look();
    co_await wake_.sleep(kLook);
  }
  running_ = false;
}

// The files are small, and whoever replaces one may give it the old time.
void CertificateWatch::look() {
  ends_ = pki::certificate_ends(folder_, instance_);
  const WallTime now = clock_.wall();
  for (const pki::CertificateEnd& end : ends_) {
    const pki::Lifetime lifetime = pki::lifetime(end.until, now);
    pki::Lifetime& told = told_.try_emplace(end.file, pki::Lifetime::kGood).first->second;
    if (std::exchange(told, lifetime) == lifetime) continue;
    if (lifetime == pki::Lifetime::kGood)
      log::info("ha", "{}", describe(end, now));
    else if (lifetime == pki::Lifetime::kEndsSoon)
      log::warning("ha", "{}: {}", describe(end, now), end.renewal);
    else
      log::error("ha", "{}: {}", describe(end, now), end.renewal);
  }
}

}  // namespace gw::gwd
