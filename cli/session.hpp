// Talking to gwd on behalf of a command: requests, error messages, and the choice between tables and JSON.
// Owner: one run of gwctl.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "cli/commands.hpp"

namespace gw::cli {

enum class Format : std::uint8_t { kText, kJson };

class Session {
 public:
  struct Target {
    std::string socket;
    std::chrono::milliseconds timeout;
  };
  Session(const Surroundings& surroundings, Target target, Format format)
      : surroundings_(surroundings), target_(std::move(target)), format_(format) {}

  /// Sends it and reads the answer into `reply`. Anything but kOk has been reported.
  Exit ask(const Request& request, google::protobuf::Message& reply) const;
  /// kUsage, reported, if the file cannot be read.
  Exit read_document(const std::string& file, api::ConfigRequest& into) const;

  View view() const { return {surroundings_.now(), surroundings_.style}; }
  Format format() const { return format_; }
  std::ostream& out() const { return surroundings_.out; }
  std::ostream& err() const { return surroundings_.err; }
  void print_json(const google::protobuf::Message& message) const;
  /// What a command of this machine prints, both streams; for support bundles.
  std::string run_command(const std::string& command) const { return surroundings_.run_command(command); }

 private:
  Exit unreachable(const Error& error) const;
  Exit refused(const Reply& reply) const;

  const Surroundings& surroundings_;
  Target target_;
  Format format_;
};

enum class Layout : std::uint8_t { kOneLine, kIndented };
std::string to_json(const google::protobuf::Message& message, Layout layout);
/// Fields that this version does not know are left out: they are a newer one's.
bool from_json(const std::string& text, google::protobuf::Message& into);

Request get(std::string target);
Request post(std::string target, const google::protobuf::Message& body);

}  // namespace gw::cli
