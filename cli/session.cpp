#include "cli/session.hpp"

#include <google/protobuf/util/json_util.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <format>
#include <fstream>
#include <sstream>

#include "base/utf8.hpp"

namespace gw::cli {
namespace {

constexpr std::uintmax_t kMaxDocumentBytes = 4 * 1024 * 1024;  // as gwd's loader

std::string_view advice(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return "Is gwd running (systemctl status gwd), and is this its socket (--socket, $GWD_SOCKET)?";
    case Errc::kRefused: return "The socket is there, but gwd is not: systemctl status gwd, journalctl -u gwd";
    case Errc::kPermission: return "This user may not use the socket: try sudo, or become a member of group gw-admin";
    case Errc::kTimeout: return "gwd is there, but busy or stuck: journalctl -u gwd; --timeout waits longer";
    case Errc::kMalformed: return "What listens there is not gwd: check --socket and $GWD_SOCKET";
    default: return "Did gwd just restart? Try again; journalctl -u gwd says more";
  }
}

}  // namespace

std::string to_json(const google::protobuf::Message& message, Layout layout) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  options.add_whitespace = layout == Layout::kIndented;
  std::string out;
  if (!google::protobuf::util::MessageToJsonString(message, &out, options).ok()) return "{}";
  return out;
}

bool from_json(const std::string& text, google::protobuf::Message& into) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // a newer gwd
  return google::protobuf::util::JsonStringToMessage(text, &into, options).ok();
}

Request get(std::string target) { return {Method::kGet, std::move(target), {}}; }
Request post(std::string target, const google::protobuf::Message& body) {
  return {Method::kPost, std::move(target), to_json(body, Layout::kOneLine)};
}

void Session::print_json(const google::protobuf::Message& message) const {
  out() << to_json(message, Layout::kIndented);
}

Exit Session::ask(const Request& request, google::protobuf::Message& reply) const {
  const auto answer = surroundings_.connect(target_.socket, target_.timeout)->send(request);
  if (!answer) return unreachable(answer.error());
  if (answer->status >= 400) return refused(*answer);
  if (answer->status == 200 && from_json(answer->body, reply)) return kOk;
  err() << std::format(
      "gwctl: gwd on {} answered something else than expected (HTTP {}); are gwctl and gwd of one version?\n",
      target_.socket, answer->status);
  return kUnreachable;
}

Exit Session::unreachable(const Error& error) const {
  if (error.code == Errc::kInvalidArgument) return err() << std::format("gwctl: {}\n", error.describe()), kUsage;
  err() << std::format("gwctl: cannot reach gwd on {}: {}\n{}\n", target_.socket, error.message, advice(error.code));
  return kUnreachable;
}

Exit Session::refused(const Reply& reply) const {
  api::ErrorReply error;
  if (!from_json(reply.body, error) || !error.has_error()) {
    err() << std::format("gwctl: gwd on {} answered HTTP {} without a reason; are gwctl and gwd of one version?\n",
                         target_.socket, reply.status);
    return kUnreachable;
  }
  if (format_ == Format::kJson)
    print_json(error);
  else
    err() << render(error);
  return kNo;
}

Exit Session::read_document(const std::string& file, api::ConfigRequest& into) const {
  std::error_code ec;
  const std::filesystem::path path = std::filesystem::absolute(file, ec).lexically_normal();
  const auto failed = [&](const std::string& why) {
    err() << std::format("gwctl: cannot read {}: {}\n", path.string(), why);
    return kUsage;
  };
  if (std::filesystem::is_directory(path, ec)) return failed("it is a directory");
  errno = 0;
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return failed(std::strerror(errno));
  if (const auto size = std::filesystem::file_size(path, ec); !ec && size > kMaxDocumentBytes)
    return failed(std::format("it has {} bytes, more than {}", size, kMaxDocumentBytes));
  std::stringstream text;
  text << stream.rdbuf();
  if (!is_utf8(text.view())) return failed("it is not text in UTF-8");
  into.set_document(text.str());
  into.set_file(path.string());
  return kOk;
}

}  // namespace gw::cli
