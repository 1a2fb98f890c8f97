// A look at every route that holds up nothing else: a few milliseconds of it at a time, BGP, BFD and the API in
// between. Thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstddef>

namespace gw::gwd {

/// About 3 ms on a slow core (benchmark routes-what-if: a million prefixes in one to three seconds).
inline constexpr std::size_t kSlicePrefixes = 1024;

/// `walk` has step(prefixes), as routes::WhatIfWalk and SurveyWalk.
template <class Walk>
boost::asio::awaitable<void> in_slices(Walk& walk) {
  while (walk.step(kSlicePrefixes)) co_await boost::asio::post(boost::asio::use_awaitable);
}

}  // namespace gw::gwd
