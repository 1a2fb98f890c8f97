// The completion script in a real bash: what follows a half-typed line.
#include <gmock/gmock.h>

#include <array>
#include <cstdio>
#include <format>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace gw::cli {
namespace {

std::string shell(const std::string& script) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(std::format("bash -c '{}' 2>&1", script).c_str(), "r"),
                                                   ::pclose);
  std::string out;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) out += buffer.data();
  return out;
}

// The last word is the one being completed.
std::vector<std::string> complete(const std::string& words) {
  const std::string out =
      shell(std::format("source <({} completion bash); COMP_WORDS=({}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
                        "_gwctl; echo \"${{COMPREPLY[@]}}\"",
                        GWCTL_PATH, words));
  std::istringstream in(out);
  std::vector<std::string> result;
  for (std::string word; in >> word;) result.push_back(word);
  return result;
}

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

TEST(Completion, Commands) {
  EXPECT_THAT(complete("gwctl \"\""),
              IsSupersetOf({"status", "show", "validate", "apply", "confirm", "rollback", "diff", "completion"}));
  EXPECT_THAT(complete("gwctl sh"), ElementsAre("show"));
  EXPECT_THAT(complete("gwctl show c"), ElementsAre("counters", "config"));
  EXPECT_THAT(complete("gwctl --json show bgp l"), ElementsAre("learned"));
  EXPECT_THAT(complete("gwctl completion \"\""), IsSupersetOf({"bash", "zsh"}));
}

TEST(Completion, Options) {
  EXPECT_THAT(complete("gwctl apply --co"), ElementsAre("--confirm", "--comment"));
  EXPECT_THAT(complete("gwctl show tunnels --"), IsSupersetOf({"--watch", "--check", "--json", "--socket"}));
  EXPECT_THAT(complete("gwctl show counters --"), Not(Contains("--check")));
  EXPECT_THAT(complete("gwctl apply --confirm \"\""), IsEmpty());
}

TEST(Completion, Files) {
  EXPECT_THAT(complete("gwctl apply -f docs/examples/gate"), ElementsAre("docs/examples/gateway.yaml"));
  EXPECT_THAT(complete("gwctl validate docs/examples/gate"), ElementsAre("docs/examples/gateway.yaml"));
  EXPECT_THAT(complete("gwctl confirm docs/examples/gate"), IsEmpty());
}

TEST(Completion, TheZshScriptLoadsBashCompletion) {
  EXPECT_THAT(shell(std::string(GWCTL_PATH) + " completion zsh"), testing::HasSubstr("bashcompinit"));
}

}  // namespace
}  // namespace gw::cli
