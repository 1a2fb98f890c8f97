// The store of revisions: what it keeps through reopening, kill -9 and damage.
#include "gwd/config/revisions.hpp"

#include <gmock/gmock.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using namespace std::chrono_literals;

const WallTime kNow{std::chrono::seconds(1'700'000'000)};

NewRevision apply(const std::string& document) {
  return {.document = document,
          .file = "/etc/gw/gateway.yaml",
          .comment = "because",
          .origin = Origin::kApply,
          .applied = kNow,
          .confirm_deadline = {}};
}
NewRevision apply_unless_confirmed(const std::string& document) {
  NewRevision revision = apply(document);
  revision.confirm_deadline = kNow + 5min;
  return revision;
}

class Revisions : public testing::Test {
 protected:
  RevisionStore open() { return std::move(RevisionStore::open(path_)).value(); }
  TempDir dir_;
  std::string path_ = dir_.file("gwd.db");
};

TEST_F(Revisions, AnEmptyStoreHasNothing) {
  RevisionStore store = open();
  EXPECT_FALSE(store.running().value());
  EXPECT_FALSE(store.pending().value());
  EXPECT_TRUE(store.list().value().empty());
  EXPECT_EQ(store.get(1).error().message, "there is no revision 1: nothing was applied yet");
  EXPECT_EQ(store.before_running().error().code, Errc::kNotFound);
  EXPECT_EQ(store.confirm().error().code, Errc::kNotFound);
}

TEST_F(Revisions, AreNumberedAndSurviveReopening) {
  {
    RevisionStore store = open();
    EXPECT_EQ(store.commit(apply("one")).value(), 1U);
    EXPECT_EQ(store.commit(apply("two")).value(), 2U);
  }
  RevisionStore store = open();
  const Revision running = store.running().value().value();
  EXPECT_EQ(running.number, 2U);
  EXPECT_EQ(running.document, "two");
  EXPECT_EQ(running.file, "/etc/gw/gateway.yaml");
  EXPECT_EQ(running.comment, "because");
  EXPECT_EQ(running.origin, Origin::kApply);
  EXPECT_EQ(running.applied, kNow);
  EXPECT_TRUE(running.running);
  const Revision before = store.before_running().value();
  EXPECT_EQ(before.document, "one");
  EXPECT_FALSE(before.running);
  EXPECT_EQ(store.get(3).error().message, "there is no revision 3, only 1 to 2");
  const std::vector<Revision> all = store.list().value();
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].number, 2U);
  EXPECT_TRUE(all[0].document.empty());
}

TEST_F(Revisions, AnyTextIsKeptAsItIs) {
  const std::string nasty = "'; DROP TABLE revision; --\n\"\xc3\xa9\"";
  RevisionStore store = open();
  const std::uint32_t number = store.commit(apply(nasty)).value();
  EXPECT_EQ(store.get(number).value().document, nasty);
}

TEST_F(Revisions, PendingConfirmationSurvivesARestart) {
  {
    RevisionStore store = open();
    ASSERT_TRUE(store.commit(apply("good")));
    ASSERT_TRUE(store.commit(apply_unless_confirmed("daring")));
  }
  RevisionStore store = open();
  const PendingConfirm pending = store.pending().value().value();
  EXPECT_EQ(pending.revision, 2U);
  EXPECT_EQ(pending.previous, 1U);
  EXPECT_EQ(pending.deadline, kNow + 5min);
  EXPECT_TRUE(store.confirm());
  EXPECT_FALSE(open().pending().value());
}

TEST_F(Revisions, AReturnEndsThePendingState) {
  RevisionStore store = open();
  ASSERT_TRUE(store.commit(apply("good")));
  ASSERT_TRUE(store.commit(apply_unless_confirmed("daring")));
  NewRevision back = apply("good");
  back.origin = Origin::kAutoRollback;
  EXPECT_EQ(store.commit(back).value(), 3U);
  EXPECT_FALSE(store.pending().value());
  EXPECT_EQ(store.running().value()->origin, Origin::kAutoRollback);
}

TEST_F(Revisions, TwoUnconfirmedInARowGoBackToTheConfirmedOne) {
  RevisionStore store = open();
  ASSERT_TRUE(store.commit(apply("good")));
  ASSERT_TRUE(store.commit(apply_unless_confirmed("daring")));
  ASSERT_TRUE(store.commit(apply_unless_confirmed("more daring")));
  EXPECT_EQ(store.pending().value()->previous, 1U);
  EXPECT_EQ(store.pending().value()->revision, 3U);
}

TEST_F(Revisions, TheFirstCannotWaitForAConfirmation) {
  RevisionStore store = open();
  EXPECT_EQ(store.commit(apply_unless_confirmed("first")).error().code, Errc::kInvalidArgument);
  EXPECT_TRUE(store.list().value().empty());
  EXPECT_EQ(store.commit(apply("first")).value(), 1U);
}

TEST_F(Revisions, HistoryIsBoundedButKeepsWhatAPendingOneReturnsTo) {
  RevisionStore store = open();
  ASSERT_TRUE(store.commit(apply("good")));
  for (std::size_t i = 0; i < kKeptRevisions + 20; ++i) ASSERT_TRUE(store.commit(apply_unless_confirmed("daring")));
  EXPECT_EQ(store.list().value().size(), kKeptRevisions + 1);
  EXPECT_EQ(store.get(1).value().document, "good");
  EXPECT_EQ(store.get(2).error().code, Errc::kNotFound);
  ASSERT_TRUE(store.confirm());
  ASSERT_TRUE(store.commit(apply("later")));
  EXPECT_EQ(store.list().value().size(), kKeptRevisions);
}

TEST_F(Revisions, TheFileIsTheOwnersAlone) {
  RevisionStore store = open();
  ASSERT_TRUE(store.commit(apply("one")));
  for (const std::string& name : {path_, path_ + "-wal"}) {
    struct stat st{};
    ASSERT_EQ(::stat(name.c_str(), &st), 0) << name;
    EXPECT_EQ(st.st_mode & 0777U, 0600U) << name;
  }
}

// What commit() returned for is there after the process is killed at any moment afterwards.
TEST_F(Revisions, CommittedSurvivesKill) {
  ASSERT_TRUE(open().commit(apply("one")));
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe(pipe_ends.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = RevisionStore::open(path_);
    for (int i = 0; store && i < 100'000; ++i) {
      const auto number = store->commit(apply("from the child"));
      if (!number || ::write(pipe_ends[1], &*number, sizeof *number) < 0) break;
    }
    ::_exit(1);
  }
  ::close(pipe_ends[1]);
  std::uint32_t acknowledged = 0;
  while (acknowledged < 30)
    ASSERT_EQ(::read(pipe_ends[0], &acknowledged, sizeof acknowledged), static_cast<ssize_t>(sizeof acknowledged));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (std::uint32_t number = 0; ::read(pipe_ends[0], &number, sizeof number) == static_cast<ssize_t>(sizeof number);)
    acknowledged = number;
  ::close(pipe_ends[0]);
  RevisionStore store = open();
  const Revision running = store.running().value().value();
  EXPECT_GE(running.number, acknowledged);
  EXPECT_LE(running.number, acknowledged + 1);  // at most the one that was not acknowledged yet
  EXPECT_EQ(running.document, "from the child");
  EXPECT_EQ(store.commit(apply("next")).value(), running.number + 1);
}

// A gateway whose disk is full goes on with what it has, also after its restart. A limit in the disk's place: no file
// may grow.
TEST_F(Revisions, AFullDiskTakesNothingAwayAndNothingMore) {
  ASSERT_TRUE(open().commit(apply("one")));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full{.rlim_cur = 0, .rlim_max = before.rlim_max};
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  auto store = RevisionStore::open(path_);
  const std::string running = store ? store->running().value()->document : store.error().message;
  const bool committed = store && store->commit(apply("two"));
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(running, "one");
  EXPECT_FALSE(committed);
  ASSERT_TRUE(store);
  EXPECT_EQ(store->commit(apply("two")).value(), 2U);  // room was made
}

TEST_F(Revisions, WhatIsNoDatabaseIsNamed) {
  dir_.write("gwd.db", std::string(8192, 'x'));
  EXPECT_EQ(RevisionStore::open(path_).error().message,
            path_ + " is not usable: file is not a database; move it away to start with an empty history");
}

TEST_F(Revisions, ADamagedDatabaseIsNamedNotUsed) {
  {
    RevisionStore store = open();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(store.commit(apply(std::string(4000, 'd'))));
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(64 * 1024, '\xff');
  file.close();
  const auto store = RevisionStore::open(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::kIo);
  EXPECT_THAT(store.error().message, testing::StartsWith(path_ + " is not usable: "));
}

TEST_F(Revisions, AnotherProgramsDatabaseIsRefused) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "CREATE TABLE t (x)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  EXPECT_THAT(RevisionStore::open(path_).error().message, testing::HasSubstr("it is another program's database"));
}

// --- formats ------------------------------------------------------------------------------------------

void sql(const std::string& path, const std::string& text) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
  sqlite3_close(db);
}

// What a gwd of later than this one would leave behind.
void make_newer(const std::string& path) {
  sql(path, std::format("ALTER TABLE state ADD COLUMN of_the_future TEXT; PRAGMA user_version = {}", kStateFormat + 1));
}

TEST_F(Revisions, AnOlderFormatIsMigratedAndKept) {
  ASSERT_EQ(open().commit(apply("one")).value(), 1U);
  sql(path_, "ALTER TABLE state DROP COLUMN serial; PRAGMA user_version = 1");
  {
    RevisionStore store = open();
    EXPECT_EQ(store.running().value()->document, "one");
    EXPECT_EQ(store.serial().value(), 0U);
    ASSERT_EQ(store.commit(apply("two")).value(), 2U);
  }
  struct stat kept{};
  ASSERT_EQ(::stat((path_ + ".format1").c_str(), &kept), 0);
  EXPECT_EQ(kept.st_mode & 0777U, 0600U);
  // It is a whole store of format 1: opened in its turn, it is migrated.
  RevisionStore of_before = std::move(RevisionStore::open(path_ + ".format1")).value();
  EXPECT_EQ(of_before.running().value()->document, "one");
}

TEST_F(Revisions, AnUpdateTakenBackGoesOnWithTheStoreOfBefore) {
  ASSERT_EQ(open().commit(apply("before the update")).value(), 1U);
  std::filesystem::copy_file(path_, path_ + std::format(".format{}", kStateFormat));
  ASSERT_EQ(open().commit(apply("under the newer one")).value(), 2U);
  make_newer(path_);
  for (int again = 0; again < 2; ++again) {
    RevisionStore store = open();
    EXPECT_EQ(store.running().value()->document, "before the update");
  }
  // What was newer is kept, whole.
  const std::string aside = path_ + std::format(".format{}", kStateFormat + 1);
  sql(aside, "UPDATE state SET of_the_future = 'there' WHERE (SELECT max(number) FROM revision) = 2");
  EXPECT_TRUE(std::filesystem::exists(aside));
  EXPECT_FALSE(std::filesystem::exists(path_ + std::format(".format{}", kStateFormat)));
}

TEST_F(Revisions, ANewerFormatWithoutACopyOfBeforeIsRefusedAndLeftAlone) {
  ASSERT_EQ(open().commit(apply("one")).value(), 1U);
  make_newer(path_);
  const auto store = RevisionStore::open(path_);
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message,
              testing::HasSubstr(std::format("it has format {}, this gwd knows {}, and there is no copy of before",
                                             kStateFormat + 1, kStateFormat)));
  sql(path_, "UPDATE state SET of_the_future = 'still there'");
}

TEST_F(Revisions, AMissingFolderIsNamed) {
  EXPECT_EQ(RevisionStore::open(dir_.file("no/gwd.db")).error().message,
            std::format("cannot open the revision store {}: No such file or directory", dir_.file("no/gwd.db")));
}

}  // namespace
}  // namespace gw::config
