// A data TUN: one device for all tunnels (a gso vnet port's, and another one a circuit port's), a queue for each
// worker, through which superpackets come from the tcx program on the vnet interface and go to the kernel's forwarding.
// No address and no route of its own: nothing comes out of it but what the tcx program redirects. It goes away with its
// last queue. Control thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "ebpf/gso/coalescer.hpp"

namespace gw::gso {

class DataTun {
 public:
  static constexpr const char* kName = "gw-data";
  static constexpr const char* kCircuitName = "gw-circuit";

  /// Makes the device with `queues` queues and brings it up. kAlreadyExists: somebody has a device of that name.
  static Result<DataTun> open(const std::string& name, std::size_t queues);

  /// The queues of a process before this one; all of them, in their order.
  static Result<DataTun> adopt(const std::string& name, std::vector<Fd> queues);

  const std::string& name() const { return name_; }
  int ifindex() const { return ifindex_; }
  std::size_t queues() const { return queues_.size(); }
  /// Whether this kernel takes UDP superpackets.
  UdpMerging udp() const { return udp_; }
  /// Chooses the queue of each packet (BPF_PROG_TYPE_SOCKET_FILTER; the result modulo the number of queues).
  struct SteeredQueue {
    int fd;
  };
  static Status set_steering(const SteeredQueue& queue, int program_fd);
  int steering_fd() const { return steering_.get(); }
  /// A queue's descriptor, once each; its port owns it from then on.
  Fd take_queue(std::size_t i) { return std::move(queues_[i]); }

 private:
  DataTun(std::string name, std::vector<Fd> queues, UdpMerging udp)
      : name_(std::move(name)), queues_(std::move(queues)), udp_(udp) {}
  Status bring_up();

  std::string name_;
  std::vector<Fd> queues_;
  UdpMerging udp_;
  int ifindex_ = 0;
  Fd steering_;  // a duplicate of a queue, for ioctls
};

}  // namespace gw::gso
