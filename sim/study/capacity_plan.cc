// SPDX-License-Identifier: Apache-2.0
#include "sim/study/capacity_plan.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

#include "sim/replay/simulation.h"
#include "sim/report/report_json.h"
#include "sim/study/capacity_search.h"
#include "sim/study/option_checks.h"
#include "sim/study/sim_plan.h"
#include "sim/study/units.h"
#include "sim/study/workload_cache.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

/// Amounts of the rate are thousandths of a request per second.
constexpr double kRateUnit = 1e-3;
constexpr std::int64_t kMaxRate = 1'000'000'000;  // a million requests per s

constexpr std::string_view kRejectionRate = "rejection-rate";

absl::Status CheckGoal(const SimOptions& options, CapacityGoal goal) {
  const bool saturated = options.saturate || options.clock == "iteration";
  switch (goal) {
    case CapacityGoal::kMemory:
      return Refuse({{"--memory", options.memory.has_value()},
                     {"--num-blocks", options.num_blocks.has_value()},
                     {"--block-size", options.block_size.has_value()},
                     {"--demand", options.demand}},
                    "gives the pool, which --minimize memory looks for");
    case CapacityGoal::kGpus:
      if (!options.gpu) {
        return OptionError("--minimize gpus needs --gpu NAME");
      }
      if (saturated) break;
      return Refuse({{"--memory", options.memory.has_value()},
                     {"--num-blocks", options.num_blocks.has_value()},
                     {"--demand", options.demand},
                     {"--tp", options.tensor_parallel.has_value()},
                     {"--replicas", options.replicas != 1}},
                    "contradicts --minimize gpus, which looks for it");
    case CapacityGoal::kRate:
      if (saturated) break;
      return Refuse(
          {{"--rate", options.rate.has_value()}, {"--demand", options.demand}},
          "contradicts --maximize rate, which looks for it");
  }
  return OptionError(absl::StrFormat(
      "%s needs arrival times: give --clock fixed or model, and no --saturate",
      goal == CapacityGoal::kGpus ? "--minimize gpus" : "--maximize rate"));
}

/// Searches with one policy, and shares workloads with other searches.
class Searcher {
 public:
  Searcher(const SimOptions& options, const CapacityOptions& capacity,
           WorkloadCache& workloads, json& conditions)
      : options_(options),
        capacity_(capacity),
        workloads_(workloads),
        conditions_(conditions) {
    search_.policy = options.policies;
    search_.tensor_parallel = options.tensor_parallel.value_or(1);
    search_.pipeline_parallel = options.pipeline_parallel.value_or(1);
    search_.more_is_easier = capacity.goal != CapacityGoal::kRate;
  }

  absl::StatusOr<CapacitySearch> Run() {
    const absl::StatusOr<AmountRange> range = Range();
    if (IsImpossible(range.status())) {
      // Not even one of them: what the other searches say counts.
      CapacityProbe probe;
      probe.amount = 1;
      probe.values.resize(capacity_.targets.size());
      probe.problem = std::string(range.status().message());
      search_.probes.push_back(std::move(probe));
      return search_;
    }
    if (!range.ok()) return range.status();
    const auto try_amounts = [&](const std::vector<std::int64_t>& amounts) {
      return Try(amounts);
    };
    const absl::StatusOr<std::optional<std::int64_t>> answer =
        FindHardestThatMeets(*range, try_amounts);
    if (!answer.ok()) return answer.status();
    search_.answer = *answer;
    if (search_.answer) {
      absl::Status around =
          Try(AmountsAround(*range, *search_.answer)).status();
      if (!around.ok()) return around;
    }
    for (auto& [amount, probe] : probes_) {
      search_.probes.push_back(std::move(probe));
    }
    return search_;
  }

 private:
  [[nodiscard]] bool IsImpossible(const absl::Status& status) const {
    // A split over GPUs that the model does not allow is one of several.
    return capacity_.goal == CapacityGoal::kGpus &&
           (absl::IsFailedPrecondition(status) ||
            (search_.tensor_parallel > 1 && absl::IsInvalidArgument(status)));
  }

  [[nodiscard]] SimOptions OptionsAt(std::int64_t amount) const {
    SimOptions options = options_;
    switch (capacity_.goal) {
      case CapacityGoal::kMemory:
        options.num_blocks = amount;
        options.block_size = search_.block_size;
        break;
      case CapacityGoal::kGpus:
        options.replicas = static_cast<std::int32_t>(amount);
        if (amount == 1) {  // which needs no router
          options.router.reset();
          options.router_delay.reset();
        }
        break;
      case CapacityGoal::kRate:
        options.rate = static_cast<double>(amount) * kRateUnit;
        break;
    }
    return options;
  }

  /// Arrivals per second, as they are recorded; 1 where all are at once.
  absl::StatusOr<double> RecordedRate(const SimPlan& plan) {
    const absl::StatusOr<WorkloadCache::Workload> workload =
        workloads_.Load(plan.workload);
    if (!workload.ok()) return workload.status();
    const double rate = (*workload)->summary.rate();
    return rate > 0 ? rate : 1;
  }

  absl::StatusOr<AmountRange> Range() {
    const absl::StatusOr<Policy> policy = Policy::Parse(search_.policy);
    if (!policy.ok()) return InOption("--policies", policy.status());
    if (policy->kind == PolicyKind::kPaged) {
      search_.block_size = policy->block_size.value();
    }
    const absl::StatusOr<SimPlan> plan = MakeSimPlan(
        capacity_.goal == CapacityGoal::kMemory ? OptionsAt(2) : options_);
    if (!plan.ok()) return plan.status();
    search_.token_bytes = plan->model.kv_bytes_per_token;
    AmountRange range;
    range.more_is_easier = search_.more_is_easier;
    range.precision = capacity_.precision;
    if (capacity_.goal == CapacityGoal::kMemory) {
      // Every sequence of the largest batch at its longest, in chunks of twice
      // that: more is never used.
      const std::int64_t longest = plan->model.max_sequence_tokens.value();
      const std::int64_t most = std::min<std::int64_t>(
          2 * longest * plan->simulation.max_num_seqs, kMaxPoolSlots);
      range.least = 2;  // one of them is the null block
      range.most = std::max<std::int64_t>(2, most / search_.block_size);
      range.start = std::max<std::int64_t>(2, 8 * longest / search_.block_size);
      return range;
    }
    if (capacity_.goal == CapacityGoal::kGpus) {
      const std::int64_t each =
          std::int64_t{search_.tensor_parallel} * search_.pipeline_parallel;
      range.most = std::max<std::int64_t>(1, capacity_.max_gpus / each);
      return range;
    }
    const absl::StatusOr<double> rate = RecordedRate(*plan);
    if (!rate.ok()) return rate.status();
    range.most = kMaxRate;
    range.start = std::llround(*rate / kRateUnit);
    return range;
  }

  absl::StatusOr<std::vector<bool>> Try(
      const std::vector<std::int64_t>& amounts) {
    std::vector<SimPlan> plans;
    std::vector<std::int64_t> tried;
    for (const std::int64_t amount : amounts) {
      if (probes_.contains(amount)) continue;
      absl::StatusOr<SimPlan> plan = MakeSimPlan(OptionsAt(amount));
      if (!plan.ok()) return plan.status();
      plans.push_back(*std::move(plan));
      tried.push_back(amount);
    }
    const absl::StatusOr<std::vector<Report>> reports =
        RunSimPlans(plans, capacity_.study, workloads_);
    if (!reports.ok()) return reports.status();
    for (std::size_t i = 0; i < tried.size(); ++i) {
      absl::StatusOr<CapacityProbe> probe = Judge(tried[i], (*reports)[i]);
      if (!probe.ok()) return probe.status();
      probes_.emplace(tried[i], *std::move(probe));
    }
    std::vector<bool> meets;
    for (const std::int64_t amount : amounts) {
      meets.push_back(probes_.at(amount).meets);
    }
    return meets;
  }

  absl::StatusOr<CapacityProbe> Judge(std::int64_t amount,
                                      const Report& report) {
    const json document = ReportToDocument(report);
    if (conditions_.is_null()) {
      for (const char* member : {"clock", "inputs", "limits", "model"}) {
        conditions_[member] = document.at(member);
      }
    }
    const json& result = document.at("results").at(search_.policy);
    CapacityProbe probe;
    probe.amount = amount;
    probe.meets = true;
    for (const CapacityTarget& target : capacity_.targets) {
      const std::optional<double> value = TargetValue(result, target.metric);
      if (!value && report.results.front().totals.finished > 0) {
        return OptionError(absl::StrFormat(
            "--target-%s: a run as asked for has no such figure: it needs "
            "--clock fixed or model, no --saturate, and for goodput --slo-ttft "
            "or --slo-tpot",
            target.metric.name));
      }
      probe.values.push_back(value);
      probe.meets =
          probe.meets && value && Meets(target.metric, *value, target.limit);
    }
    return probe;
  }

  /// A pool that a simulation can hold: its blocks cost some bytes each.
  static constexpr std::int64_t kMaxPoolSlots = std::int64_t{1} << 30;

  const SimOptions options_;
  const CapacityOptions& capacity_;
  WorkloadCache& workloads_;
  json& conditions_;
  CapacitySearch search_;
  std::map<std::int64_t, CapacityProbe> probes_;
};

/// The ways to split a model that are tried: powers of two.
std::vector<std::optional<std::int32_t>> Splits(
    const SimOptions& options, const CapacityOptions& capacity) {
  if (capacity.goal != CapacityGoal::kGpus) return {options.tensor_parallel};
  std::vector<std::optional<std::int32_t>> splits;
  for (std::int32_t ranks = 1;
       std::int64_t{ranks} * options.pipeline_parallel.value_or(1) <=
           capacity.max_gpus &&
       ranks <= 64;
       ranks *= 2) {
    splits.emplace_back(ranks);
  }
  return splits;
}

}  // namespace

absl::StatusOr<double> ParseTargetLimit(const TargetMetric& metric,
                                        const std::string& text) {
  const std::string option = "--target-" + std::string(metric.name);
  if (metric.unit == TargetUnit::kSeconds) {
    const absl::StatusOr<std::int64_t> time_ns = ParseDurationNs(text);
    if (!time_ns.ok()) return InOption(option, time_ns.status());
    return static_cast<double>(*time_ns) * 1e-9;
  }
  double limit = 0;
  if (!absl::SimpleAtod(text, &limit) || !std::isfinite(limit) || limit < 0) {
    return OptionError(
        absl::StrFormat("%s: '%s' is no number from 0 on", option, text));
  }
  return limit;
}

absl::StatusOr<CapacityReport> PlanCapacity(const SimOptions& options,
                                            const CapacityOptions& capacity) {
  absl::Status status = CheckGoal(options, capacity.goal);
  if (!status.ok()) return status;
  CapacityOptions asked = capacity;
  const auto is_rejection = [](const CapacityTarget& target) {
    return target.metric.name == kRejectionRate;
  };
  if (std::none_of(asked.targets.begin(), asked.targets.end(), is_rejection)) {
    for (const TargetMetric& metric : TargetMetrics()) {
      if (metric.name == kRejectionRate) {
        asked.targets.push_back({metric, 0, /*implied=*/true});
      }
    }
  }
  const absl::StatusOr<std::vector<Policy>> policies =
      ParsePolicies(options.policies);
  if (!policies.ok()) return policies.status();

  CapacityReport report;
  report.goal = asked.goal;
  report.targets = asked.targets;
  report.precision = asked.precision;
  report.version = PAGEDKV_VERSION;
  WorkloadCache workloads;
  for (const Policy& policy : *policies) {
    std::optional<std::int64_t> fewest_gpus;
    for (const std::optional<std::int32_t> ranks : Splits(options, asked)) {
      SimOptions own = options;
      own.policies = policy.id();
      own.tensor_parallel = ranks;
      // One replica alone would take more than what serves already.
      if (fewest_gpus && ranks.value_or(1) >= *fewest_gpus) break;
      absl::StatusOr<CapacitySearch> search =
          Searcher(own, asked, workloads, report.conditions).Run();
      if (!search.ok()) return search.status();
      if (search->answer && asked.goal == CapacityGoal::kGpus) {
        fewest_gpus = std::min(fewest_gpus.value_or(search->num_gpus()),
                               search->num_gpus());
      }
      report.searches.push_back(*std::move(search));
    }
  }
  if (report.conditions.is_null()) {
    return absl::FailedPreconditionError(
        report.searches.front().probes.front().problem);
  }
  return report;
}

}  // namespace pagedkv::sim
