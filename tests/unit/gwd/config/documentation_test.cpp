// docs/configuration.md has a row for every key, and the examples are valid.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "gw/config/v1/config.pb.h"
#include "tests/unit/gwd/config/fixture.hpp"

namespace gw::config {
namespace {

using testing::IsEmpty;

class Example : public testing::TestWithParam<const char*> {};

TEST_P(Example, IsValid) {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("secrets"));
  for (const char* name : {"paris-ce1", "paris-ce2", "lyon", "paris", "hub-west"})
    dir.write(std::format("secrets/{}.psk", name), "x\n");
  std::ifstream file(std::format("docs/examples/{}.yaml", GetParam()));
  std::stringstream text;
  text << file.rdbuf();
  ASSERT_FALSE(text.str().empty());
  EXPECT_THAT(findings_of(text.str(), dir.path()), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, Example,
                         testing::Values("gateway", "pair", "pair-bgp", "coexistence", "er-pair", "vpn-pair"));

// How often each key stands in the schema: once for every message that has it.
void count_keys(const google::protobuf::Descriptor& type, std::set<std::string>& seen,
                std::map<std::string, std::size_t>& keys) {
  if (!seen.insert(type.full_name()).second) return;
  for (int i = 0; i < type.field_count(); ++i) {
    const auto& field = *type.field(i);
    if (type.map_key() == nullptr) ++keys[field.name()];
    if (field.message_type() != nullptr) count_keys(*field.message_type(), seen, keys);
  }
}

TEST(Documentation, HasARowForEveryKey) {
  std::ifstream file("docs/configuration.md");
  std::map<std::string, std::size_t> rows;
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("| `")) ++rows[line.substr(3, line.find('`', 3) - 3)];
  std::set<std::string> seen;
  std::map<std::string, std::size_t> keys;
  count_keys(*v1::Config::descriptor(), seen, keys);
  EXPECT_EQ(rows, keys);
}

}  // namespace
}  // namespace gw::config
