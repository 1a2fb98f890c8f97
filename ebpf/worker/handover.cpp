#include "ebpf/worker/handover.hpp"

namespace gw::worker {

Result<std::unique_ptr<Exchange>> Exchange::create(std::size_t workers) {
  auto exchange = std::make_unique<Exchange>();
  for (std::size_t i = 0; i < workers; ++i) {
    auto& seat = exchange->seats_.emplace_back(std::make_unique<Seat>());
    seat->bell.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!seat->bell) return fail_errno("making a worker's event descriptor");
  }
  for (std::size_t from = 0; from < workers; ++from)
    for (std::size_t to = 0; to < workers; ++to)
      exchange->rings_.push_back(std::make_unique<Ring<Handover>>(from == to ? 0 : kHandoverPlaces));
  return exchange;
}

}  // namespace gw::worker
