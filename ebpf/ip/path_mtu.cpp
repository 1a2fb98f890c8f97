#include "ebpf/ip/path_mtu.hpp"

#include <algorithm>

namespace gw::ip {

bool PathMtu::report(std::uint32_t mtu, MonoTime now) {
  const std::uint32_t wanted = std::max(mtu, floor(outer_));
  if (value_ && wanted > *value_) return false;
  last_report_ = now;
  if (value_ == wanted) return false;
  value_ = wanted;
  return true;
}

bool PathMtu::age(MonoTime now) {
  if (!value_ || now - last_report_ < kLifetime) return false;
  value_.reset();
  return true;
}

}  // namespace gw::ip
