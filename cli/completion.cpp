#include "cli/completion.hpp"

#include <algorithm>
#include <format>
#include <set>

namespace gw::cli {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* sub) { return !sub->get_name().empty(); });
}

// Names of the options ("--file", "-f") that take a value or those that take none.
enum class Takes : std::uint8_t { kValue, kNothing };

std::vector<std::string> option_names(const CLI::App& app, Takes takes) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if ((option->get_expected_max() > 0) != (takes == Takes::kValue)) continue;
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : std::string(between)) + word;
  return out;
}

// What the script needs to know of the tree.
struct Tree {
  std::vector<std::string> paths;       // "gwctl show", "gwctl show bgp"
  std::string words;                    // case branches: the words that may follow a path
  std::set<std::string> file_options;   // options whose value is a file
  std::set<std::string> value_options;  // options with another value
};

bool names_a_file(const CLI::Option& option) {
  return option.get_type_name() == "FILE" || option.get_type_name() == "SOCKET";
}

void walk(const CLI::App& app, const std::string& path, Tree& tree) {
  tree.paths.push_back(path);
  std::vector<std::string> words;
  for (const CLI::App* sub : commands_of(app)) words.push_back(sub->get_name());
  for (const CLI::App* level = &app; level != nullptr; level = level->get_parent())
    for (const Takes takes : {Takes::kValue, Takes::kNothing})
      for (const std::string& name : option_names(*level, takes))
        if (name.starts_with("--") && !std::ranges::contains(words, name)) words.push_back(name);
  const bool files = std::ranges::any_of(app.get_options(),
                                         [](const CLI::Option* o) { return o->get_positional() && names_a_file(*o); });
  tree.words += std::format("    \"{}\") words=\"{}\"{} ;;\n", path, joined(words, " "), files ? " files=1" : "");
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_expected_max() == 0 || option->get_positional()) continue;
    auto& set = names_a_file(*option) ? tree.file_options : tree.value_options;
    for (const std::string& name : option->get_lnames()) set.insert("--" + name);
    for (const std::string& name : option->get_snames()) set.insert("-" + name);
  }
  for (const CLI::App* sub : commands_of(app)) walk(*sub, path + " " + sub->get_name(), tree);
}

std::string alternatives(const auto& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "\"" : "|\"") + word + "\"";
  return out;
}

}  // namespace

std::string completion_script(const CLI::App& app, Shell shell) {
  Tree tree;
  walk(app, app.get_name(), tree);
  std::string out = std::format("# {} completion; load it with: source <({} completion {})\n", app.get_name(),
                                app.get_name(), shell == Shell::kBash ? "bash" : "zsh");
  if (shell == Shell::kZsh) out += "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n";
  out += std::format(R"sh(_gwctl() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} path={} words="" files="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path ${{COMP_WORDS[i]}}" in
    {}) path="$path ${{COMP_WORDS[i]}}" ;;
    esac
  done
  case "$previous" in
    {}) COMPREPLY=($(compgen -f -- "$current")); return ;;
    {}) COMPREPLY=(); return ;;
  esac
  case "$path" in
{}  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [[ -z $files || $current == -* ]] || COMPREPLY+=($(compgen -f -- "$current"))
}}
complete -o filenames -F _gwctl {}
)sh",
                     app.get_name(), alternatives(tree.paths), alternatives(tree.file_options),
                     alternatives(tree.value_options), tree.words, app.get_name());
  return out;
}

}  // namespace gw::cli
