// What rate limits remember of a tunnel; the rules are in policing.cpp. Owner's thread.
#pragma once

#include "ebpf/ip/byte_bucket.hpp"

namespace gw::worker {

/// Of inner packets, each direction by itself.
struct Rates {
  ip::ByteRate in;
  ip::ByteRate out;
  bool any() const { return in.per_second != 0 || out.per_second != 0; }
  friend bool operator==(const Rates&, const Rates&) = default;
};

struct Meter {
  ip::ByteBucket own;    // of the tunnel's rate
  ip::ByteBucket share;  // of the gateway's, that nobody can take from it
};

struct TunnelMeters {
  Meter in;
  Meter out;
  // What may still be decrypted of a tunnel that is over its rate while the CPU is the bottleneck.
  ip::ByteBucket marked;
  ip::ByteBucket small;
};

}  // namespace gw::worker
