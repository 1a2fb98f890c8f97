// The whole of routes/'s policy as bgpd's route-maps: which ones each session, each peer-group and each originated
// prefix has. Sessions of which policy says the same share theirs; a peer-group has those of a session of its kind that
// nothing special is said about. Pure, any thread.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bgp/config_model.hpp"
#include "bgp/policy_maps.hpp"
#include "bgp/policy_objects.hpp"

namespace gw::bgp {

/// Names of route-maps, by Family.
struct SessionMaps {
  std::array<std::string, 2> in;
  std::array<std::string, 2> out;
  friend bool operator==(const SessionMaps&, const SessionMaps&) = default;
};

class PolicyRender {
 public:
  explicit PolicyRender(const BgpIntent& intent);

  /// In the order of intent.peers.
  const SessionMaps& of_peer(std::size_t index) const { return *peers_[index]; }
  /// By kind; the kinds that have peers.
  const std::map<routes::SourceKind, const SessionMaps*>& groups() const { return groups_; }
  /// Route-map of each prefix that policy lets us originate.
  const std::map<Prefix, std::string>& networks() const { return networks_; }
  const PolicyObjects& objects() const { return objects_; }

 private:
  struct Session {
    routes::SourceKind kind;
    std::string_view name;
    std::string_view site;
    std::string_view instance;
    bool graceful_shutdown = false;
  };
  const SessionMaps& maps_of(const routes::Policy& policy, const Session& session);
  const SessionMaps& wan_maps(const BgpIntent& intent, std::optional<Family> session);
  void render_networks(const BgpIntent& intent);

  PolicyObjects objects_;
  std::map<std::string, SessionMaps> known_;  // by what makes the maps
  std::vector<const SessionMaps*> peers_;
  std::map<routes::SourceKind, const SessionMaps*> groups_;
  std::map<Prefix, std::string> networks_;
};

/// Site of origin (RFC 4360): no session of a site is told what another one of it has said. Empty: not a site's.
std::string site_of_origin(std::string_view site);

}  // namespace gw::bgp
