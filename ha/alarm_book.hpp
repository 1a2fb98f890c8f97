// The alarms that the situation calls for, raised and cleared once each. Owner: Machine; thread: its caller's.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "ha/action.hpp"
#include "ha/endpoint_fsm.hpp"
#include "ha/view.hpp"

namespace gw::ha {

class AlarmBook {
 public:
  void update(const View& view, const std::map<IpAddress, EndpointFsm>& endpoints, std::vector<Action>& out);
  std::vector<Alarm> raised() const;

 private:
  using Key = std::tuple<AlarmKind, std::optional<IpAddress>, std::optional<Instance>>;
  using Texts = std::map<Key, std::string>;
  static void of_peer(const View& view, const PeerView& peer, Texts& wanted);
  static void of_self(const View& view, Texts& wanted);
  static void of_endpoint(const View& view, const EndpointFsm& endpoint, Texts& wanted);

  Texts raised_;
};

}  // namespace gw::ha
