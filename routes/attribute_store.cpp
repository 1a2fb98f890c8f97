#include "routes/rib_store.hpp"

namespace gw::routes {

std::uint32_t AttributeStore::acquire(const AttributesPtr& attributes, std::uint32_t hash) {
  const auto same = [&](std::uint32_t id) {
    const AttributesPtr& known = items_[id].attributes;
    return known == attributes || *known == *attributes;
  };
  std::uint32_t id = index_.find(hash, same);
  if (id != kNoId) {
    ++items_[id].users;
    return id;
  }
  if (free_.empty()) {
    id = static_cast<std::uint32_t>(items_.size());
    items_.push();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  items_[id] = {.attributes = attributes,
                .users = 1,
                .hash = hash,
                .next_hop = attributes->next_hop,
                .source = 0,
                .generation = 0,
                .verdict = {}};
  index_.insert(hash, id);
  return id;
}

void AttributeStore::release(std::uint32_t id) {
  Item& item = items_[id];
  if (--item.users > 0) return;
  index_.erase(item.hash, id);
  item.attributes.reset();
  free_.push_back(id);
}

}  // namespace gw::routes
