// Runs one coroutine to its end on a test's io_context, with everything else that lives there.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>

namespace gw::test {

/// Throws if it takes longer than 30 s: a test never hangs.
template <class T>
T await(boost::asio::io_context& io, boost::asio::awaitable<T> operation) {
  std::optional<T> result;
  std::exception_ptr failure;
  boost::asio::co_spawn(io, std::move(operation), [&](std::exception_ptr error, T value) {
    failure = error;
    result.emplace(std::move(value));
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  io.restart();
  while (!result && std::chrono::steady_clock::now() < deadline) {
    if (io.run_one_for(std::chrono::seconds(1)) == 0) io.restart();
  }
  if (failure) std::rethrow_exception(failure);
  if (!result) throw std::runtime_error("operation did not end in 30 s");
  return std::move(*result);
}

/// Runs the io_context until the condition holds; false after `limit`.
inline bool run_until(boost::asio::io_context& io, const std::function<bool()>& condition,
                      std::chrono::milliseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  io.restart();
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    if (io.run_one_for(std::chrono::milliseconds(20)) == 0) io.restart();
  }
  return true;
}

}  // namespace gw::test
