#include "base/result.hpp"

#include <gtest/gtest.h>

namespace gw {
namespace {

Result<int> half(int v) {
  if (v % 2 != 0) return fail_field("v", "must be even", Errc::kInvalidArgument);
  return v / 2;
}

Result<int> quarter(int v) {
  GW_TRY_ASSIGN(const int h, half(v));
  return half(h);
}

TEST(Result, ErrorsPassThroughTryWithTheirOrigin) {
  EXPECT_EQ(*quarter(8), 2);
  const auto bad = quarter(6);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(bad.error().describe(), "v: must be even");
  EXPECT_NE(std::string_view(bad.error().where.function_name()).find("half"), std::string_view::npos);
}

TEST(Result, ErrnoKeepsTextAndTellsPermission) {
  EXPECT_EQ(fail_errno("open", ENOENT).error().message, "open: No such file or directory");
  EXPECT_EQ(fail_errno("open", ENOENT).error().code, Errc::kIo);
  EXPECT_EQ(fail_errno("bind", EACCES).error().code, Errc::kPermission);
}

TEST(Result, ContextGoesInFront) {
  EXPECT_EQ(fail(Errc::kIo, "refused").error().with_context("vici").message, "vici: refused");
}

}  // namespace
}  // namespace gw
