#include "ebpf/xdp/maps.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <maps.skel.h>
#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "base/log.hpp"
#include "base/wire.hpp"
#include "ebpf/abi/fib.h"
#include "ebpf/abi/gates.h"

namespace gw::xdp {
namespace {

template <class Key>
void put_address(Key& key, const IpAddress& a, std::uint8_t* bytes) {
  key.family = a.is_v4() ? 4 : 6;
  std::ranges::copy(a.bytes(), bytes);
}

gw_spi_key spi_key(std::uint32_t spi, const IpAddress& dst) {
  gw_spi_key key{};
  key.spi_be = host_to_be(spi);
  put_address(key, dst, key.dst);
  return key;
}

gw_address_key address_key(const IpAddress& a) {
  gw_address_key key{};
  put_address(key, a, key.address);
  return key;
}

IpAddress address_of(std::uint32_t family, const std::uint8_t (&bytes)[16]) {
  return IpAddress::from_bytes(std::span<const std::uint8_t>(bytes).first(family == 4 ? 4 : 16)).value_or(IpAddress{});
}

gw_neighbour_key neighbour_key(const NeighbourAt& at) {
  gw_neighbour_key key{};
  key.side = at.side;
  put_address(key, at.address, key.address);
  return key;
}

}  // namespace

Counters read_counters(const bpf_map* map) {
  Counters totals{};
  std::vector<std::uint64_t> per_cpu(static_cast<std::size_t>(libbpf_num_possible_cpus()));
  for (std::uint32_t key = 0; key < totals.size(); ++key) {
    if (bpf_map__lookup_elem(map, &key, sizeof key, per_cpu.data(), per_cpu.size() * sizeof(std::uint64_t), 0) != 0)
      continue;
    for (const std::uint64_t v : per_cpu) totals[key] += v;
  }
  return totals;
}

std::string_view drop_name(gw_xdp_counter counter) {
  switch (counter) {
    case GW_XDP_DROP_UNKNOWN_SPI: return "unknown_spi";
    case GW_XDP_DROP_ESP_TRUNCATED: return "truncated";
    case GW_XDP_DROP_NAT_KEEPALIVE: return "nat_keepalive";
    case GW_XDP_DROP_NO_SOCKET: return "redirect_failed";
    case GW_XDP_DROP_IKE_FLOOD: return "ike_flood";
    case GW_XDP_DROP_TRANSIT_CLOSED: return "transit_closed";
    case GW_XDP_DROP_HAIRPIN: return "hairpin";
    case GW_XDP_DROP_NO_NEIGHBOUR: return "no_neighbour";
    case GW_XDP_DROP_SPOOFED_SOURCE: return "spoofed_source";
    case GW_XDP_DROP_MULTICAST: return "multicast";
    case GW_XDP_DROP_TX_FULL: return "tx_full";
    case GW_XDP_DROP_STANDBY: return "standby";
    case GW_XDP_REDIRECTED:
    case GW_XDP_PASSED:
    case GW_XDP_FORWARDED_VNET:
    case GW_XDP_FORWARDED_CIRCUIT:
    case GW_XDP_COUNTERS: break;
  }
  return {};
}

namespace {
[[gnu::format(printf, 2, 0)]] int log_of_libbpf(libbpf_print_level level, const char* format, va_list args) {
  if (level == LIBBPF_DEBUG || !log::enabled(log::Level::kDebug)) return 0;
  char line[512];
  vsnprintf(line, sizeof line, format, args);
  std::string_view text = line;
  while (text.ends_with('\n')) text.remove_suffix(1);
  log::debug("libbpf", "{}", text);
  return 0;
}
}  // namespace

void quiet_libbpf() { libbpf_set_print(log_of_libbpf); }

struct Maps::Impl {
  ~Impl() {
    ring_buffer__free(ring);
    for (const auto& [address, bytes] : mappings) munmap(address, bytes);
    gw_maps__destroy(skeleton);
  }
  static int on_event(void* context, void* data, std::size_t size) {
    if (size < sizeof(gw_unknown_spi_event)) return 0;
    gw_unknown_spi_event e;
    std::memcpy(&e, data, sizeof e);
    const auto& handler = *static_cast<Impl*>(context)->handler;
    if (handler)
      handler({be_to_host(e.spi_be), address_of(e.family, e.src), address_of(e.family, e.dst),
               static_cast<std::uint16_t>(e.src_port)});
    return 0;
  }

  template <class T>
  Result<std::span<T>> map(const bpf_map* m, std::size_t count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = (count * sizeof(T) + page - 1) / page * page;
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(m), 0);
    if (at == MAP_FAILED) return fail_errno(std::format("mapping the array {}", bpf_map__name(m)));
    mappings.emplace_back(at, bytes);
    return std::span<T>(static_cast<T*>(at), count);
  }

  Status map_all(const FibSize& size) {
    const auto& maps = skeleton->maps;
    GW_TRY_ASSIGN(arrays.v4_root, map<std::uint16_t>(maps.fib_v4_root, std::size_t{1} << GW_FIB_V4_ROOT_BITS));
    GW_TRY_ASSIGN(arrays.v4_groups,
                  map<std::uint16_t>(maps.fib_v4_groups, std::size_t{size.v4_groups} * GW_FIB_NODE_ENTRIES));
    GW_TRY_ASSIGN(arrays.v6_root, map<std::uint32_t>(maps.fib_v6_root, std::size_t{1} << GW_FIB_V6_ROOT_BITS));
    GW_TRY_ASSIGN(arrays.v6_lines, map<gw_fib_line>(maps.fib_v6_lines, size.v6_lines));
    GW_TRY_ASSIGN(arrays.next_hops, map<gw_next_hop>(maps.next_hops, size.next_hops));
    GW_TRY_ASSIGN(settings, map<gw_settings>(maps.settings, 1));
    GW_TRY_ASSIGN(gates, map<gw_gates>(maps.gates, 1));
    GW_TRY_ASSIGN(used, map<std::uint64_t>(maps.neighbours_used, GW_MAX_NEIGHBOURS));
    for (std::uint32_t place = GW_MAX_NEIGHBOURS; place-- > 0;) free_places.push_back(place);
    return {};
  }

  gw_maps* skeleton = nullptr;
  ring_buffer* ring = nullptr;
  const std::function<void(const UnknownSpi&)>* handler = nullptr;
  std::set<IpAddress> local;
  std::array<Counters, 4> before{};  // by CounterMap
  FibArrays arrays;
  std::span<gw_settings> settings;
  std::span<gw_gates> gates;
  std::span<std::uint64_t> used;
  std::map<NeighbourAt, std::uint32_t> places;  // in `used`
  std::vector<std::uint32_t> free_places;
  std::vector<std::pair<void*, std::size_t>> mappings;
};

Maps::Maps(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Maps::Maps(Maps&&) noexcept = default;
Maps& Maps::operator=(Maps&&) noexcept = default;
Maps::~Maps() = default;

Result<Maps> Maps::create(const MapSizes& sizes) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_maps__open();
  if (!impl->skeleton) return fail_errno("opening the BPF maps");
  const auto& maps = impl->skeleton->maps;
  constexpr std::uint32_t kBlocksPerGroup = GW_FIB_NODE_ENTRIES / GW_FIB_V4_BLOCK_ENTRIES;
  bpf_map__set_max_entries(maps.spis, static_cast<std::uint32_t>(sizes.max_sas));
  bpf_map__set_max_entries(maps.local_addresses, static_cast<std::uint32_t>(sizes.max_local_addresses));
  bpf_map__set_max_entries(maps.ike_peers, static_cast<std::uint32_t>(sizes.max_peers));
  bpf_map__set_max_entries(maps.fib_v4_groups, sizes.fib.v4_groups * kBlocksPerGroup);
  bpf_map__set_max_entries(maps.fib_v6_lines, sizes.fib.v6_lines);
  bpf_map__set_max_entries(maps.next_hops, sizes.fib.next_hops);
  if (gw_maps__load(impl->skeleton) != 0) return fail_errno("making the BPF maps");
  GW_TRY(impl->map_all(sizes.fib));
  impl->ring = ring_buffer__new(bpf_map__fd(maps.events), &Impl::on_event, impl.get(), nullptr);
  if (!impl->ring) return fail_errno("mapping the BPF event ring");
  return Maps(std::move(impl));
}

Status Maps::share_with(bpf_object* object, std::span<const std::string_view> but) const {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (std::ranges::contains(but, std::string_view(bpf_map__name(map)))) continue;
    if (bpf_map__is_internal(map)) continue;  // .bss and .rodata: the program's own, whatever their names
    const bpf_map* shared = bpf_object__find_map_by_name(impl_->skeleton->obj, bpf_map__name(map));
    if (shared && bpf_map__reuse_fd(map, bpf_map__fd(shared)) != 0)
      return fail_errno(std::format("sharing the BPF map '{}'", bpf_map__name(map)));
  }
  return {};
}

Status Maps::add_spi(std::uint32_t spi, const IpAddress& dst, const gw_spi_owner& owner) {
  const gw_spi_key key = spi_key(spi, dst);
  if (bpf_map__update_elem(impl_->skeleton->maps.spis, &key, sizeof key, &owner, sizeof owner, BPF_ANY) == 0) return {};
  if (errno == E2BIG) return fail(Errc::kLimit, "the SPI map of the wan port is full");
  return fail_errno("adding an SPI to the wan port's map");
}

void Maps::remove_spi(std::uint32_t spi, const IpAddress& dst) {
  const gw_spi_key key = spi_key(spi, dst);
  (void)bpf_map__delete_elem(impl_->skeleton->maps.spis, &key, sizeof key, 0);
}

namespace {
Status not_local(const IpAddress& address, int error) {
  if (error == E2BIG)
    return fail(Errc::kLimit, std::format("the map of our addresses is full: {} is not in it", address));
  return fail_errno(std::format("adding the local address {}", address), error);
}
}  // namespace

Status Maps::set_local(std::span<const IpAddress> addresses) {
  const bpf_map* map = impl_->skeleton->maps.local_addresses;
  const std::set<IpAddress> wanted(addresses.begin(), addresses.end());
  const auto before = impl_->local;
  for (const IpAddress& a : before) {
    if (wanted.contains(a)) continue;
    const gw_address_key key = address_key(a);
    (void)bpf_map__delete_elem(map, &key, sizeof key, 0);
    impl_->local.erase(a);
  }
  Status all;  // one that does not fit is no reason to leave out the others
  for (const IpAddress& a : wanted) {
    if (impl_->local.contains(a)) continue;
    const gw_address_key key = address_key(a);
    const std::uint32_t one = 1;
    if (bpf_map__update_elem(map, &key, sizeof key, &one, sizeof one, BPF_ANY) == 0)
      impl_->local.insert(a);
    else if (all)
      all = not_local(a, errno);
  }
  return all;
}

Status Maps::add_peer(const IpAddress& address) {
  const gw_address_key key = address_key(address);
  const std::uint64_t nothing_said = 0;
  if (bpf_map__update_elem(impl_->skeleton->maps.ike_peers, &key, sizeof key, &nothing_said, sizeof nothing_said,
                           BPF_ANY) == 0)
    return {};
  if (errno == E2BIG) return fail(Errc::kLimit, "the map of the tunnels' peers is full");
  return fail_errno(std::format("adding the peer {}", address));
}

void Maps::remove_peer(const IpAddress& address) {
  const gw_address_key key = address_key(address);
  (void)bpf_map__delete_elem(impl_->skeleton->maps.ike_peers, &key, sizeof key, 0);
}

Status Maps::set_slot_owner(std::uint16_t slot, std::uint32_t worker) {
  const std::uint32_t key = slot;
  if (bpf_map__update_elem(impl_->skeleton->maps.slot_owners, &key, sizeof key, &worker, sizeof worker, BPF_ANY) != 0)
    return fail_errno(std::format("setting the owner of tunnel slot {}", slot));
  return {};
}

FibArrays Maps::fib() const { return impl_->arrays; }
Counters Maps::wan_counters() const { return counters(CounterMap::kWan); }
Counters Maps::vnet_counters() const { return counters(CounterMap::kVnet); }
Counters Maps::circuit_counters() const { return counters(CounterMap::kCircuit); }
Counters Maps::decrypted_counters() const { return counters(CounterMap::kDecrypted); }

Counters Maps::counters(CounterMap which) const {
  const auto& maps = impl_->skeleton->maps;
  const std::array<const bpf_map*, 4> all = {maps.wan_counters, maps.vnet_counters, maps.circuit_counters,
                                             maps.decrypted_counters};
  Counters totals = read_counters(all[static_cast<std::size_t>(which)]);
  for (std::size_t i = 0; i < totals.size(); ++i) totals[i] += impl_->before[static_cast<std::size_t>(which)][i];
  return totals;
}

void Maps::add_counter(CounterMap map, std::uint32_t counter, std::uint64_t value) {
  if (counter < GW_XDP_COUNTERS) impl_->before[static_cast<std::size_t>(map)][counter] += value;
}

gw_gates& Maps::gates() const { return impl_->gates[0]; }

Status Maps::add_endpoint(const IpAddress& address, std::uint32_t gate) {
  const gw_address_key key = address_key(address);
  if (bpf_map__update_elem(impl_->skeleton->maps.endpoints, &key, sizeof key, &gate, sizeof gate, BPF_ANY) != 0)
    return fail_errno(std::format("adding the endpoint {} to the wan port's map", address));
  return {};
}

void Maps::remove_endpoint(const IpAddress& address) {
  const gw_address_key key = address_key(address);
  (void)bpf_map__delete_elem(impl_->skeleton->maps.endpoints, &key, sizeof key, 0);
}

void Maps::set_transit(Transit transit) {
  std::atomic_ref(impl_->settings[0].circuit_transit).store(transit == Transit::kOpen ? 1 : 0);
}
Transit Maps::transit() const {
  return std::atomic_ref(impl_->settings[0].circuit_transit).load() != 0 ? Transit::kOpen : Transit::kClosed;
}
void Maps::set_frames(gw_side side, gw_xdp_frames frames) {
  std::atomic_ref(impl_->settings[0].xdp_frames[side]).store(static_cast<std::uint32_t>(frames));
}

Status Maps::set_out_port(gw_side side, int ifindex) {
  const auto key = static_cast<std::uint32_t>(side);
  if (bpf_map__update_elem(impl_->skeleton->maps.out_ports, &key, sizeof key, &ifindex, sizeof ifindex, BPF_ANY) != 0)
    return fail_errno("adding a port to the map of ports");
  return {};
}

Status Maps::put_neighbour(const NeighbourAt& at, const gw_neighbour& neighbour) {
  auto it = impl_->places.find(at);
  if (it == impl_->places.end()) {
    if (impl_->free_places.empty())
      return fail(Errc::kLimit, std::format("the map of neighbours is full ({})", GW_MAX_NEIGHBOURS));
    it = impl_->places.emplace(at, impl_->free_places.back()).first;
    impl_->free_places.pop_back();
    std::atomic_ref(impl_->used[it->second]).store(0);
  }
  const gw_neighbour_key key = neighbour_key(at);
  gw_neighbour value = neighbour;
  value.use = it->second;
  if (bpf_map__update_elem(impl_->skeleton->maps.neighbours, &key, sizeof key, &value, sizeof value, BPF_ANY) == 0)
    return {};
  Error error = fail_errno(std::format("adding the neighbour {}", at.address)).error();
  remove_neighbour(at);
  return std::unexpected(std::move(error));
}

void Maps::remove_neighbour(const NeighbourAt& at) {
  const auto it = impl_->places.find(at);
  if (it == impl_->places.end()) return;
  const gw_neighbour_key key = neighbour_key(at);
  (void)bpf_map__delete_elem(impl_->skeleton->maps.neighbours, &key, sizeof key, 0);
  impl_->free_places.push_back(it->second);
  impl_->places.erase(it);
}

bool Maps::take_used(const NeighbourAt& at) {
  const auto it = impl_->places.find(at);
  return it != impl_->places.end() && std::atomic_ref(impl_->used[it->second]).exchange(0) != 0;
}

int Maps::events_fd() const { return ring_buffer__epoll_fd(impl_->ring); }

void Maps::consume(const std::function<void(const UnknownSpi&)>& handler) {
  impl_->handler = &handler;
  (void)ring_buffer__consume(impl_->ring);
  impl_->handler = nullptr;
}

}  // namespace gw::xdp
