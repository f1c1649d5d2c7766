// SPDX-License-Identifier: Apache-2.0
#include "sim/report/capacity_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/report/canonical_json.h"
#include "sim/report/decimal.h"
#include "sim/report/json_value.h"
#include "sim/report/text_table.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// The probes that were simulated, the easiest first.
std::vector<const CapacityProbe*> FromEasiest(const CapacitySearch& search) {
  std::vector<const CapacityProbe*> probes;
  for (const CapacityProbe& probe : search.probes) {
    if (probe.problem.empty()) probes.push_back(&probe);
  }
  if (search.more_is_easier) std::reverse(probes.begin(), probes.end());
  return probes;
}

std::string FigureText(const TargetMetric& metric,
                       const std::optional<double>& value) {
  if (!value) return "-";
  switch (metric.unit) {
    case TargetUnit::kSeconds:
      return absl::StrFormat("%.4g s", *value);
    case TargetUnit::kPercent:
      return absl::StrFormat("%.4g %%", *value);
    case TargetUnit::kShare:
    case TargetUnit::kNumber:
      break;
  }
  return absl::StrFormat("%.4g", *value);
}

std::string_view UnitName(TargetUnit unit) {
  switch (unit) {
    case TargetUnit::kSeconds:
      return "s";
    case TargetUnit::kPercent:
      return "percent";
    case TargetUnit::kShare:
      return "share";
    case TargetUnit::kNumber:
      break;
  }
  return "number";
}

std::string_view AmountName(CapacityGoal goal) {
  switch (goal) {
    case CapacityGoal::kMemory:
      return "blocks";
    case CapacityGoal::kGpus:
      return "replicas";
    case CapacityGoal::kRate:
      break;
  }
  return "requests/s";
}

std::string AmountText(CapacityGoal goal, std::int64_t amount) {
  return goal == CapacityGoal::kRate ? ThousandthsToString(amount)
                                     : Grouped(amount);
}

/// The answer in words, with all that is needed to ask for it.
std::string AnswerText(const CapacityReport& report,
                       const CapacitySearch& search) {
  const std::int64_t amount = *search.answer;
  std::string text = AmountText(report.goal, amount) + ' ' +
                     std::string(AmountName(report.goal));
  switch (report.goal) {
    case CapacityGoal::kMemory: {
      std::string memory =
          absl::StrFormat("%s of %d tokens, %s slots", text, search.block_size,
                          Grouped(amount * search.block_size));
      if (search.token_bytes) {
        absl::StrAppendFormat(
            &memory, ", %.3f GiB",
            static_cast<double>(amount * search.block_size) *
                static_cast<double>(search.token_bytes->value()) / 0x1p30);
      }
      return memory;
    }
    case CapacityGoal::kGpus:
      return absl::StrFormat(
          "GPUs: %d; %s, tensor parallel %d, pipeline parallel %d",
          search.num_gpus(), text, search.tensor_parallel,
          search.pipeline_parallel);
    case CapacityGoal::kRate:
      break;
  }
  return text;
}

json AnswerToJson(const CapacityReport& report, const CapacitySearch& search) {
  if (!search.answer) return nullptr;
  const std::int64_t amount = *search.answer;
  switch (report.goal) {
    case CapacityGoal::kMemory: {
      const std::int64_t slots = amount * search.block_size;
      return {{"num_blocks", amount},
              {"block_size", search.block_size},
              {"slots", slots},
              {"bytes", search.token_bytes
                            ? json((*search.token_bytes * slots).value())
                            : json(nullptr)}};
    }
    case CapacityGoal::kGpus:
      return {{"gpus", search.num_gpus()},
              {"replicas", amount},
              {"tensor_parallel", search.tensor_parallel},
              {"pipeline_parallel", search.pipeline_parallel}};
    case CapacityGoal::kRate:
      break;
  }
  return {{"rate_rps", static_cast<double>(amount) * 1e-3}};
}

json AmountToJson(CapacityGoal goal, std::int64_t amount) {
  if (goal != CapacityGoal::kRate) return amount;
  return static_cast<double>(amount) * 1e-3;
}

std::string TargetText(const CapacityTarget& target) {
  return absl::StrFormat(
      "%s %s %s%s", target.metric.name,
      target.metric.direction == Direction::kHigherIsBetter ? ">=" : "<=",
      FigureText(target.metric, target.limit),
      target.implied ? " (where nothing else is asked for)" : "");
}

std::string GoalText(CapacityGoal goal) {
  switch (goal) {
    case CapacityGoal::kMemory:
      return "the smallest pool";
    case CapacityGoal::kGpus:
      return "the fewest GPUs";
    case CapacityGoal::kRate:
      break;
  }
  return "the highest rate";
}

std::string MarginText(double margin_pct) {
  if (margin_pct <= 0) return "the answer is on its edge, or beyond it";
  return absl::StrFormat("the answer is %.0f %% away from it", margin_pct);
}

/// What a search found, a line each.
std::vector<std::string> Findings(const CapacityReport& report,
                                  const CapacitySearch& search) {
  std::vector<std::string> lines;
  const std::optional<std::size_t> binding = search.Binding(report.targets);
  if (!search.answer) {
    std::string line = search.policy + ": nothing meets the targets";
    if (report.goal == CapacityGoal::kGpus) {
      absl::StrAppendFormat(&line, " with tensor parallel %d",
                            search.tensor_parallel);
    }
    const std::vector<const CapacityProbe*> probes = FromEasiest(search);
    if (binding && !probes.empty()) {
      const CapacityTarget& target = report.targets[*binding];
      absl::StrAppendFormat(
          &line, ": with %s %s %s is %s",
          AmountText(report.goal, probes.front()->amount),
          AmountName(report.goal), target.metric.name,
          FigureText(target.metric, probes.front()->values[*binding]));
    } else if (!search.probes.empty()) {
      line += ": " + search.probes.front().problem;
    }
    return {line};
  }
  lines.push_back(search.policy + ": " + AnswerText(report, search));
  if (binding) {
    const CapacityTarget& target = report.targets[*binding];
    if (const auto cliff = search.Cliff(target, *binding)) {
      lines.push_back(absl::StrFormat(
          "%s: cliff between %s and %s %s, where %s goes from %s to %s; %s",
          search.policy, AmountText(report.goal, cliff->holds_at),
          AmountText(report.goal, cliff->breaks_at), AmountName(report.goal),
          target.metric.name, FigureText(target.metric, cliff->before),
          FigureText(target.metric, cliff->after),
          MarginText(MarginPct(search, *cliff))));
    } else {
      lines.push_back(absl::StrFormat("%s: no cliff of %s in what was tried",
                                      search.policy, target.metric.name));
    }
  } else {
    lines.push_back(search.policy +
                    ": the hardest that was tried still meets the targets");
  }
  lines.push_back(
      search.policy +
      (search.IsMonotone()
           ? ": everything easier that was tried meets the targets too"
           : ": not everything easier that was tried meets the targets: the "
             "answer is one of several"));
  return lines;
}

TextTable ProbesOf(const CapacityReport& report, const CapacitySearch& search,
                   std::string_view mark) {
  TextTable table;
  table.num_names = 0;
  table.header.emplace_back(AmountName(report.goal));
  for (const CapacityTarget& target : report.targets) {
    table.header.emplace_back(target.metric.name);
  }
  table.header.emplace_back("meets");
  for (const CapacityProbe& probe : search.probes) {
    std::vector<std::string> row = {AmountText(report.goal, probe.amount)};
    for (std::size_t i = 0; i < report.targets.size(); ++i) {
      row.push_back(probe.problem.empty()
                        ? FigureText(report.targets[i].metric, probe.values[i])
                        : "-");
    }
    row.emplace_back(probe.meets ? "yes" : "no");
    if (probe.amount == search.answer) row.back() += mark;
    table.rows.push_back(std::move(row));
  }
  return table;
}

/// "paged-16", and how it is split where that is looked for.
std::string TitleOf(const CapacityReport& report,
                    const CapacitySearch& search) {
  if (report.goal != CapacityGoal::kGpus) return search.policy;
  return absl::StrFormat("%s, tensor parallel %d", search.policy,
                         search.tensor_parallel);
}

json SearchToJson(const CapacityReport& report, const CapacitySearch& search) {
  json probes = json::array();
  for (const CapacityProbe& probe : search.probes) {
    json values = json::object();
    for (std::size_t i = 0; i < report.targets.size(); ++i) {
      const bool known = i < probe.values.size() && probe.values[i];
      values[std::string(report.targets[i].metric.name)] =
          known ? json(*probe.values[i]) : json(nullptr);
    }
    probes.push_back(
        {{"amount", AmountToJson(report.goal, probe.amount)},
         {"values", values},
         {"meets", probe.meets},
         {"problem",
          probe.problem.empty() ? json(nullptr) : json(probe.problem)}});
  }
  json document = {{"policy", search.policy},
                   {"tensor_parallel", search.tensor_parallel},
                   {"pipeline_parallel", search.pipeline_parallel},
                   {"answer", AnswerToJson(report, search)},
                   {"binding", nullptr},
                   {"cliff", nullptr},
                   {"monotone", search.IsMonotone()},
                   {"probes", probes}};
  const std::optional<std::size_t> binding = search.Binding(report.targets);
  if (!binding) return document;
  const CapacityTarget& target = report.targets[*binding];
  document["binding"] = target.metric.name;
  if (const auto cliff = search.Cliff(target, *binding)) {
    document["cliff"] = {
        {"rule", kCliffRule},
        {"holds_at", AmountToJson(report.goal, cliff->holds_at)},
        {"breaks_at", AmountToJson(report.goal, cliff->breaks_at)},
        {"before", cliff->before},
        {"after", cliff->after},
        {"margin_pct",
         search.answer ? json(MarginPct(search, *cliff)) : json(nullptr)}};
  }
  return document;
}

}  // namespace

std::vector<std::string> CapacityFindings(const CapacityReport& report) {
  std::vector<std::string> lines;
  const std::vector<const CapacitySearch*> best = report.Best();
  for (const CapacitySearch* search : best) {
    for (std::string& line : Findings(report, *search)) {
      lines.push_back(std::move(line));
    }
  }
  for (const CapacitySearch& search : report.searches) {
    const auto is_answered = [&](const CapacitySearch* other) {
      return other->policy == search.policy;
    };
    if (std::any_of(best.begin(), best.end(), is_answered)) continue;
    for (std::string& line : Findings(report, search)) {
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

std::vector<std::string> CapacityHeadLines(const CapacityReport& report) {
  std::vector<std::string> targets;
  for (const CapacityTarget& target : report.targets) {
    targets.push_back(TargetText(target));
  }
  std::vector<std::string> lines = {
      absl::StrFormat("looking for %s with %s", GoalText(report.goal),
                      absl::StrJoin(targets, ", ")),
      absl::StrFormat("workload: %s; model: %s; clock: %s",
                      TextAt(report.conditions, "/inputs/trace/name"),
                      TextAt(report.conditions, "/model/name"),
                      TextAt(report.conditions, "/clock/kind"))};
  return lines;
}

std::string_view GoalName(CapacityGoal goal) {
  switch (goal) {
    case CapacityGoal::kMemory:
      return "memory";
    case CapacityGoal::kGpus:
      return "gpus";
    case CapacityGoal::kRate:
      break;
  }
  return "rate";
}

const CapacityProbe& CapacitySearch::At(std::int64_t amount) const {
  return *std::find_if(
      probes.begin(), probes.end(),
      [&](const CapacityProbe& probe) { return probe.amount == amount; });
}

std::optional<std::size_t> CapacitySearch::Binding(
    const std::vector<CapacityTarget>& targets) const {
  const CapacityProbe* failing = nullptr;  // the easiest that does not meet
  for (const CapacityProbe* probe : FromEasiest(*this)) {
    const bool harder = !answer || (more_is_easier ? probe->amount < *answer
                                                   : probe->amount > *answer);
    if (harder && !probe->meets) {
      failing = probe;
      break;
    }
  }
  if (failing == nullptr) return std::nullopt;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::optional<double>& value = failing->values[i];
    if (!value || !Meets(targets[i].metric, *value, targets[i].limit)) return i;
  }
  return std::nullopt;
}

std::optional<CapacityCliff> CapacitySearch::Cliff(const CapacityTarget& target,
                                                   std::size_t index) const {
  constexpr double kLeastDistance = 1.04;
  constexpr double kLeastSteepness = 2;
  constexpr double kZeroLimit = 0.01;
  const double floor = (target.limit > 0 ? target.limit : kZeroLimit) / 10;
  const double sign =
      target.metric.direction == Direction::kHigherIsBetter ? -1 : 1;
  std::optional<CapacityCliff> cliff;
  double steepest = kLeastSteepness;
  const CapacityProbe* last = nullptr;
  for (const CapacityProbe* probe : FromEasiest(*this)) {
    if (!probe->values[index]) continue;
    if (last != nullptr) {
      const auto [low, high] = std::minmax(last->amount, probe->amount);
      const double distance =
          static_cast<double>(high) / static_cast<double>(low);
      if (distance < kLeastDistance) continue;
      const double before = *last->values[index];
      const double after = *probe->values[index];
      const double steepness = sign *
                               std::log((after + floor) / (before + floor)) /
                               std::log(distance);
      if (steepness > steepest) {
        steepest = steepness;
        cliff = {last->amount, probe->amount, before, after};
      }
    }
    last = probe;
  }
  return cliff;
}

bool CapacitySearch::IsMonotone() const {
  bool failed = false;
  for (const CapacityProbe* probe : FromEasiest(*this)) {
    if (failed && probe->meets) return false;
    failed = failed || !probe->meets;
  }
  return true;
}

std::int64_t CapacitySearch::num_gpus() const {
  return answer.value_or(0) * tensor_parallel * pipeline_parallel;
}

double MarginPct(const CapacitySearch& search, const CapacityCliff& cliff) {
  const auto answer = static_cast<double>(*search.answer);
  const auto holds_at = static_cast<double>(cliff.holds_at);
  const double harder =
      search.more_is_easier ? answer - holds_at : holds_at - answer;
  return 100 * harder / answer;
}

std::vector<const CapacitySearch*> CapacityReport::Best() const {
  std::vector<const CapacitySearch*> best;
  for (const CapacitySearch& search : searches) {
    if (!search.answer) continue;
    if (best.empty() || best.back()->policy != search.policy) {
      best.push_back(&search);
    } else if (search.num_gpus() < best.back()->num_gpus()) {
      // Only searches for GPUs have several for a policy. Among equals the one
      // with fewer GPUs to a replica comes first.
      best.back() = &search;
    }
  }
  return best;
}

std::string CapacityToText(const CapacityReport& report) {
  std::string text = absl::StrJoin(CapacityHeadLines(report), "\n") + "\n\n";
  for (const CapacitySearch& search : report.searches) {
    text += TitleOf(report, search) + '\n' +
            TableToText(ProbesOf(report, search, " <")) + '\n';
  }
  return text + absl::StrJoin(CapacityFindings(report), "\n") + '\n';
}

std::string CapacityToMarkdown(const CapacityReport& report) {
  std::string text = "# Capacity\n\n";
  for (const std::string& line : CapacityHeadLines(report))
    text += "- " + line + '\n';
  for (const std::string& line : CapacityFindings(report)) {
    text += "- " + line + '\n';
  }
  for (const CapacitySearch& search : report.searches) {
    text += "\n## " + TitleOf(report, search) + "\n\n" +
            TableToMarkdown(ProbesOf(report, search, ", the answer"));
  }
  return text;
}

std::string CapacityToJson(const CapacityReport& report) {
  json targets = json::array();
  for (const CapacityTarget& target : report.targets) {
    targets.push_back(
        {{"name", target.metric.name},
         {"limit", target.limit},
         {"unit", UnitName(target.metric.unit)},
         {"at_least", target.metric.direction == Direction::kHigherIsBetter},
         {"implied", target.implied}});
  }
  json searches = json::array();
  for (const CapacitySearch& search : report.searches) {
    searches.push_back(SearchToJson(report, search));
  }
  json best = json::object();
  for (const CapacitySearch* search : report.Best()) {
    best[search->policy] = AnswerToJson(report, *search);
  }
  return SealedText({{"schema", "pagedkv.plan/1"},
                     {"goal", GoalName(report.goal)},
                     {"amounts", AmountName(report.goal)},
                     {"precision", report.precision},
                     {"targets", targets},
                     {"conditions", report.conditions},
                     {"searches", searches},
                     {"best", best},
                     {"findings", CapacityFindings(report)}},
                    {{"version", report.version}});
}

}  // namespace pagedkv::sim
