#include "ebpf/esp/runtime_rules.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <format>

#include "base/secret.hpp"

namespace gw::esp {
namespace {

constexpr std::array<char, 8> kMagic{'g', 'w', '-', 'e', 's', 'p', 'r', 't'};
constexpr std::uint32_t kHeaderVersion = 2;

std::uint64_t checksum_of(const StoreHeader& h) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&h);
  std::uint64_t sum = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < offsetof(StoreHeader, checksum); ++i) sum = (sum ^ bytes[i]) * 0x100000001b3;
  return sum;
}

}  // namespace

Fingerprint fingerprint_of(std::span<const std::uint8_t> key_identity, const StoreSalt& salt) {
  std::array<std::uint8_t, 32> digest{};
  unsigned length = 0;
  if (HMAC(EVP_sha256(), salt.data(), static_cast<int>(salt.size()), key_identity.data(), key_identity.size(),
           digest.data(), &length) == nullptr ||
      length != digest.size())
    std::abort();  // HMAC-SHA256 cannot fail with these arguments; a constant fingerprint would break the nonce rule
  Fingerprint f;
  std::ranges::copy(std::span(digest).first<f.size()>(), f.begin());
  wipe(digest.data(), digest.size());
  return f;
}

StoreHeader make_header(std::uint32_t capacity, const StoreSalt& salt) {
  StoreHeader h{};
  h.magic = kMagic;
  h.header_version = kHeaderVersion;
  h.record_version = kRecordVersion;
  h.record_bytes = sizeof(RuntimeRecord);
  h.capacity = capacity;
  h.salt = salt;
  h.checksum = checksum_of(h);
  return h;
}

Status check_header(const StoreHeader& h, std::size_t file_bytes, std::uint32_t capacity) {
  if (h.magic != kMagic) return fail(Errc::kMalformed, "it is not a store of SA records");
  if (h.header_version != kHeaderVersion || h.record_version != kRecordVersion)
    return fail(Errc::kUnsupported, std::format("it has version {}.{}, this program writes {}.{}", h.header_version,
                                                h.record_version, kHeaderVersion, kRecordVersion));
  if (h.checksum != checksum_of(h)) return fail(Errc::kMalformed, "its header is damaged");
  if (h.record_bytes != sizeof(RuntimeRecord) || h.capacity != capacity)
    return fail(Errc::kUnsupported, std::format("it has {} records of {} bytes, wanted {} of {}", h.capacity,
                                                h.record_bytes, capacity, sizeof(RuntimeRecord)));
  if (file_bytes != store_bytes(capacity))
    return fail(Errc::kMalformed, std::format("it has {} bytes, not {}", file_bytes, store_bytes(capacity)));
  if (h.rolled_back != 0)
    return fail(Errc::kMalformed, "it was rolled back, and its process ended before it had put that right");
  if (h.high_water > capacity) return fail(Errc::kMalformed, "its slot count is damaged");
  return {};
}

PeerStanding note_peer(StoreHeader& h, std::uint32_t instance, const StoreName& name) {
  if (h.peer_instance == 0) h.peer_instance = instance + 1;
  if (h.peer_instance != instance + 1) {
    h.peer_instance = instance + 1;
    std::ranges::fill(h.peers, PeerStore{});
    h.peers.front() = {name.id, name.generation};
    return PeerStanding::kOtherInstance;
  }
  const auto it = std::ranges::find(h.peers, name.id, &PeerStore::id);
  if (it != h.peers.end()) {
    if (name.generation < it->generation) return PeerStanding::kRolledBack;
    it->generation = name.generation;
    return PeerStanding::kKnown;
  }
  // The oldest is forgotten.
  std::ranges::rotate(h.peers, h.peers.end() - 1);
  h.peers.front() = {name.id, name.generation};
  return PeerStanding::kKnown;
}

void note_progress(StoreHeader& h, const StoreName& name) {
  const auto it = std::ranges::find(h.peers, name.id, &PeerStore::id);
  if (it != h.peers.end()) it->generation = std::max(it->generation, name.generation);
}

void write_identity(RuntimeRecord& record, const RecordId& id) {
  record.spi = id.spi;
  std::memset(record.dst, 0, sizeof record.dst);
  std::memcpy(record.dst, id.dst.bytes().data(), id.dst.bytes().size());
  record.dst_family = id.dst.is_v4() ? 4 : 6;
  record.direction = static_cast<std::uint8_t>(id.direction);
  std::ranges::copy(id.fingerprint, record.fingerprint);
}

Result<RecordId> read_identity(const RuntimeRecord& record) {
  const bool family_ok = record.dst_family == 4 || record.dst_family == 6;
  const bool direction_ok = record.direction == static_cast<std::uint8_t>(Direction::kOutbound) ||
                            record.direction == static_cast<std::uint8_t>(Direction::kInbound);
  if (!family_ok || !direction_ok || record.spi < 256) return fail(Errc::kMalformed, "a record's identity is damaged");
  RecordId id;
  id.spi = record.spi;
  GW_TRY_ASSIGN(id.dst, IpAddress::from_bytes(std::span(record.dst).first(record.dst_family == 4 ? 4 : 16)));
  id.direction = static_cast<Direction>(record.direction);
  std::ranges::copy(record.fingerprint, id.fingerprint.begin());
  return id;
}

Status resume_record(RuntimeRecord& record, Direction direction, const AdoptOptions& options) {
  if (direction == Direction::kOutbound) return resume_outbound(record, options.instance, options.sequence_jump);
  return {};  // the window is exact: it was written before each packet was delivered
}

Status begin_record(RuntimeRecord& record, Direction direction, const AdoptOptions& options) {
  if (options.origin == KeyOrigin::kSynced) {
    // Nothing that the other instance has received is known: the window begins at the first authenticated packet.
    store_field(record.synced_at_ns, options.now_ns);
    if (direction == Direction::kOutbound) return begin_standby(record, options.instance);
    store_field(record.resync, std::uint32_t{1});
    return {};
  }
  if (options.origin != KeyOrigin::kFresh)
    return fail(Errc::kNeedsRekey,
                direction == Direction::kOutbound
                    ? "no record of this key survived here: its nonces could repeat"
                    : "no record of this key survived here: packets already received could be replayed");
  if (direction == Direction::kOutbound) return begin_outbound(record, options.instance);
  return {};  // an empty window
}

}  // namespace gw::esp
