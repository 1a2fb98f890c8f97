#include "gwd/config/revisions.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <format>

#include "base/fd.hpp"
#include "base/log.hpp"

namespace gw::config {
namespace {

constexpr int kApplicationId = 0x67776472;  // "gwdr"
constexpr int kBusyMs = 2000;

constexpr std::string_view kSchema = R"sql(
CREATE TABLE revision (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  applied_ms INTEGER NOT NULL,
  origin TEXT NOT NULL,
  comment TEXT NOT NULL,
  file TEXT NOT NULL,
  document TEXT NOT NULL
) STRICT;
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  running INTEGER REFERENCES revision (number),
  pending_previous INTEGER REFERENCES revision (number),
  pending_deadline_ms INTEGER,
  serial INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO state (id) VALUES (1);
)sql";

// Format 1 had no serial.
constexpr std::string_view kFromFormat1 =
    "ALTER TABLE state ADD COLUMN serial INTEGER NOT NULL DEFAULT 0; PRAGMA user_version = 2";

constexpr std::array<std::string_view, 5> kOrigins{"start", "apply", "rollback", "auto-rollback", "sync"};

Origin origin_from(std::string_view text) {
  for (std::size_t i = 0; i < kOrigins.size(); ++i)
    if (kOrigins[i] == text) return static_cast<Origin>(i);
  return Origin::kApply;
}

std::int64_t to_ms(WallTime t) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}
WallTime from_ms(std::int64_t ms) { return WallTime(std::chrono::milliseconds(ms)); }

std::unexpected<Error> database_error(sqlite3* db, std::string_view what) {
  return fail(Errc::kIo, std::format("revision store: {}: {}", what, sqlite3_errmsg(db)));
}

// A prepared statement, its parameters bound in order.
class Statement {
 public:
  Statement(sqlite3* db, std::string_view sql) : db_(db) {
    prepared_ = sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr) == SQLITE_OK;
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value) {
    if (prepared_) prepared_ = sqlite3_bind_int64(statement_, ++bound_, value) == SQLITE_OK;
    return *this;
  }
  Statement& bind(std::string_view value) {
    if (prepared_)
      prepared_ = sqlite3_bind_text64(statement_, ++bound_, value.data(), value.size(), SQLITE_TRANSIENT,
                                      SQLITE_UTF8) == SQLITE_OK;
    return *this;
  }
  Statement& bind_null() {
    if (prepared_) prepared_ = sqlite3_bind_null(statement_, ++bound_) == SQLITE_OK;
    return *this;
  }

  /// True: there is a row. False: done.
  Result<bool> step() {
    const int rc = prepared_ ? sqlite3_step(statement_) : SQLITE_ERROR;
    if (rc == SQLITE_ROW) return true;
    if (rc == SQLITE_DONE) return false;
    return database_error(db_, rc == SQLITE_BUSY ? "another process holds it" : "the database refused");
  }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::uint32_t number(int column) const { return static_cast<std::uint32_t>(integer(column)); }
  bool is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::string text(int column) const {
    const unsigned char* data = sqlite3_column_text(statement_, column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
    return data == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(data), size);
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  bool prepared_ = false;
  int bound_ = 0;
};

Status execute(sqlite3* db, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return database_error(db, "the database refused");
}

Result<std::int64_t> one_integer(sqlite3* db, std::string_view sql) {
  Statement statement(db, sql);
  GW_TRY_ASSIGN(const bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

// BEGIN ... COMMIT; rolled back unless commit() succeeded.
class Transaction {
 public:
  static Result<Transaction> begin(sqlite3* db) {
    GW_TRY(execute(db, "BEGIN IMMEDIATE"));
    return Transaction(db);
  }
  Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction() {
    if (db_ != nullptr) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
  Status commit() {
    GW_TRY(execute(db_, "COMMIT"));
    db_ = nullptr;
    return {};
  }

 private:
  explicit Transaction(sqlite3* db) : db_(db) {}
  sqlite3* db_;
};

std::unexpected<Error> unusable(const std::string& path, std::string_view why) {
  return fail(Errc::kIo, std::format("{} is not usable: {}; move it away to start with an empty history", path, why));
}

// What was kept of the file when it had that format.
std::string kept(const std::string& path, std::int64_t format) { return std::format("{}.format{}", path, format); }

std::unexpected<Error> newer_than_ours(const std::string& path, std::int64_t format) {
  return unusable(path, std::format("it has format {}, this gwd knows {}, and there is no copy of before ({}); start "
                                    "the newer version again",
                                    format, kStateFormat, kept(path, kStateFormat)));
}

// The update that made `path` newer was taken back: the copy of before is the store again. In two steps, each of which
// leaves a store that can be used at `path`.
Status take_kept(const std::string& path, std::int64_t newer) {
  const std::string copy = kept(path, kStateFormat);
  const std::string aside = kept(path, newer);
  std::error_code error;
  if (!std::filesystem::exists(copy, error)) return newer_than_ours(path, newer);
  if (const auto wal = std::filesystem::file_size(path + "-wal", error); !error && wal != 0)
    return unusable(path, std::format("{}-wal was not written back", path));
  ::unlink(aside.c_str());
  if (::link(path.c_str(), aside.c_str()) != 0 || ::rename(copy.c_str(), path.c_str()) != 0)
    return fail_errno(std::format("cannot put {} back in place of {}", copy, path));
  ::unlink((path + "-wal").c_str());
  ::unlink((path + "-shm").c_str());
  log::warning("config",
               "{} had format {}, of a newer gwd: the store of before it is in force again; the newer one is {}", path,
               newer, aside);
  return {};
}

constexpr std::string_view kColumns =
    "SELECT number, applied_ms, origin, comment, file, document, number IS (SELECT running FROM state) FROM revision ";

Revision read_revision(const Statement& row) {
  return {.number = row.number(0),
          .applied = from_ms(row.integer(1)),
          .origin = origin_from(row.text(2)),
          .comment = row.text(3),
          .running = row.integer(6) != 0,
          .file = row.text(4),
          .document = row.text(5)};
}

}  // namespace

std::string_view to_string(Origin origin) { return kOrigins[static_cast<std::size_t>(origin)]; }

void RevisionStore::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }
RevisionStore::RevisionStore(std::unique_ptr<sqlite3, Close> db) : db_(std::move(db)) {}
RevisionStore::RevisionStore(RevisionStore&&) noexcept = default;
RevisionStore& RevisionStore::operator=(RevisionStore&&) noexcept = default;
RevisionStore::~RevisionStore() = default;

Result<RevisionStore> RevisionStore::open(const std::string& path) {
  auto store = open_file(path, Readers::kShared);
  if (!store) return std::unexpected(std::move(store).error());
  auto format = store->format(path);
  if (!format && store->had_no_room()) {  // what runs can be read without any
    store = open_file(path, Readers::kAlone);
    if (!store) return std::unexpected(std::move(store).error());
    format = store->format(path);
  }
  if (!format) return std::unexpected(std::move(format).error());
  if (*format > kStateFormat) {
    const std::int64_t newer = *format;
    store->db_.reset();  // what is in the WAL goes into the file
    if (auto back = take_kept(path, newer); !back) return std::unexpected(std::move(back).error());
    store = open_file(path, Readers::kShared);
    if (!store) return std::unexpected(std::move(store).error());
  }
  if (auto ready = store->prepare_schema(path); !ready) return std::unexpected(std::move(ready).error());
  return std::move(*store);
}

Result<RevisionStore> RevisionStore::open_file(const std::string& path, Readers readers) {
  // SQLite would make the file with the umask's mode, and gives -wal and -shm that of the file.
  if (const Fd made(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)); !made)
    return fail_errno(std::format("cannot open the revision store {}", path));
  sqlite3* raw = nullptr;
  const int rc =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  std::unique_ptr<sqlite3, Close> db(raw);
  if (rc != SQLITE_OK) return unusable(path, raw == nullptr ? "out of memory" : sqlite3_errmsg(raw));
  sqlite3_busy_timeout(raw, kBusyMs);
  if (readers == Readers::kAlone && !execute(raw, "PRAGMA locking_mode = EXCLUSIVE"))
    return unusable(path, sqlite3_errmsg(raw));
  return RevisionStore(std::move(db));
}

bool RevisionStore::had_no_room() const {
  const int code = sqlite3_errcode(db_.get()) & 0xff;
  return code == SQLITE_IOERR || code == SQLITE_FULL;  // a disk that fails altogether fails once more
}

Result<std::int64_t> RevisionStore::format(const std::string& path) {
  sqlite3* db = db_.get();
  if (!execute(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"))
    return unusable(path, sqlite3_errmsg(db));
  Statement check(db, "PRAGMA quick_check(1)");
  const auto row = check.step();
  if (!row) return unusable(path, sqlite3_errmsg(db));
  if (*row && check.text(0) != "ok") return unusable(path, check.text(0));
  const auto application = one_integer(db, "PRAGMA application_id");
  const auto version = one_integer(db, "PRAGMA user_version");
  const auto tables = one_integer(db, "SELECT count(*) FROM sqlite_master");
  if (!application || !version || !tables) return unusable(path, sqlite3_errmsg(db));
  if (*application == kApplicationId && *version > 0) return *version;
  if (*tables != 0) return unusable(path, "it is another program's database");
  return 0;
}

Status RevisionStore::prepare_schema(const std::string& path) {
  GW_TRY_ASSIGN(const std::int64_t found, format(path));
  if (found == kStateFormat) return {};
  if (found > kStateFormat) return newer_than_ours(path, found);
  if (found != 0) return migrate(path, found);
  sqlite3* db = db_.get();
  GW_TRY_ASSIGN(Transaction transaction, Transaction::begin(db));
  GW_TRY(execute(db, std::string(kSchema)));
  GW_TRY(
      execute(db, std::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplicationId, kStateFormat)));
  return transaction.commit();
}

Status RevisionStore::migrate(const std::string& path, std::int64_t from) {
  // Whoever takes this update back needs what was before it.
  const std::string copy = kept(path, from);
  const std::string part = copy + ".part";
  ::unlink(part.c_str());
  Statement vacuum(db_.get(), "VACUUM INTO ?");
  GW_TRY(vacuum.bind(part).step());
  const Fd file(::open(part.c_str(), O_RDWR | O_CLOEXEC));
  if (!file || ::fchmod(file.get(), 0600) != 0 || ::fsync(file.get()) != 0 || ::rename(part.c_str(), copy.c_str()) != 0)
    return fail_errno(std::format("cannot keep a copy of {} as {}", path, copy));
  GW_TRY_ASSIGN(Transaction migration, Transaction::begin(db_.get()));
  GW_TRY(execute(db_.get(), std::string(kFromFormat1)));
  GW_TRY(migration.commit());
  log::info("config", "{} has format {} now; as it was before: {}", path, kStateFormat, copy);
  return {};
}

Result<std::uint32_t> RevisionStore::commit(const NewRevision& revision) {
  sqlite3* db = db_.get();
  GW_TRY_ASSIGN(Transaction transaction, Transaction::begin(db));
  GW_TRY_ASSIGN(const std::int64_t running, one_integer(db, "SELECT coalesce(running, 0) FROM state"));
  GW_TRY_ASSIGN(const std::int64_t fallback,
                one_integer(db, "SELECT coalesce(pending_previous, running, 0) FROM state"));
  if (revision.confirm_deadline && running == 0)
    return fail_field("confirm", "there is no revision to go back to: apply the first one without confirmation");
  Statement insert(db, "INSERT INTO revision (applied_ms, origin, comment, file, document) VALUES (?, ?, ?, ?, ?)");
  GW_TRY(insert.bind(to_ms(revision.applied))
             .bind(to_string(revision.origin))
             .bind(revision.comment)
             .bind(revision.file)
             .bind(revision.document)
             .step());
  const std::int64_t number = sqlite3_last_insert_rowid(db);
  GW_TRY_ASSIGN(const std::int64_t last_serial, one_integer(db, "SELECT serial FROM state"));
  Statement state(db, "UPDATE state SET running = ?, pending_previous = ?, pending_deadline_ms = ?, serial = ?");
  state.bind(number);
  if (revision.confirm_deadline)
    state.bind(fallback).bind(to_ms(*revision.confirm_deadline));
  else
    state.bind_null().bind_null();
  state.bind(revision.serial ? static_cast<std::int64_t>(*revision.serial) : last_serial + 1);
  GW_TRY(state.step());
  Statement prune(db, "DELETE FROM revision WHERE number <= ? AND number IS NOT (SELECT pending_previous FROM state)");
  GW_TRY(prune.bind(number - static_cast<std::int64_t>(kKeptRevisions)).step());
  GW_TRY(transaction.commit());
  return static_cast<std::uint32_t>(number);
}

Result<std::uint64_t> RevisionStore::serial() const {
  GW_TRY_ASSIGN(const std::int64_t serial, one_integer(db_.get(), "SELECT serial FROM state"));
  return static_cast<std::uint64_t>(serial);
}

Status RevisionStore::set_serial(std::uint64_t serial) {
  Statement update(db_.get(), "UPDATE state SET serial = ?");
  GW_TRY(update.bind(static_cast<std::int64_t>(serial)).step());
  return {};
}

Status RevisionStore::confirm() {
  Statement update(
      db_.get(),
      "UPDATE state SET pending_previous = NULL, pending_deadline_ms = NULL WHERE pending_previous IS NOT NULL");
  GW_TRY(update.step());
  if (sqlite3_changes(db_.get()) == 0) return fail(Errc::kNotFound, "no revision waits for a confirmation");
  return {};
}

Result<std::optional<PendingConfirm>> RevisionStore::pending() const {
  Statement row(db_.get(),
                "SELECT running, pending_previous, pending_deadline_ms FROM state WHERE pending_previous IS NOT NULL");
  GW_TRY_ASSIGN(const bool found, row.step());
  if (!found) return std::nullopt;
  return PendingConfirm{.revision = row.number(0), .previous = row.number(1), .deadline = from_ms(row.integer(2))};
}

Result<std::optional<Revision>> RevisionStore::running() const {
  Statement row(db_.get(), std::string(kColumns) + "WHERE number = (SELECT running FROM state)");
  GW_TRY_ASSIGN(const bool found, row.step());
  if (!found) return std::nullopt;
  return read_revision(row);
}

Result<Revision> RevisionStore::get(std::uint32_t number) const {
  Statement row(db_.get(), std::string(kColumns) + "WHERE number = ?");
  row.bind(static_cast<std::int64_t>(number));
  GW_TRY_ASSIGN(const bool found, row.step());
  if (found) return read_revision(row);
  Statement range(db_.get(), "SELECT min(number), max(number) FROM revision");
  GW_TRY_ASSIGN(const bool any, range.step());
  if (!any || range.is_null(0))
    return fail(Errc::kNotFound, std::format("there is no revision {}: nothing was applied yet", number));
  return fail(Errc::kNotFound,
              std::format("there is no revision {}, only {} to {}", number, range.integer(0), range.integer(1)));
}

Result<Revision> RevisionStore::before_running() const {
  Statement row(db_.get(),
                std::string(kColumns) + "WHERE number < (SELECT running FROM state) ORDER BY number DESC LIMIT 1");
  GW_TRY_ASSIGN(const bool found, row.step());
  if (!found) return fail(Errc::kNotFound, "there is no revision before the running one");
  return read_revision(row);
}

Result<std::vector<Revision>> RevisionStore::list() const {
  Statement row(db_.get(),
                "SELECT number, applied_ms, origin, comment, file, '', number IS (SELECT running FROM state) FROM "
                "revision ORDER BY number DESC");
  std::vector<Revision> out;
  while (true) {
    GW_TRY_ASSIGN(const bool found, row.step());
    if (!found) return out;
    out.push_back(read_revision(row));
  }
}

}  // namespace gw::config
