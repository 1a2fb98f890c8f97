// ConfigService, where the gateway has two instances: what ConfigSync asks of it, and the operator's commands that wait
// for the other instance's answer.
#include <openssl/evp.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/log.hpp"
#include "gwd/control/config_service.hpp"

namespace gw::gwd {
namespace asio = boost::asio;
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kTick{1};

std::string sha256(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) return {};
  return {reinterpret_cast<const char*>(digest.data()), size};
}

// A command that waits: the timer is cancelled when the answer is there. ConfigSync has its own time-outs.
struct Waiting {
  explicit Waiting(asio::io_context& io) : timer(io, std::chrono::minutes(1)) {}
  asio::steady_timer timer;
  std::optional<ConfigResult<ConfigOutcome>> result;
};

}  // namespace

// Files beside gateway.yaml are beside the other instance's, whatever its folder is called.
ConfigDocument ConfigService::localized(const ConfigDocument& document) const {
  if (fs::path(document.file).is_absolute()) return document;
  return {document.text, (fs::path(config_file_).parent_path() / document.file).string()};
}

ConfigSync::Ports ConfigService::sync_ports() {
  ConfigSync::Ports ports;
  ports.send = [this](const ConfigSync::Message& message) {
    if (!send_) return;
    ConfigSync::Message out = message;
    if (out.has_proposal() && fs::path(out.proposal().file()).parent_path() == fs::path(config_file_).parent_path())
      out.mutable_proposal()->set_file(fs::path(out.proposal().file()).filename().string());
    send_(out.SerializeAsString());
  };
  ports.state = [this] {
    ConfigSync::State out;
    const auto serial = store_.serial();
    const auto stored = store_.running();
    if (!serial || !stored || !*stored) return out;
    out.set_serial(*serial);
    out.set_hash(sha256((*stored)->document));
    return out;
  };
  ports.check = [this](const ConfigDocument& document) -> ConfigResult<void> {
    auto fits = validate(localized(document));
    if (!fits) return std::unexpected(std::move(fits.error()));
    return {};
  };
  ports.commit = [this](const ConfigDocument& document, const ApplyOptions& options) {
    return apply(localized(document), options);
  };
  ports.running = [this]() -> std::optional<ConfigSync::Ports::Running> {
    const auto stored = store_.running();
    if (!stored || !*stored) return std::nullopt;
    return ConfigSync::Ports::Running{{(*stored)->document, (*stored)->file}, (*stored)->comment, confirm_left()};
  };
  ports.confirm = [this] { return confirm_here(); };
  ports.set_serial = [this](std::uint64_t serial) {
    if (const auto done = store_.set_serial(serial); !done) log::error("config", "{}", done.error().describe());
  };
  return ports;
}

void ConfigService::on_peer_message(std::string_view payload) {
  ConfigSync::Message message;
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    log::error("config", "the other instance's words about the configuration do not parse");
    return;
  }
  sync_.on_message(message);
  arm_sync_timer();
}

void ConfigService::arm_sync_timer() {
  sync_timer_.expires_after(kTick);
  sync_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    sync_.tick();
    arm_sync_timer();
  });
}

asio::awaitable<ConfigResult<ConfigOutcome>> ConfigService::apply_on_both(ConfigDocument document,
                                                                          ApplyOptions options) {
  if (!send_ || sync_.peer().empty()) co_return apply(document, options);
  // Nothing to ask about: what runs is what the document says, on both.
  if (auto fits = validate(document); fits && fits->changes.empty() && options.confirm_within.count() == 0 &&
                                      confirm_left().count() == 0 && sync_.alarm().empty())
    co_return apply(document, options);
  const auto waiting = std::make_shared<Waiting>(io_);
  arm_sync_timer();
  sync_.propose(document, options, [waiting](ConfigResult<ConfigOutcome> result) {
    waiting->result = std::move(result);
    waiting->timer.cancel();
  });
  if (!waiting->result) co_await waiting->timer.async_wait(asio::as_tuple(asio::use_awaitable));
  if (!waiting->result)
    co_return std::unexpected(ConfigFailure{
        Error{Errc::kTimeout, "no answer of the other instance", {}, std::source_location::current()}, {}});
  co_return std::move(*waiting->result);
}

asio::awaitable<ConfigResult<ConfigOutcome>> ConfigService::rollback_on_both(std::uint32_t number,
                                                                             ApplyOptions options) {
  if (!send_ || sync_.peer().empty()) co_return rollback(number);
  const auto target = number == 0 ? store_.before_running() : store_.get(number);
  if (!target) co_return std::unexpected(ConfigFailure{target.error(), {}});
  options.comment = std::format("rollback to revision {}", target->number);
  options.origin = config::Origin::kRollback;
  co_return co_await apply_on_both({target->document, target->file}, std::move(options));
}

}  // namespace gw::gwd
