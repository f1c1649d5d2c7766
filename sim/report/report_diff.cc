// SPDX-License-Identifier: Apache-2.0
#include "sim/report/report_diff.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/report/json_value.h"
#include "sim/report/metric_table.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// Reports that differ in one of these answer different questions. The trace
/// is its content, by whatever name.
constexpr std::string_view kSameQuestion[] = {
    "/inputs/trace/sha256",
    "/inputs/trace/kept",
    "/inputs/trace/tokens",
    "/inputs/trace/span_s",
    "/inputs/rate_rps",
    "/inputs/requests",
    "/model",
    "/pool/slots",
    "/pool/bytes",
    "/clock",
    "/window/asked",
};

/// What may differ, and may be why the figures do.
constexpr std::string_view kConditions[] = {"/inputs/seed", "/limits", "/cost",
                                            "/service_level"};

std::string ShortText(const json* value) {
  if (value == nullptr) return "missing";
  const std::string text =
      value->is_string()
          ? value->get<std::string>()
          : value->dump(-1, ' ', false, json::error_handler_t::replace);
  constexpr std::size_t kLongest = 16;  // enough of a hash
  return text.size() <= kLongest ? text : text.substr(0, kLongest) + "...";
}

/// "pool.slots is 100 and 200" for each leaf that differs.
void AppendDifferences(const json* before, const json* after,
                       const std::string& name,
                       std::vector<std::string>& differences) {
  if (before != nullptr && after != nullptr) {
    if (*before == *after) return;
    if (before->is_object() && after->is_object()) {
      std::map<std::string, std::pair<const json*, const json*>> members;
      for (const auto& [key, value] : before->items()) {
        members[key].first = &value;
      }
      for (const auto& [key, value] : after->items()) {
        members[key].second = &value;
      }
      for (const auto& [key, values] : members) {
        AppendDifferences(values.first, values.second,
                          absl::StrFormat("%s.%s", name, key), differences);
      }
      return;
    }
  } else if (before == after) {
    return;
  }
  differences.push_back(absl::StrFormat("%s is %s and %s", name,
                                        ShortText(before), ShortText(after)));
}

// What got worse comes first; otherwise the order stays. Not std::stable_sort:
// the C++ library's own uses what C++17 deprecated.
void MoveWorseFirst(std::vector<FigureChange>& changes) {
  std::vector<FigureChange> ordered;
  ordered.reserve(changes.size());
  for (const Verdict verdict :
       {Verdict::kRegression, Verdict::kImprovement, Verdict::kChange}) {
    std::copy_if(changes.begin(), changes.end(), std::back_inserter(ordered),
                 [verdict](const FigureChange& change) {
                   return change.verdict == verdict;
                 });
  }
  changes = std::move(ordered);
}

std::vector<std::string> DifferencesAt(
    std::span<const std::string_view> pointers, const json& before,
    const json& after) {
  std::vector<std::string> differences;
  for (const std::string_view pointer : pointers) {
    std::string name(pointer.substr(1));
    std::replace(name.begin(), name.end(), '/', '.');
    AppendDifferences(ValueAt(before, pointer), ValueAt(after, pointer), name,
                      differences);
  }
  return differences;
}

/// How a policy was set up, or nullptr.
const json* PolicySetup(const json& report, const std::string& id) {
  const json* policies = ValueAt(report, "/policies");
  if (policies == nullptr || !policies->is_array()) return nullptr;
  for (const json& policy : *policies) {
    if (TextAt(policy, "/id") == id) return &policy;
  }
  return nullptr;
}

double HalfWidth(const Estimate& estimate) {
  if (!estimate.interval) return 0;
  return (estimate.interval->hi - estimate.interval->lo) / 2;
}

Verdict Judge(const std::string& figure, double before, double after) {
  switch (DirectionOf(figure)) {
    case Direction::kLowerIsBetter:
      return after > before ? Verdict::kRegression : Verdict::kImprovement;
    case Direction::kHigherIsBetter:
      return after < before ? Verdict::kRegression : Verdict::kImprovement;
    case Direction::kNeutral:
      break;
  }
  return Verdict::kChange;
}

/// Compares reports of one run each.
class RunComparison {
 public:
  RunComparison(std::string run, ReportDiff& diff)
      : run_(std::move(run)), diff_(diff) {}

  absl::Status Compare(const json& before, const json& after) {
    const std::vector<std::string> questions =
        DifferencesAt(kSameQuestion, before, after);
    if (!questions.empty()) return Refusal(absl::StrJoin(questions, "; "));
    for (const std::string& text : DifferencesAt(kConditions, before, after)) {
      Note(text);
    }
    const json* results_before = ValueAt(before, "/results");
    const json* results_after = ValueAt(after, "/results");
    if (results_before == nullptr || !results_before->is_object() ||
        results_after == nullptr || !results_after->is_object()) {
      return Refusal("one of them has no results");
    }
    bool any = false;
    for (const auto& [policy, result] : results_before->items()) {
      const auto other = results_after->find(policy);
      if (other == results_after->end()) {
        Note(policy + " is only in " + diff_.before);
        continue;
      }
      any = true;
      std::vector<std::string> setup;
      AppendDifferences(PolicySetup(before, policy), PolicySetup(after, policy),
                        policy, setup);
      const json* window = ValueAt(result, "/window");
      AppendDifferences(window, ValueAt(*other, "/window"), policy + ".window",
                        setup);
      for (const std::string& text : setup) Note(text);
      ComparePolicy(policy, result, *other);
    }
    for (const auto& [policy, result] : results_after->items()) {
      if (!results_before->contains(policy)) {
        Note(policy + " is only in " + diff_.after);
      }
    }
    return any ? absl::OkStatus() : Refusal("no policy is in both");
  }

 private:
  absl::Status Refusal(const std::string& reason) const {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s and %s do not answer the same question: %s%s", diff_.before,
        diff_.after, run_.empty() ? "" : run_ + ": ", reason));
  }

  void Note(const std::string& text) {
    diff_.notes.push_back(run_.empty() ? text : run_ + ": " + text);
  }

  void ComparePolicy(const std::string& policy, const json& before,
                     const json& after) {
    std::map<std::string, Estimate> others;
    for (const NamedFigure& figure : FiguresOf(after)) {
      others.emplace(figure.name, figure.value);
    }
    for (const NamedFigure& figure : FiguresOf(before)) {
      FigureChange change{
          run_,         policy, figure.name,     figure.value.mean,
          std::nullopt, 0,      Verdict::kChange};
      const auto other = others.find(figure.name);
      if (other == others.end()) {
        diff_.changes.push_back(std::move(change));
        continue;
      }
      ++diff_.num_figures;
      const Estimate value = other->second;
      others.erase(other);
      const double allowed =
          IsPercentage(figure.name)
              ? diff_.tolerance
              : diff_.tolerance / 100 *
                    std::max(std::abs(figure.value.mean), std::abs(value.mean));
      change.after = value.mean;
      change.tolerance =
          std::max({allowed, HalfWidth(figure.value), HalfWidth(value)});
      // Less than what a report can print is no change.
      constexpr double kLastDigit = 1e-6;
      const double difference = std::abs(value.mean - figure.value.mean);
      if (difference <= change.tolerance + kLastDigit / 2) continue;
      change.verdict = Judge(figure.name, figure.value.mean, value.mean);
      diff_.changes.push_back(std::move(change));
    }
    for (const auto& [name, value] : others) {
      diff_.changes.push_back(
          {run_, policy, name, std::nullopt, value.mean, 0, Verdict::kChange});
    }
  }

  std::string run_;
  ReportDiff& diff_;
};

/// The runs of a sweep by their parameters, in words.
std::map<std::string, const json*> RunsOf(const json& sweep) {
  std::map<std::string, const json*> runs;
  const json* list = ValueAt(sweep, "/runs");
  if (list == nullptr || !list->is_array()) return runs;
  for (const json& run : *list) {
    const json* report = ValueAt(run, "/report");
    const json* parameters = ValueAt(run, "/parameters");
    if (report == nullptr || parameters == nullptr) continue;
    std::vector<std::string> names;
    for (const auto& [name, value] : parameters->items()) {
      names.push_back(name + '=' + TextAt(*parameters, '/' + name));
    }
    runs.emplace(absl::StrJoin(names, " "), report);
  }
  return runs;
}

absl::Status CompareSweeps(const json& before, const json& after,
                           ReportDiff& diff) {
  const std::map<std::string, const json*> others = RunsOf(after);
  const std::map<std::string, const json*> own = RunsOf(before);
  bool any = false;
  for (const auto& [run, report] : own) {
    const auto other = others.find(run);
    if (other == others.end()) {
      diff.notes.push_back(run + " is only in " + diff.before);
      continue;
    }
    any = true;
    const absl::Status status =
        RunComparison(run, diff).Compare(*report, *other->second);
    if (!status.ok()) return status;
  }
  for (const auto& [run, report] : others) {
    if (!own.contains(run)) {
      diff.notes.push_back(run + " is only in " + diff.after);
    }
  }
  if (any) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "%s and %s do not answer the same question: no combination is in both",
      diff.before, diff.after));
}

}  // namespace

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kRegression:
      return "regression";
    case Verdict::kImprovement:
      return "improvement";
    case Verdict::kChange:
      break;
  }
  return "change";
}

std::size_t ReportDiff::Count(Verdict verdict) const {
  return static_cast<std::size_t>(std::count_if(
      changes.begin(), changes.end(),
      [&](const FigureChange& change) { return change.verdict == verdict; }));
}

absl::StatusOr<ReportDiff> DiffReports(const ReportFile& before,
                                       const ReportFile& after,
                                       double tolerance) {
  if (before.is_sweep() != after.is_sweep()) {
    return absl::FailedPreconditionError(
        absl::StrFormat("%s is a %s and %s is a %s: give two of a kind",
                        before.path, before.is_sweep() ? "sweep" : "report",
                        after.path, after.is_sweep() ? "sweep" : "report"));
  }
  ReportDiff diff;
  diff.before = before.path;
  diff.after = after.path;
  diff.identical = before.hash() == after.hash();
  diff.tolerance = tolerance;
  absl::Status status =
      before.is_sweep()
          ? CompareSweeps(before.document, after.document, diff)
          : RunComparison("", diff).Compare(before.document, after.document);
  if (!status.ok()) return status;
  MoveWorseFirst(diff.changes);
  return diff;
}

}  // namespace pagedkv::sim
