// The fast path RPC's framing and messages, as either end reads them.
#include <google/protobuf/stubs/logging.h>

#include <span>

#include "base/frame.hpp"
#include "gw/fastpath/v1/fastpath.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // It would report every string that is not UTF-8.
  [[maybe_unused]] static const auto before = google::protobuf::SetLogHandler(nullptr);
  gw::FrameReader reader(1 << 16);
  reader.feed(std::span(data, size));
  for (;;) {
    const auto frame = reader.next();
    if (!frame || !*frame) return 0;
    gw::fastpath::v1::ClientFrame request;
    (void)request.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()));
    gw::fastpath::v1::ServerFrame reply;
    (void)reply.ParseFromArray((*frame)->data(), static_cast<int>((*frame)->size()));
  }
}
