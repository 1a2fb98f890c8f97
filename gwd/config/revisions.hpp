// The store of applied documents: numbered revisions and a pending confirmation, in SQLite (WAL,
// synchronous=FULL: what commit() returned for survives kill -9 and power loss). Documents reference secrets
// by path, so the store holds none. Owned by one thread; calls may wait for the disk (an fsync).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"

struct sqlite3;

namespace gw::config {

inline constexpr std::size_t kKeptRevisions = 200;
/// Of the file; also in an update's bundle, so that an older one is noticed before it is written (ADR 21).
inline constexpr int kStateFormat = 2;

enum class Origin : std::uint8_t { kStart, kApply, kRollback, kAutoRollback, kSync };
std::string_view to_string(Origin origin);  // "start", "apply", "rollback", "auto-rollback", "sync"

struct Revision {
  std::uint32_t number = 0;
  WallTime applied;
  Origin origin = Origin::kApply;
  std::string comment;
  bool running = false;
  std::string file;      // the document's path: secret files are relative to its folder
  std::string document;  // empty in list()
};

/// Unless confirmed before the deadline, `previous` is to be applied again.
struct PendingConfirm {
  std::uint32_t revision = 0;
  std::uint32_t previous = 0;
  WallTime deadline;
};

struct NewRevision {
  std::string document;
  std::string file;
  std::string comment;
  Origin origin = Origin::kApply;
  WallTime applied;
  /// Set: the revision must be confirmed until then. The revision to return to is the last one that is
  /// confirmed. Not set: confirms what was pending. Refused (kInvalidArgument) for the first revision.
  std::optional<WallTime> confirm_deadline;
  /// The document's number among both instances'; not set: the next one.
  std::optional<std::uint64_t> serial;
};

class RevisionStore {
 public:
  /// Creates the file (0600) when absent. kIo with the path and what to do when it is no database of ours
  /// or damaged. An older format is migrated, after a copy of it was kept as PATH.formatN; a newer one (an update was
  /// taken back) gives way to the copy that was kept of ours, and is kept itself.
  static Result<RevisionStore> open(const std::string& path);
  RevisionStore(RevisionStore&&) noexcept;
  RevisionStore& operator=(RevisionStore&&) noexcept;
  ~RevisionStore();

  /// Stores the document as the running revision, in one transaction; returns its number.
  Result<std::uint32_t> commit(const NewRevision& revision);
  /// kNotFound when nothing is pending.
  Status confirm();
  Result<std::optional<PendingConfirm>> pending() const;

  /// Which of two instances has the newer document: grows with every commit on either. 0: none yet.
  Result<std::uint64_t> serial() const;
  Status set_serial(std::uint64_t serial);

  Result<std::optional<Revision>> running() const;
  /// kNotFound with the range of what there is.
  Result<Revision> get(std::uint32_t number) const;
  /// The newest revision before the running one: what `rollback` without a number goes to.
  Result<Revision> before_running() const;
  /// Newest first, without documents.
  Result<std::vector<Revision>> list() const;

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  explicit RevisionStore(std::unique_ptr<sqlite3, Close> db);
  /// Alone: the WAL's index, a file of 32 KiB that readers share, is in memory instead.
  enum class Readers : std::uint8_t { kShared, kAlone };
  static Result<RevisionStore> open_file(const std::string& path, Readers readers);
  bool had_no_room() const;
  Status prepare_schema(const std::string& path);
  Status migrate(const std::string& path, std::int64_t from);
  /// The file's format; 0: none yet.
  Result<std::int64_t> format(const std::string& path);
  std::unique_ptr<sqlite3, Close> db_;
};

}  // namespace gw::config
