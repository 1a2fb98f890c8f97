#include "gwd/config/yaml_tree.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <exception>
#include <format>
#include <sstream>

#include "base/utf8.hpp"
#include "gwd/config/yaml_loader.hpp"

namespace gw::config {
namespace {

Position position(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {static_cast<std::uint32_t>(mark.line + 1), static_cast<std::uint32_t>(mark.column + 1)};
}

// A limit was passed: ends the parse. Thrown and caught in this file only (through yaml-cpp's frames).
struct Stop : std::exception {
  Stop(Position where, std::string what_is_wrong, std::string allowed)
      : at(where), message(std::move(what_is_wrong)), expected(std::move(allowed)) {}
  Position at;
  std::string message;
  std::string expected;
};

class Builder final : public YAML::EventHandler {
 public:
  explicit Builder(Findings& findings) : findings_(findings) {}

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    leaf(mark, "", anchor).kind = Node::Kind::kNull;
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    leaf(mark, "", YAML::NullAnchor).kind = Node::Kind::kInvalid;
    complain(mark, "aliases (*name) are not supported", "the value itself");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    Node& node = leaf(mark, tag, anchor);
    node.kind = Node::Kind::kScalar;
    node.quoted = tag == "!";
    node.scalar = value;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, anchor, Node::Kind::kSequence);
  }
  void OnSequenceEnd() override { stack_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, anchor, Node::Kind::kMap);
  }
  void OnMapEnd() override { stack_.pop_back(); }

  std::optional<Node> take() { return std::move(root_); }

 private:
  void complain(const YAML::Mark& mark, std::string message, std::string expected) {
    if (findings_.size() < kMaxFindings)
      findings_.push_back({Severity::kError, {}, position(mark), {}, std::move(message), std::move(expected)});
  }

  // Puts a new node where the event stream is. The pointers on the stack stay valid: only the innermost
  // open node grows, and it is not in a vector that grows meanwhile.
  Node& leaf(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (++count_ > kMaxValues)
      throw Stop(position(mark), "the document is too large", std::format("at most {} values", kMaxValues));
    if (anchor != YAML::NullAnchor) complain(mark, "anchors (&name) are not supported", "the value without an anchor");
    if (!tag.empty() && tag != "?" && tag != "!")
      complain(mark, "tags (!name) are not supported", "the value without a tag");
    Node* node = nullptr;
    if (stack_.empty()) {
      node = &root_.emplace();
    } else {
      Node& parent = *stack_.back();
      const bool key = parent.kind == Node::Kind::kMap && parent.keys.size() == parent.values.size();
      node = &(key ? parent.keys : parent.values).emplace_back();
    }
    node->at = position(mark);
    return *node;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Node::Kind kind) {
    if (stack_.size() >= kMaxDepth)
      throw Stop(position(mark), "the document is nested too deeply", std::format("at most {} levels", kMaxDepth));
    Node& node = leaf(mark, tag, anchor);
    node.kind = kind;
    stack_.push_back(&node);
  }

  Findings& findings_;
  std::optional<Node> root_;
  std::vector<Node*> stack_;
  std::size_t count_ = 0;
};

// What yaml-cpp would accept or report badly: bytes that are no text, and tabs as indentation.
bool check_text(std::string_view text, Findings& findings) {
  const auto complain = [&](Position at, std::string message, std::string expected) {
    findings.push_back({Severity::kError, {}, at, {}, std::move(message), std::move(expected)});
  };
  Position at{1, 1};
  bool indentation = true;
  for (std::size_t i = 0; i < text.size() && findings.size() < kMaxFindings;) {
    const char c = text[i];
    const std::size_t length = utf8_length(text.substr(i));
    if (length == 0) {
      complain(at, "the file is not text: invalid UTF-8", "a YAML document in UTF-8");
      return false;
    }
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (control && c != '\n' && c != '\r' && c != '\t') {
      complain(at, std::format("control character 0x{:02x}", static_cast<unsigned>(c)), "text");
      return false;
    }
    if (c == '\t' && indentation) {
      complain(at, "tab used for indentation", "spaces");
      indentation = false;
    }
    if (c != ' ') indentation = false;
    i += length;
    ++at.column;
    if (c == '\n') {
      ++at.line;
      at.column = 1;
      indentation = true;
    }
  }
  return findings.empty();
}

}  // namespace

std::optional<Node> parse_yaml(std::string_view text, Findings& findings) {
  const auto complain = [&](Position at, std::string message, std::string expected) {
    findings.push_back({Severity::kError, {}, at, {}, std::move(message), std::move(expected)});
  };
  if (text.size() > kMaxDocumentBytes) {
    complain({}, std::format("the file has {} bytes", text.size()), std::format("at most {}", kMaxDocumentBytes));
    return std::nullopt;
  }
  if (!check_text(text, findings)) return std::nullopt;
  std::optional<Node> root;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder(findings);
    if (parser.HandleNextDocument(builder)) root = builder.take();
    Findings ignored;
    Builder second(ignored);
    if (root && parser.HandleNextDocument(second)) {
      const std::optional<Node> other = second.take();
      complain(other ? other->at : Position{}, "a second document begins here",
               "one document a file (no '---' in between)");
      return std::nullopt;
    }
  } catch (const Stop& stop) {
    complain(stop.at, stop.message, stop.expected);
    return std::nullopt;
  } catch (const YAML::Exception& e) {
    // Nearly always a forgotten colon or a key in the wrong column.
    const bool in_map = std::string_view(e.msg).contains("map");
    complain(position(e.mark), std::format("not valid YAML: {}", e.msg),
             in_map ? "`key: value`, keys of one mapping in the same column" : "");
    return std::nullopt;
  } catch (const std::exception& e) {  // yaml-cpp throws std exceptions on some malformed input
    complain({}, std::format("not valid YAML: {}", e.what()), "");
    return std::nullopt;
  }
  if (!root || root->kind == Node::Kind::kNull) {
    complain({1, 1}, "the document is empty", "version, gateway, vnet, ...; see docs/configuration.md");
    return std::nullopt;
  }
  return root;
}

}  // namespace gw::config
