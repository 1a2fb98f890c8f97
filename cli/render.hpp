// The API's messages as text for people. Pure: no terminal, no clock, no socket; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.hpp"
#include "cli/text.hpp"
#include "gw/api/v1/api.pb.h"

namespace gw::cli {

namespace api = ::gw::api::v1;

enum class Detail : std::uint8_t { kShort, kLong };

struct View {
  WallTime now;  // for "up since"
  Style style = Style::kPlain;
  Detail detail = Detail::kShort;
};

std::string render(const api::StatusReply& reply, const View& view);
std::string render(const api::TunnelsReply& reply, const View& view);
std::string render(const api::SasReply& reply, const View& view);
std::string render(const api::BgpPeersReply& reply, const View& view);
std::string render(const api::BgpRoutesReply& reply, const View& view);
std::string render(const api::RoutesReply& reply, const View& view);
std::string render(const api::WhatIfReply& reply, const View& view);
std::string render(const api::CountersReply& reply, const View& view);
std::string render(const api::TraceReply& reply, const View& view);
std::string render(const api::WorkersReply& reply, const View& view);
std::string render(const api::InterfacesReply& reply, const View& view);
std::string render(const api::MemoryReply& reply, const View& view);
std::string render(const api::RevisionsReply& reply, const View& view);

/// "file:line:col: field: message (expected ...)"; warnings say so.
std::string render(const api::Finding& finding);
/// Findings, then the message; one line each.
std::string render(const api::ErrorReply& reply);
/// One line a change, in colour; "no changes" if there are none.
std::string render_changes(const api::ConfigReply& reply, const View& view);

// For --check: everything that should be up is.
bool all_up(const api::StatusReply& reply);
bool all_up(const api::TunnelsReply& reply);
bool all_up(const api::BgpPeersReply& reply);

}  // namespace gw::cli
