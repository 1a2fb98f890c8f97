// gwd's part of a support bundle: the snapshot, the document, what bgpd runs, the last log lines. Whatever goes in is
// searched for every secret that gwd knows. Thread: control.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "gwd/api/snapshot.hpp"

namespace gw::gwd {

boost::asio::awaitable<api::SupportReply> make_support_reply(SnapshotSources sources);

}  // namespace gw::gwd
