#include "gwd/sync/etcd_lease.hpp"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <format>
#include <map>
#include <optional>
#include <utility>

#include "base/log.hpp"
#include "base/spawn.hpp"
#include "gwd/sync/etcd_client.hpp"

namespace gw::gwd::sync {
namespace asio = boost::asio;
namespace json = boost::json;

namespace {

/// Numbers of the JSON gateway are strings; what is zero is left out.
std::int64_t number_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  if (value == nullptr) return 0;
  if (value->is_int64()) return value->as_int64();
  std::int64_t number = 0;
  if (const auto* text = value->if_string()) (void)std::from_chars(text->data(), text->data() + text->size(), number);
  return number;
}

std::string text_of(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string{};
}

/// What etcd has about one endpoint.
struct Record {
  std::optional<ha::Instance> holder;
  ha::Epoch epoch = 0;         // of the holder
  std::int64_t lease_rev = 0;  // mod_revision; 0: the key is not there
  ha::Epoch highest = 0;
  std::int64_t epoch_rev = 0;
  ha::Epoch told() const { return holder ? epoch : highest; }
};

Status read_lease(std::string_view value, Record& record) {
  boost::system::error_code error;
  const json::value parsed = json::parse(value, error);
  const json::object* object = error ? nullptr : parsed.if_object();
  const std::int64_t instance = object != nullptr ? number_of(*object, "instance") : -1;
  const std::int64_t epoch = object != nullptr ? number_of(*object, "epoch") : 0;
  if (instance < 0 || instance >= static_cast<std::int64_t>(ha::kMaxInstances) || epoch <= 0)
    return fail(Errc::kMalformed, "is not a lease");
  record.holder = static_cast<ha::Instance>(instance);
  record.epoch = static_cast<ha::Epoch>(epoch);
  return {};
}

}  // namespace

/// Lives as long as its coroutines; stopped, they end at their next step.
class EtcdLease::Worker : public std::enable_shared_from_this<EtcdLease::Worker> {
 public:
  Worker(EtcdLease& lease, Settings settings, EtcdClient client)
      : tell_(lease.tell_),
        clock_(lease.clock_),
        settings_(std::move(settings)),
        client_(std::move(client)),
        poll_timer_(lease.io_),
        renew_timer_(lease.io_),
        prefix_(std::format("/gw/{}/", settings_.gateway)) {}

  void stop() {
    stopped_ = true;
    poll_timer_.cancel();
    renew_timer_.cancel();
  }
  static asio::awaitable<void> poll_loop(std::shared_ptr<Worker> self);
  static asio::awaitable<void> renew_loop(std::shared_ptr<Worker> self);
  static asio::awaitable<void> ask(std::shared_ptr<Worker> self, ha::AskLease question);
  static asio::awaitable<void> drop(std::shared_ptr<Worker> self, ha::DropLease order);

 private:
  struct Held {
    ha::Epoch epoch = 0;
    std::string lease;  // etcd's id
  };
  using Records = std::map<IpAddress, Record>;

  void tell(const ha::Event& event) const {
    if (!stopped_) tell_(event);
  }
  std::string lease_key(const IpAddress& a) const { return prefix_ + "lease/" + a.to_string(); }
  std::string epoch_key(const IpAddress& a) const { return prefix_ + "epoch/" + a.to_string(); }
  asio::awaitable<Result<Records>> read();
  Status add(const json::object& kv, Records& records) const;
  void compare_and_tell(const Records& records);
  void tell_down(const std::string& why);
  asio::awaitable<Result<Held>> grant(ha::AskLease question, Record record);
  json::object transaction(const IpAddress& address, const Record& record, const Held& held) const;
  asio::awaitable<bool> renew(IpAddress address, Held held);

  std::function<void(const ha::Event&)> tell_;
  const Clock& clock_;
  Settings settings_;
  EtcdClient client_;
  asio::steady_timer poll_timer_;
  asio::steady_timer renew_timer_;
  std::string prefix_;
  std::map<IpAddress, Held> held_;
  std::map<IpAddress, std::pair<std::optional<ha::Instance>, ha::Epoch>> told_;
  std::optional<ha::Link> service_;
  std::string said_;  // of why it is down
  MonoTime said_at_{};
  bool stopped_ = false;
};

// --- reading -------------------------------------------------------------------------------------------------

asio::awaitable<Result<EtcdLease::Worker::Records>> EtcdLease::Worker::read() {
  // All keys with the prefix: up to the next byte after its '/'.
  std::string end = prefix_;
  end.back() = '0';
  json::object body{{"key", to_base64(prefix_)}, {"range_end", to_base64(end)}};
  auto answer = co_await client_.call("/v3/kv/range", std::move(body));
  if (!answer) co_return std::unexpected(answer.error());
  Records records;
  for (const IpAddress& address : settings_.endpoints) records[address];
  const json::value* list = answer->if_contains("kvs");
  if (list == nullptr || !list->is_array()) co_return records;
  for (const json::value& kv : list->as_array()) {
    if (!kv.is_object()) co_return fail(Errc::kMalformed, "etcd's answer has no keys in its list of keys");
    if (const Status status = add(kv.as_object(), records); !status) co_return std::unexpected(status.error());
  }
  co_return records;
}

Status EtcdLease::Worker::add(const json::object& kv, Records& records) const {
  GW_TRY_ASSIGN(const std::string key, from_base64(text_of(kv, "key")));
  GW_TRY_ASSIGN(const std::string value, from_base64(text_of(kv, "value")));
  for (auto& [address, record] : records) {
    if (key == lease_key(address)) {
      record.lease_rev = number_of(kv, "mod_revision");
      if (Status status = read_lease(value, record); !status)
        return std::unexpected(std::move(status).error().with_context("etcd's key " + key));
    } else if (key == epoch_key(address)) {
      record.epoch_rev = number_of(kv, "mod_revision");
      const auto read = std::from_chars(value.data(), value.data() + value.size(), record.highest);
      if (read.ec != std::errc{} || read.ptr != value.data() + value.size())
        return fail(Errc::kMalformed, std::format("etcd's key {}: is not an epoch", key));
    }
  }
  return {};
}

void EtcdLease::Worker::compare_and_tell(const Records& records) {
  if (service_ != ha::Link::kUp) {
    service_ = ha::Link::kUp;
    told_.clear();  // it may have been restored from a backup
    tell(ha::LeaseService{ha::Link::kUp, ""});
  }
  for (const auto& [address, record] : records) {
    const std::pair now{record.holder, record.told()};
    const auto before = told_.find(address);
    if (before != told_.end() && before->second == now) continue;
    told_[address] = now;
    tell(ha::LeaseHolder{address, now.first, now.second});
  }
}

// The first words (a connection that breaks off) are seldom what is wrong ten seconds later. Several etcds fail by
// turns.
void EtcdLease::Worker::tell_down(const std::string& why) {
  const bool news = service_ != ha::Link::kDown || (why != said_ && clock_.now() - said_at_ >= kSayAgain);
  if (!news) return;
  service_ = ha::Link::kDown;
  said_ = why;
  said_at_ = clock_.now();
  tell(ha::LeaseService{ha::Link::kDown, why});
}

asio::awaitable<void> EtcdLease::Worker::poll_loop(std::shared_ptr<Worker> self) {
  while (!self->stopped_) {
    const auto records = co_await self->read();
    if (self->stopped_) co_return;
    if (records) self->compare_and_tell(*records);
    if (!records) self->tell_down(records.error().describe());
    self->poll_timer_.expires_after(kPoll);
    co_await self->poll_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

// --- asking --------------------------------------------------------------------------------------------------------

json::object EtcdLease::Worker::transaction(const IpAddress& address, const Record& record, const Held& held) const {
  const auto unchanged = [](const std::string& key, std::int64_t revision) {
    return json::object{
        {"key", to_base64(key)}, {"target", "MOD"}, {"result", "EQUAL"}, {"mod_revision", std::to_string(revision)}};
  };
  const std::string value = std::format("{{\"instance\": {}, \"epoch\": {}}}", number(settings_.self), held.epoch);
  json::object put_lease{{"key", to_base64(lease_key(address))}, {"value", to_base64(value)}, {"lease", held.lease}};
  json::object put_epoch{{"key", to_base64(epoch_key(address))}, {"value", to_base64(std::to_string(held.epoch))}};
  return {{"compare", json::array{unchanged(lease_key(address), record.lease_rev),
                                  unchanged(epoch_key(address), record.epoch_rev)}},
          {"success", json::array{json::object{{"requestPut", std::move(put_lease)}},
                                  json::object{{"requestPut", std::move(put_epoch)}}}}};
}

/// kRefused: another was faster.
asio::awaitable<Result<EtcdLease::Worker::Held>> EtcdLease::Worker::grant(ha::AskLease question, Record record) {
  const auto lease = co_await client_.call("/v3/lease/grant", {{"TTL", std::to_string(settings_.etcd.ttl.count())}});
  if (!lease) co_return std::unexpected(lease.error());
  const ha::Epoch seen = std::max({question.above, record.highest, record.epoch});
  Held held{ha::next_epoch(seen, settings_.self), text_of(*lease, "ID")};
  if (held.lease.empty()) co_return fail(Errc::kMalformed, "etcd granted a lease without an ID");
  const auto done = co_await client_.call("/v3/kv/txn", transaction(question.address, record, held));
  if (!done) co_return std::unexpected(done.error());  // perhaps it is ours: not renewed, it ends by itself
  const json::value* succeeded = done->if_contains("succeeded");
  if (succeeded != nullptr && succeeded->is_bool() && succeeded->as_bool()) co_return held;
  (void)co_await client_.call("/v3/lease/revoke", {{"ID", held.lease}});
  co_return fail(Errc::kRefused, "another instance was faster");
}

asio::awaitable<void> EtcdLease::Worker::ask(std::shared_ptr<Worker> self, ha::AskLease question) {
  const IpAddress address = question.address;
  const auto records = co_await self->read();
  if (!records) co_return self->tell(ha::LeaseDenied{address, std::nullopt, 0});
  const auto found = records->find(address);
  const Record record = found != records->end() ? found->second : Record{};
  if (record.holder && record.epoch != question.succeeds)
    co_return self->tell(ha::LeaseDenied{address, record.holder, record.epoch});
  const MonoTime sent = self->clock_.now();
  auto held = co_await self->grant(question, record);
  if (!held) {
    log::info("ha", "lease of {}: {}", address, held.error().describe());
    co_return self->tell(ha::LeaseDenied{address, std::nullopt, 0});
  }
  self->held_[address] = *held;
  self->tell(ha::LeaseGranted{address, held->epoch, sent + believed(self->settings_.etcd.ttl)});
}

asio::awaitable<void> EtcdLease::Worker::drop(std::shared_ptr<Worker> self, ha::DropLease order) {
  const auto held = self->held_.find(order.address);
  if (held == self->held_.end() || held->second.epoch != order.epoch) co_return;
  const std::string lease = held->second.lease;
  self->held_.erase(held);
  // The key goes with it, unless it is attached to the next holder's lease already. Should this fail, it ends by
  // itself.
  (void)co_await self->client_.call("/v3/lease/revoke", {{"ID", lease}});
}

// --- renewing --------------------------------------------------------------------------------------------------------

/// False: no answer, to be tried again soon.
asio::awaitable<bool> EtcdLease::Worker::renew(IpAddress address, Held held) {
  const MonoTime sent = clock_.now();
  const auto answer = co_await client_.call("/v3/lease/keepalive", {{"ID", held.lease}});
  if (!answer) co_return false;
  const auto current = held_.find(address);
  if (current == held_.end() || current->second.epoch != held.epoch) co_return true;  // dropped meanwhile
  const json::value* result = answer->if_contains("result");
  const std::int64_t ttl = result != nullptr && result->is_object() ? number_of(result->as_object(), "TTL") : 0;
  if (ttl > 0) {
    tell(ha::LeaseRenewed{address, held.epoch, sent + believed(std::chrono::seconds(ttl))});
    co_return true;
  }
  held_.erase(current);
  tell(ha::LeaseLost{address, held.epoch});
  co_return true;
}

asio::awaitable<void> EtcdLease::Worker::renew_loop(std::shared_ptr<Worker> self) {
  const auto third = std::chrono::milliseconds(self->settings_.etcd.ttl) / 3;
  while (!self->stopped_) {
    bool answered = true;
    for (const auto& [address, held] : std::map(self->held_)) {
      if (self->stopped_) co_return;
      answered = co_await self->renew(address, held) && answered;
    }
    self->renew_timer_.expires_after(answered ? third : kPoll);
    co_await self->renew_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

// --- outside
// -----------------------------------------------------------------------------------------------------------

EtcdLease::EtcdLease(asio::io_context& io, const Clock& clock, std::function<void(const ha::Event&)> tell)
    : io_(io), clock_(clock), tell_(std::move(tell)) {}

EtcdLease::~EtcdLease() { stop(); }

Status EtcdLease::start(Settings settings) {
  stop();
  GW_TRY_ASSIGN(EtcdClient client, EtcdClient::make(settings.etcd));
  worker_ = std::make_shared<Worker>(*this, std::move(settings), std::move(client));
  asio::co_spawn(io_, Worker::poll_loop(worker_), kEndOnException);
  asio::co_spawn(io_, Worker::renew_loop(worker_), kEndOnException);
  return {};
}

void EtcdLease::stop() {
  if (worker_) worker_->stop();
  worker_.reset();
}

void EtcdLease::ask(const ha::AskLease& question) {
  if (worker_) asio::co_spawn(io_, Worker::ask(worker_, question), kEndOnException);
}

void EtcdLease::drop(const ha::DropLease& order) {
  if (worker_) asio::co_spawn(io_, Worker::drop(worker_, order), kEndOnException);
}

}  // namespace gw::gwd::sync
