// SPDX-License-Identifier: Apache-2.0
#include "sim/study/step_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/status/status.h"

#include "sim/study/least_squares.h"

namespace pagedkv::sim {
namespace {

using LeastSquares = NonNegativeLeastSquares<5>;
using Vector = LeastSquares::Vector;

constexpr double kFemtosecondsPerNanosecond = 1e6;

/// In the order of `StepCost`.
constexpr std::array kCoefficients = {
    &StepCost::per_step, &StepCost::per_sequence, &StepCost::per_computed_token,
    &StepCost::per_prefill_attention, &StepCost::per_resident_token};

Vector AsVector(const StepWork& work) {
  return {1.0, static_cast<double>(work.sequences),
          static_cast<double>(work.computed_tokens),
          static_cast<double>(work.prefill_attention),
          static_cast<double>(work.resident_tokens)};
}

/// Watches a replay.
class Recorder : public SimulationObserver {
 public:
  Recorder(const MeasuredRun& run, const std::function<bool()>& stop)
      : run_(run), stop_(stop) {
    replayed_.requests.resize(run.requests.size());
    replayed_.series.reserve(run.series.size());
  }

  void OnSample(const Sample& sample) override {
    const std::int64_t end_ns = sample.begin_ns + sample.duration_ns;
    if (sample.is_step) {
      replayed_.steps.push_back(
          {.begin_ns = sample.begin_ns, .end_ns = end_ns, .work = sample.work});
    }
    for (; next_ < run_.series.size(); ++next_) {
      const std::int64_t time_ns = run_.series[next_].time_ns;
      if (time_ns >= end_ns) break;
      const std::int64_t usable =
          sample.slots.total() - sample.slots[Cause::kTail];
      replayed_.series.push_back(
          {.time_ns = time_ns,
           .running = sample.running,
           .waiting = sample.waiting,
           .kv_cache_pct = 100 * static_cast<double>(sample.slots.allocated()) /
                           static_cast<double>(usable)});
    }
  }
  void OnRequest(const RequestRecord& record) override {
    replayed_.requests[static_cast<std::size_t>(record.id)] = record;
  }
  bool ShouldStop() override { return stop_ && stop_(); }

  /// After the end everything is idle.
  ReplayedRun Take(const SimulationTotals& totals) {
    for (; next_ < run_.series.size(); ++next_) {
      replayed_.series.push_back({.time_ns = run_.series[next_].time_ns,
                                  .running = 0,
                                  .waiting = 0,
                                  .kv_cache_pct = 0});
    }
    replayed_.totals = totals;
    return std::move(replayed_);
  }

 private:
  const MeasuredRun& run_;
  const std::function<bool()>& stop_;
  std::size_t next_ = 0;  // of the series
  ReplayedRun replayed_;
};

/// What steps worked on, and for how long, from the start to any instant; part
/// of a step counts as that part of its work.
class WorkSoFar {
 public:
  struct Sums {
    Vector work{};
    double busy_ns = 0;
  };

  explicit WorkSoFar(const ReplayedRun& replayed) : steps_(replayed.steps) {
    sums_.reserve(steps_.size() + 1);
    sums_.emplace_back();
    for (const ReplayedRun::Step& step : steps_) {
      sums_.push_back(Plus(sums_.back(), step, 1.0));
    }
  }

  [[nodiscard]] Sums At(std::int64_t time_ns) const {
    const auto next = std::partition_point(
        steps_.begin(), steps_.end(), [time_ns](const ReplayedRun::Step& step) {
          return step.end_ns <= time_ns;
        });
    const auto& before = sums_[static_cast<std::size_t>(next - steps_.begin())];
    if (next == steps_.end() || next->begin_ns >= time_ns) return before;
    return Plus(before, *next,
                static_cast<double>(time_ns - next->begin_ns) /
                    static_cast<double>(next->end_ns - next->begin_ns));
  }

 private:
  static Sums Plus(Sums sums, const ReplayedRun::Step& step, double share) {
    const Vector work = AsVector(step.work);
    for (std::size_t i = 0; i < work.size(); ++i) {
      sums.work[i] += share * work[i];
    }
    sums.busy_ns += share * static_cast<double>(step.end_ns - step.begin_ns);
    return sums;
  }

  const std::vector<ReplayedRun::Step>& steps_;
  std::vector<Sums> sums_;  // before each step, and after the last
};

/// The middle of some times; 0 where there are none.
double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const std::size_t middle = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

double Mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// Where the search starts: what the roofline would take one after the other,
/// or the order of magnitude of today's engines.
StepCost StartingCost(const MeasuredRun& run) {
  if (!run.roofline) {
    return {.per_step = 10'000'000'000'000,
            .per_sequence = 20'000'000'000,
            .per_computed_token = 50'000'000'000,
            .per_prefill_attention = 5'000'000,
            .per_resident_token = 100'000'000};
  }
  StepCost cost;
  for (const auto member : kCoefficients) {
    cost.*member = run.roofline->serial.*member +
                   run.roofline->compute.*member + run.roofline->memory.*member;
  }
  return cost;
}

class Fitter {
 public:
  Fitter(const MeasuredRun& run, const RequestSet& counts,
         const StepFitOptions& options)
      : run_(run),
        counts_(counts),
        options_(options),
        start_(StartingCost(run)) {}

  absl::StatusOr<StepFit> Run() {
    absl::StatusOr<Candidate> start = Try(start_);
    if (!start.ok()) return start.status();
    fit_.start_objective = start->objective;
    Candidate best = *std::move(start);
    if (absl::Status scaled = Scale(best); !scaled.ok()) return scaled;
    start_ = best.cost;

    constexpr int kMostRegressions = 8;
    Candidate latest = best;
    for (; fit_.regressions < kMostRegressions; ++fit_.regressions) {
      const StepCost cost = Regress(latest.replayed);
      if (IsClose(cost, latest.cost)) break;
      absl::StatusOr<Candidate> next = Try(cost);
      if (!next.ok()) return next.status();
      latest = *std::move(next);
      if (latest.objective < best.objective) best = latest;
    }
    fit_.regression_objective = best.objective;
    if (options_.search) {
      absl::Status searched = Search(best);
      if (!searched.ok()) return searched;
    }
    fit_.objective = best.objective;
    fit_.time.serial = best.cost;
    return fit_;
  }

 private:
  struct Candidate {
    StepCost cost;
    double objective = 0;
    ReplayedRun replayed;
  };

  absl::StatusOr<Candidate> Try(const StepCost& cost) {
    StepTime time;
    time.serial = cost;
    absl::StatusOr<ReplayedRun> replayed =
        ReplayMeasuredRun(run_, time, options_.stop);
    if (!replayed.ok()) return replayed.status();
    ++fit_.replays;
    const double objective =
        CompareRequests(run_, *replayed, counts_).Objective();
    return Candidate{
        .cost = cost, .objective = objective, .replayed = *std::move(replayed)};
  }

  /// Within a ten-thousandth.
  static bool IsClose(const StepCost& a, const StepCost& b) {
    return std::all_of(
        kCoefficients.begin(), kCoefficients.end(), [&](const auto member) {
          return std::abs(a.*member - b.*member) <= b.*member / 10'000;
        });
  }

  /// All coefficients by the same factor, as long as that comes closer: a
  /// replay that is too fast or too slow by much makes other decisions than the
  /// run did, and nothing can be learnt from its steps.
  absl::Status Scale(Candidate& best) {
    constexpr std::int64_t kQuarter = 250;
    constexpr int kMostScalings = 12;  // 14 times as much
    for (const std::int64_t thousandths : {kQuarter, -kQuarter}) {
      for (int i = 0; i < kMostScalings; ++i) {
        absl::StatusOr<Candidate> next =
            Try(Scaled(best.cost, kCoefficients.size(), thousandths));
        if (!next.ok()) return next.status();
        if (next->objective >= best.objective) break;
        best = *std::move(next);
      }
    }
    return absl::OkStatus();
  }

  StepCost Regress(const ReplayedRun& replayed) const {
    const WorkSoFar so_far(replayed);
    LeastSquares problem;
    const auto add = [&](std::int64_t from_ns, std::int64_t to_ns,
                         std::int64_t measured_ns) {
      const WorkSoFar::Sums from = so_far.At(from_ns);
      const WorkSoFar::Sums to = so_far.At(to_ns);
      Vector work{};
      for (std::size_t i = 0; i < work.size(); ++i) {
        work[i] = to.work[i] - from.work[i];
      }
      const double idle =
          static_cast<double>(to_ns - from_ns) - (to.busy_ns - from.busy_ns);
      const double value = static_cast<double>(measured_ns) - idle;
      if (value > 0) problem.Add(work, value, 1 / value);
    };
    for (std::size_t i = 0; i < run_.measured.size(); ++i) {
      const RequestRecord& record = replayed.requests[i];
      const std::optional<MeasuredRequest>& measured = run_.measured[i];
      if (!measured || record.rejected || !counts_(record.id)) continue;
      add(record.arrival_ns, record.first_token_ns,
          measured->first_token_ns - record.arrival_ns);
      add(record.first_token_ns, record.finish_ns,
          measured->last_token_ns - measured->first_token_ns);
    }
    LeastSquares::Prior prior;
    constexpr double kStrength = 3e-5;  // of all that is to be explained
    prior.strength = std::sqrt(kStrength * problem.total());
    for (std::size_t i = 0; i < kCoefficients.size(); ++i) {
      prior.expected[i] = static_cast<double>(start_.*kCoefficients[i]) /
                          kFemtosecondsPerNanosecond;
      prior.scale[i] = std::max(prior.expected[i], kLeastScale[i]);
    }
    const std::optional<Vector> solution = problem.Solve(prior);
    if (!solution) return start_;
    StepCost cost;
    for (std::size_t i = 0; i < kCoefficients.size(); ++i) {
      cost.*kCoefficients[i] = std::llround(
          std::min((*solution)[i] * kFemtosecondsPerNanosecond, 1e17));
    }
    return cost;
  }

  /// By one coordinate, or all together, at a time.
  absl::Status Search(Candidate& best) {
    for (const std::int64_t thousandths : {200, 100, 50, 20, 10}) {
      constexpr int kMostRounds = 4;
      for (int round = 0; round < kMostRounds; ++round) {
        bool improved = false;
        for (std::size_t i = 0; i <= kCoefficients.size(); ++i) {
          for (const std::int64_t by : {thousandths, -thousandths}) {
            absl::StatusOr<Candidate> next = Try(Scaled(best.cost, i, by));
            if (!next.ok()) return next.status();
            if (next->objective >= best.objective) continue;
            best = *std::move(next);
            improved = true;
            break;
          }
        }
        if (!improved) break;
      }
    }
    return absl::OkStatus();
  }

  /// Coefficient `which`, or all where there is none of that number, by so
  /// many thousandths; one that is 0 by those of its scale.
  static StepCost Scaled(StepCost cost, std::size_t which,
                         std::int64_t thousandths) {
    for (std::size_t i = 0; i < kCoefficients.size(); ++i) {
      if (which != i && which != kCoefficients.size()) continue;
      std::int64_t& value = cost.*kCoefficients[i];
      const std::int64_t unit =
          value > 0 ? value
                    : std::llround(kLeastScale[i] * kFemtosecondsPerNanosecond);
      if (value == 0 && which != i) continue;
      value = std::max<std::int64_t>(
          0, value + static_cast<std::int64_t>(absl::int128(unit) *
                                               thousandths / 1000));
    }
    return cost;
  }

  /// In nanoseconds: what a coefficient may well be off where nothing is
  /// expected of it.
  static constexpr Vector kLeastScale = {1e6, 2e4, 1e3, 1e-3, 1e-2};

  const MeasuredRun& run_;
  const RequestSet& counts_;
  const StepFitOptions& options_;
  StepCost start_;  // scaled, what coefficients are drawn to
  StepFit fit_;
};

}  // namespace

absl::StatusOr<ReplayedRun> ReplayMeasuredRun(
    const MeasuredRun& run, const StepTime& time,
    const std::function<bool()>& stop) {
  SimulationOptions options = run.simulation;
  options.step_time = time;
  Recorder recorder(run, stop);
  const absl::StatusOr<SimulationTotals> totals =
      Simulate(run.policy, options, run.requests, recorder);
  if (!totals.ok()) return totals.status();
  return recorder.Take(*totals);
}

double RequestErrors::Objective() const {
  const auto share = [](double error, double of) {
    return of > 0 ? error / of : 0;
  };
  return share(ttft_error, measured_ttft) + share(tpot_error, measured_tpot);
}

RequestErrors CompareRequests(const MeasuredRun& run,
                              const ReplayedRun& replayed,
                              const RequestSet& counts) {
  std::vector<double> ttft[2];  // measured, replayed
  std::vector<double> tpot[2];
  std::vector<double> e2e[2];
  std::vector<double> ttft_errors;
  std::vector<double> tpot_errors;
  for (std::size_t i = 0; i < run.measured.size(); ++i) {
    const std::optional<MeasuredRequest>& measured = run.measured[i];
    const RequestRecord& record = replayed.requests[i];
    if (!measured || record.rejected || !counts(record.id)) continue;
    const std::int64_t times[2][2] = {
        {measured->first_token_ns, measured->last_token_ns},
        {record.first_token_ns, record.finish_ns}};
    for (std::size_t side = 0; side < 2; ++side) {
      const auto [first_ns, last_ns] = times[side];
      ttft[side].push_back(static_cast<double>(first_ns - record.arrival_ns));
      e2e[side].push_back(static_cast<double>(last_ns - record.arrival_ns));
      if (record.output_tokens < 2) continue;
      tpot[side].push_back(static_cast<double>(last_ns - first_ns) /
                           (record.output_tokens - 1));
    }
    ttft_errors.push_back(std::abs(ttft[0].back() - ttft[1].back()));
    if (record.output_tokens < 2) continue;
    tpot_errors.push_back(std::abs(tpot[0].back() - tpot[1].back()));
  }
  RequestErrors errors;
  errors.requests = static_cast<std::int64_t>(ttft_errors.size());
  errors.ttft_error = Mean(ttft_errors);
  errors.tpot_error = Mean(tpot_errors);
  errors.measured_ttft = Median(std::move(ttft[0]));
  errors.replayed_ttft = Median(std::move(ttft[1]));
  errors.measured_tpot = Median(std::move(tpot[0]));
  errors.replayed_tpot = Median(std::move(tpot[1]));
  errors.measured_e2e = Median(std::move(e2e[0]));
  errors.replayed_e2e = Median(std::move(e2e[1]));
  return errors;
}

absl::StatusOr<StepFit> FitStepTime(const MeasuredRun& run,
                                    const RequestSet& counts,
                                    const StepFitOptions& options) {
  std::int64_t num_measured = 0;
  for (std::size_t i = 0; i < run.measured.size(); ++i) {
    if (run.measured[i] && counts(static_cast<std::int64_t>(i))) ++num_measured;
  }
  if (num_measured < 2) {
    return absl::FailedPreconditionError(
        "fewer than two of the requests have measured times: nothing to fit");
  }
  return Fitter(run, counts, options).Run();
}

}  // namespace pagedkv::sim
