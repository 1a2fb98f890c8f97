#include "ebpf/xdp/programs.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vnet.skel.h>
#include <wan.skel.h>
#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <set>
#include <vector>

#include "base/log.hpp"
#include "base/wire.hpp"
#include "ebpf/abi/fib.h"

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

/// Native first; generic when the driver cannot. The link detaches the program when its fd closes.
Result<Attachment> attach_xdp(int program_fd, int ifindex, Fd& link) {
  LIBBPF_OPTS(bpf_link_create_opts, native, .flags = XDP_FLAGS_DRV_MODE);
  link.reset(bpf_link_create(program_fd, ifindex, BPF_XDP, &native));
  if (link) return Attachment{"native", {}};
  const int why = errno;
  if (why == EBUSY || why == EEXIST || why == EPERM)
    return fail_errno("attaching XDP (is another XDP program or gw-fastpath on the interface?)", why);
  LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
  link.reset(bpf_link_create(program_fd, ifindex, BPF_XDP, &generic));
  if (!link) return fail_errno("attaching XDP, native and generic");
  return Attachment{"generic", std::string("the driver refused native XDP: ") + std::strerror(why)};
}

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

Status put_socket(const bpf_map* map, std::uint32_t queue, int xsk_fd) {
  if (bpf_map__update_elem(map, &queue, sizeof queue, &xsk_fd, sizeof xsk_fd, BPF_ANY) != 0)
    return fail_errno(std::format("registering the AF_XDP socket of queue {}", queue));
  return {};
}

}  // namespace

std::string_view drop_name(gw_xdp_counter counter) {
  switch (counter) {
    case GW_XDP_DROP_UNKNOWN_SPI: return "unknown_spi";
    case GW_XDP_DROP_ESP_TRUNCATED: return "truncated";
    case GW_XDP_DROP_NAT_KEEPALIVE: return "nat_keepalive";
    case GW_XDP_DROP_NO_SOCKET: return "redirect_failed";
    case GW_XDP_DROP_OUTER_FRAGMENT: return "outer_fragment";
    case GW_XDP_REDIRECTED:
    case GW_XDP_PASSED:
    case GW_XDP_COUNTERS: break;
  }
  return {};
}

void quiet_libbpf() {
  libbpf_set_print([](libbpf_print_level level, const char* format, va_list args) {
    if (level == LIBBPF_DEBUG || !log::enabled(log::Level::kDebug)) return 0;
    char line[512];
    vsnprintf(line, sizeof line, format, args);
    std::string_view text = line;
    while (text.ends_with('\n')) text.remove_suffix(1);
    log::debug("libbpf", "{}", text);
    return 0;
  });
}

// --- wan ---------------------------------------------------------------------------------------------

struct WanProgram::Impl {
  ~Impl() {
    ring_buffer__free(ring);
    gw_wan__destroy(skeleton);
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

  gw_wan* skeleton = nullptr;
  ring_buffer* ring = nullptr;
  const std::function<void(const UnknownSpi&)>* handler = nullptr;
  std::set<IpAddress> local;
  Fd link;
};

WanProgram::WanProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WanProgram::WanProgram(WanProgram&&) noexcept = default;
WanProgram& WanProgram::operator=(WanProgram&&) noexcept = default;
WanProgram::~WanProgram() = default;

Result<WanProgram> WanProgram::load(std::size_t max_sas) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_wan__open();
  if (!impl->skeleton) return fail_errno("opening the XDP program 'wan'");
  bpf_map__set_max_entries(impl->skeleton->maps.spis, static_cast<std::uint32_t>(max_sas));
  if (gw_wan__load(impl->skeleton) != 0) return fail_errno("loading the XDP program 'wan'");
  impl->ring = ring_buffer__new(bpf_map__fd(impl->skeleton->maps.events), &Impl::on_event, impl.get(), nullptr);
  if (!impl->ring) return fail_errno("mapping the XDP event ring");
  return WanProgram(std::move(impl));
}

Result<Attachment> WanProgram::attach(int ifindex) { return attach_xdp(program_fd(), ifindex, impl_->link); }
int WanProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_wan); }

Status WanProgram::add_spi(std::uint32_t spi, const IpAddress& dst, std::uint32_t tunnel_id) {
  const gw_spi_key key = spi_key(spi, dst);
  if (bpf_map__update_elem(impl_->skeleton->maps.spis, &key, sizeof key, &tunnel_id, sizeof tunnel_id, BPF_ANY) == 0)
    return {};
  if (errno == E2BIG) return fail(Errc::kLimit, "the SPI map of the wan port is full");
  return fail_errno("adding an SPI to the wan port's map");
}

void WanProgram::remove_spi(std::uint32_t spi, const IpAddress& dst) {
  const gw_spi_key key = spi_key(spi, dst);
  (void)bpf_map__delete_elem(impl_->skeleton->maps.spis, &key, sizeof key, 0);
}

Status WanProgram::set_local(std::span<const IpAddress> addresses) {
  const bpf_map* map = impl_->skeleton->maps.local_addresses;
  const std::set<IpAddress> wanted(addresses.begin(), addresses.end());
  const auto before = impl_->local;
  for (const IpAddress& a : before) {
    if (wanted.contains(a)) continue;
    const gw_address_key key = address_key(a);
    (void)bpf_map__delete_elem(map, &key, sizeof key, 0);
    impl_->local.erase(a);
  }
  for (const IpAddress& a : wanted) {
    if (impl_->local.contains(a)) continue;
    const gw_address_key key = address_key(a);
    const std::uint32_t one = 1;
    if (bpf_map__update_elem(map, &key, sizeof key, &one, sizeof one, BPF_ANY) != 0)
      return fail_errno(std::format("adding the local address {} to the wan port's map", a));
    impl_->local.insert(a);
  }
  return {};
}

Status WanProgram::set_socket(std::uint32_t queue, int xsk_fd) {
  return put_socket(impl_->skeleton->maps.sockets, queue, xsk_fd);
}
Counters WanProgram::counters() const { return read_counters(impl_->skeleton->maps.counters); }
int WanProgram::events_fd() const { return ring_buffer__epoll_fd(impl_->ring); }

void WanProgram::consume(const std::function<void(const UnknownSpi&)>& handler) {
  impl_->handler = &handler;
  (void)ring_buffer__consume(impl_->ring);
  impl_->handler = nullptr;
}

// --- vnet --------------------------------------------------------------------------------------------

struct VnetProgram::Impl {
  ~Impl() {
    for (const auto& [address, bytes] : mappings) munmap(address, bytes);
    gw_vnet__destroy(skeleton);
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
    GW_TRY_ASSIGN(arrays.v4_root, map<std::uint32_t>(maps.fib_v4_root, std::size_t{1} << GW_FIB_V4_ROOT_BITS));
    GW_TRY_ASSIGN(arrays.v4_nodes,
                  map<std::uint32_t>(maps.fib_v4_nodes, std::size_t{size.v4_nodes} * GW_FIB_NODE_ENTRIES));
    GW_TRY_ASSIGN(arrays.v6_root, map<std::uint32_t>(maps.fib_v6_root, std::size_t{1} << GW_FIB_V6_ROOT_BITS));
    GW_TRY_ASSIGN(arrays.v6_nodes,
                  map<std::uint32_t>(maps.fib_v6_nodes, std::size_t{size.v6_nodes} * GW_FIB_NODE_ENTRIES));
    GW_TRY_ASSIGN(arrays.next_hops, map<gw_next_hop>(maps.next_hops, size.next_hops));
    return {};
  }

  gw_vnet* skeleton = nullptr;
  FibArrays arrays;
  std::vector<std::pair<void*, std::size_t>> mappings;
  Fd link;
};

VnetProgram::VnetProgram(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VnetProgram::VnetProgram(VnetProgram&&) noexcept = default;
VnetProgram& VnetProgram::operator=(VnetProgram&&) noexcept = default;
VnetProgram::~VnetProgram() = default;

Result<VnetProgram> VnetProgram::load(const FibSize& size) {
  auto impl = std::make_unique<Impl>();
  impl->skeleton = gw_vnet__open();
  if (!impl->skeleton) return fail_errno("opening the XDP program 'vnet'");
  constexpr std::uint32_t kBlocksPerNode = GW_FIB_NODE_ENTRIES / GW_FIB_BLOCK_ENTRIES;
  bpf_map__set_max_entries(impl->skeleton->maps.fib_v4_nodes, size.v4_nodes * kBlocksPerNode);
  bpf_map__set_max_entries(impl->skeleton->maps.fib_v6_nodes, size.v6_nodes * kBlocksPerNode);
  bpf_map__set_max_entries(impl->skeleton->maps.next_hops, size.next_hops);
  if (gw_vnet__load(impl->skeleton) != 0) return fail_errno("loading the XDP program 'vnet'");
  GW_TRY(impl->map_all(size));
  return VnetProgram(std::move(impl));
}

Result<Attachment> VnetProgram::attach(int ifindex) { return attach_xdp(program_fd(), ifindex, impl_->link); }
int VnetProgram::program_fd() const { return bpf_program__fd(impl_->skeleton->progs.gw_vnet); }

void VnetProgram::set_mac(const std::array<std::uint8_t, 6>& mac) {
  std::ranges::copy(mac, impl_->skeleton->bss->port_mac);
}

Status VnetProgram::set_socket(std::uint32_t queue, int xsk_fd) {
  return put_socket(impl_->skeleton->maps.sockets, queue, xsk_fd);
}
FibArrays VnetProgram::fib() { return impl_->arrays; }
Counters VnetProgram::counters() const { return read_counters(impl_->skeleton->maps.counters); }

}  // namespace gw::xdp
