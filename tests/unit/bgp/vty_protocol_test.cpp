#include "bgp/vty_protocol.hpp"

#include <gtest/gtest.h>

namespace gw::bgp {
namespace {

using namespace std::string_literals;

TEST(VtyProtocol, CommandsEndWithNul) {
  std::string out;
  ASSERT_TRUE(append_command(out, "show version"));
  ASSERT_TRUE(append_command(out, Command("neighbor 192.0.2.1 password ", Secret("hunter2"))));
  EXPECT_EQ(out, "show version\0neighbor 192.0.2.1 password hunter2\0"s);
}

TEST(VtyProtocol, ALineBreakWouldBeASecondCommand) {
  std::string out;
  for (const char* text : {"a\nb", "a\rb"}) EXPECT_FALSE(append_command(out, text));
  EXPECT_FALSE(append_command(out, Command("a\0b"s)));
  const auto refused = append_command(out, Command("password ", Secret("x\nno router bgp")));
  ASSERT_FALSE(refused);
  EXPECT_FALSE(refused.error().message.contains("no router bgp"));
  EXPECT_TRUE(out.empty());
}

TEST(VtyProtocol, PrintableHidesTheSecret) {
  EXPECT_EQ(Command("neighbor 192.0.2.1 password ", Secret("hunter2")).printable(),
            "neighbor 192.0.2.1 password (secret)");
}

TEST(VtyReader, SplitAtAnyByte) {
  const std::string stream = "one\n\0\0\0\0"s + "\0\0\0\2"s + "% Unknown command\n\0\0\0\2"s;
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    VtyReader reader;
    std::vector<VtyReply> got;
    for (const std::string& part : {stream.substr(0, cut), stream.substr(cut)}) {
      reader.feed(part);
      while (auto reply = reader.next().value()) got.push_back(std::move(*reply));
    }
    ASSERT_EQ(got.size(), 3U) << cut;
    EXPECT_EQ(got[0].output, "one\n");
    EXPECT_TRUE(got[0].ok());
    EXPECT_EQ(got[1].output, "");
    EXPECT_EQ(got[1].status, kVtyNoMatch);
    EXPECT_EQ(got[2].output, "% Unknown command\n");
  }
}

TEST(VtyReader, OutputIsBounded) {
  VtyReader reader(100);
  reader.feed(std::string(101, 'x'));
  EXPECT_EQ(reader.next().error().code, Errc::kLimit);
}

}  // namespace
}  // namespace gw::bgp
