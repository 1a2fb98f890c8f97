#include <format>

#include "cli/render.hpp"

namespace gw::cli {
namespace {

Cell result_of(const api::TraceStep& step) {
  if (step.result() == "pass") return {"ok", Colour::kGood};
  if (step.result() == "fail") return {"FAIL", Colour::kBad};
  return {" "};
}

Colour colour_of(const api::TraceReply& reply) {
  if (reply.verdict() == "dropped") return Colour::kBad;
  return reply.verdict() == "kernel" ? Colour::kWarning : Colour::kGood;
}

}  // namespace

std::string render(const api::TraceReply& reply, const View& view) {
  Table table({{"Check"}, {""}, {"Detail"}});
  for (const api::TraceStep& step : reply.steps()) table.row({step.check(), result_of(step), step.detail()});
  std::string verdict = printable(reply.summary());
  if (!reply.advice().empty()) verdict += "; " + printable(reply.advice());
  return table.render(view.style) + "\n" + paint(verdict, colour_of(reply), view.style) + "\n";
}

}  // namespace gw::cli
