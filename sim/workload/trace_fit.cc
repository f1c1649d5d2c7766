// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/trace_fit.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "sim/workload/fixed_point.h"
#include "sim/workload/session_source.h"
#include "sim/workload/trace_structure.h"

namespace pagedkv::sim {
namespace {

constexpr std::size_t kMinRequests = 10;
constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kNsPerDay = std::int64_t{86'400} * 1'000'000'000;
constexpr std::size_t kHours = 24;
/// Of the first half of a trace, to tell the number of turns; and so many in
/// each range of first prompts.
constexpr std::size_t kMinSessions = 50;
/// Below it, the lengths of prompts and answers count as independent.
constexpr double kMinCorrelation = 0.1;
constexpr std::size_t kRanges = 8;
constexpr std::size_t kRangeQuantiles = 50;
constexpr std::size_t kQuantiles = 100;
constexpr double kMinCv = 0.1;  // as descriptions have it
constexpr double kMaxCv = 10.0;
constexpr double kPoissonWithin = 0.05;  // of a variation of 1
constexpr std::int32_t kMaxZipf = 5'000;
constexpr int kRateSteps = 4;

/// To so many significant digits, as a description shows it.
double Rounded(double value, int digits) {
  double rounded = value;
  const std::string text = absl::StrFormat("%.*g", digits, value);
  return absl::SimpleAtod(text, &rounded) ? rounded : value;
}

/// The quantiles of `values` at `count` equal steps, and more of the upper
/// tail: that is long, and steps in it would add to the mean.
Distribution ToDistribution(const Sample& values, std::size_t count) {
  std::vector<std::int32_t> fractions;
  for (std::size_t i = 0; i <= count; ++i) {
    fractions.push_back(
        static_cast<std::int32_t>(i * Distribution::kWhole / count));
  }
  fractions.insert(fractions.end(), {910'000, 930'000, 950'000, 970'000,
                                     990'000, 995'000, 998'000, 999'000});
  std::sort(fractions.begin(), fractions.end());
  fractions.erase(std::unique(fractions.begin(), fractions.end()),
                  fractions.end());
  std::vector<Distribution::Point> points;
  for (const std::int32_t fraction : fractions) {
    points.push_back({.fraction = fraction,
                      .value = values.Quantile(static_cast<double>(fraction) /
                                               Distribution::kWhole)});
  }
  // Between equal values no point is needed.
  std::vector<Distribution::Point> kept;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i > 0 && i + 1 < points.size() &&
        points[i - 1].value == points[i].value &&
        points[i + 1].value == points[i].value) {
      continue;
    }
    kept.push_back(points[i]);
  }
  return Distribution(std::move(kept));
}

/// 1 with the given chance, else 0.
Distribution Chance(double chance) {
  const auto none = static_cast<std::int32_t>(
      std::llround((1.0 - chance) * Distribution::kWhole));
  if (none >= Distribution::kWhole) return Distribution(0);
  if (none <= 0) return Distribution(1);
  std::vector<Distribution::Point> points = {{0, 0}};
  if (none > 1) points.push_back({none - 1, 0});
  points.push_back({none, 1});
  points.push_back({Distribution::kWhole, 1});
  return Distribution(std::move(points));
}

/// Ranks from 0, ties at their middle, doubled to be whole.
std::vector<double> Ranks(const std::vector<std::int64_t>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return values[a] != values[b] ? values[a] < values[b] : a < b;
  });
  std::vector<double> ranks(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin;
    while (end < order.size() && values[order[end]] == values[order[begin]]) {
      ++end;
    }
    for (std::size_t i = begin; i < end; ++i) {
      ranks[order[i]] = static_cast<double>(begin + end - 1);
    }
    begin = end;
  }
  return ranks;
}

/// Spearman's: Pearson's correlation of the ranks; 0 where one is constant.
double RankCorrelation(const std::vector<std::int64_t>& a,
                       const std::vector<std::int64_t>& b) {
  const std::vector<double> x = Ranks(a);
  const std::vector<double> y = Ranks(b);
  const double mean = static_cast<double>(a.size()) - 1.0;
  double xy = 0.0;
  double xx = 0.0;
  double yy = 0.0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx == 0.0 || yy == 0.0 ? 0.0 : xy / std::sqrt(xx * yy);
}

/// The chance that two draws from a Zipf distribution are the same.
double SameTwice(std::int64_t count, std::int32_t thousandths) {
  double sum = 0.0;
  double squares = 0.0;
  for (std::int64_t rank = 1; rank <= count; ++rank) {
    const std::uint64_t exponent = Log2(static_cast<std::uint64_t>(rank)) *
                                   static_cast<std::uint64_t>(thousandths) /
                                   1000;
    const auto weight = static_cast<double>(PowerOfHalf(exponent));
    sum += weight;
    squares += weight * weight;
  }
  return squares / (sum * sum);
}

/// The exponent with which two draws are the same with the chance `same`.
std::int32_t FitZipf(std::int64_t count, double same) {
  std::int32_t low = 0;
  std::int32_t high = kMaxZipf;
  while (low < high) {
    const std::int32_t middle = (low + high) / 2;
    if (SameTwice(count, middle) < same) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// The distribution of `values` within ranges of their prompts, which hold
/// about as many each.
ByPrompt InRanges(const std::vector<std::int64_t>& prompts,
                  const std::vector<std::int64_t>& values) {
  const Sample sorted(prompts);
  std::vector<std::int64_t> bounds;  // equal lengths are in one range
  for (std::size_t i = 1; i < kRanges; ++i) {
    const std::int64_t bound =
        sorted.Quantile(static_cast<double>(i) / static_cast<double>(kRanges));
    if (bound == sorted.values().back()) break;
    if (bounds.empty() || bound > bounds.back()) bounds.push_back(bound);
  }
  bounds.push_back(ByPrompt::Range().up_to);
  std::vector<std::vector<std::int64_t>> parts(bounds.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto part =
        std::lower_bound(bounds.begin(), bounds.end(), prompts[i]);
    parts[static_cast<std::size_t>(part - bounds.begin())].push_back(values[i]);
  }
  ByPrompt by_prompt;
  by_prompt.ranges.clear();
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    by_prompt.ranges.push_back(
        {.up_to = bounds[i],
         .values =
             ToDistribution(Sample(std::move(parts[i])), kRangeQuantiles)});
  }
  return by_prompt;
}

class Fitter {
 public:
  explicit Fitter(const LoadedWorkload& trace)
      : requests_(trace.requests),
        block_(trace.summary.trace_block_tokens > 0
                   ? trace.summary.trace_block_tokens
                   : 16),
        sessions_(FindSessions(requests_, block_)) {
    fit_.spec.name = "like " + trace.summary.name;
    fit_.spec.description = absl::StrCat("Fitted to ", trace.summary.name,
                                         ", sha256 ", trace.summary.sha256);
    fit_.spec.num_requests = static_cast<std::int64_t>(requests_.size());
    fit_.spec.block = block_;
    class_.name = "fitted";
  }

  absl::StatusOr<TraceFit> Fit(std::uint64_t seed) {
    FitAnswers();
    FitSessions();
    FitSharedTexts();
    FitArrivals();
    fit_.spec.classes.push_back(std::move(class_));
    if (absl::Status set = SetRate(); !set.ok()) return set;
    const auto generated = Generate(seed);
    if (!generated.ok()) return generated.status();
    fit_.match = CompareWorkloads(requests_, *generated, block_);
    return std::move(fit_);
  }

 private:
  void Tell(std::string name, std::string finding) {
    fit_.facts.push_back({std::move(name), std::move(finding)});
  }

  void FitAnswers() {
    std::vector<std::int64_t> prompts;
    std::vector<std::int64_t> outputs;
    for (const TraceRequest& each : requests_) {
      prompts.push_back(each.prompt_tokens);
      outputs.push_back(each.output_tokens);
    }
    const double correlation = RankCorrelation(prompts, outputs);
    const bool depends = std::abs(correlation) >= kMinCorrelation &&
                         requests_.size() >= kRanges * kRangeQuantiles;
    Tell("output and prompt",
         absl::StrFormat("rank correlation %.2f: %s", correlation,
                         depends ? "kept by ranges of the prompt"
                                 : "taken as independent"));
    if (!depends) {
      class_.answer.ranges[0].values =
          ToDistribution(Sample(std::move(outputs)), kQuantiles);
      return;
    }
    class_.answer = InRanges(prompts, outputs);
  }

  void FitSessions() {
    std::vector<std::int64_t> turns;
    std::vector<std::int64_t> prompts;  // of the first turns
    std::vector<std::int64_t> messages;
    std::vector<std::int64_t> think_ms;
    class_.closed_loop = sessions_.waiting > 0 || sessions_.inferred == 0;
    const auto go_on = [&](std::size_t before, std::size_t next) {
      const TraceRequest& turn = requests_[before];
      const TraceRequest& after = requests_[next];
      messages.push_back(std::max<std::int64_t>(
          0, std::int64_t{after.prompt_tokens} - turn.prompt_tokens -
                 turn.output_tokens));
      const std::int64_t wait_ns = class_.closed_loop && after.follows >= 0
                                       ? after.delay_ns
                                       : after.arrival_ns - turn.arrival_ns;
      think_ms.push_back(std::max<std::int64_t>(0, wait_ns) / kNsPerMs);
    };
    std::size_t going_on = 0;
    const std::int64_t half_ns =
        (requests_.front().arrival_ns + requests_.back().arrival_ns) / 2;
    std::size_t num_early = 0;
    for (const std::vector<std::size_t>& session : sessions_.sessions) {
      turns.push_back(static_cast<std::int64_t>(session.size()));
      const TraceRequest& first = requests_[session.front()];
      prompts.push_back(first.prompt_tokens);
      num_early += first.arrival_ns <= half_ns ? 1 : 0;
      for (std::size_t i = 1; i < session.size(); ++i) {
        go_on(session[i - 1], session[i]);
      }
      going_on += session.size() - 1;
    }
    for (const TraceSessions::Branch& branch : sessions_.branches) {
      go_on(branch.turn, branch.request);
    }
    if (messages.empty()) {
      Tell("sessions", "none: every request is on its own");
      return;
    }
    Tell("sessions",
         absl::StrFormat(
             "%d of %d requests go on from another (%s), %s loop, %.2f turns "
             "a session",
             messages.size(), requests_.size(),
             sessions_.waiting > 0 ? "recorded" : "seen in block ids",
             class_.closed_loop ? "closed" : "open",
             1.0 + static_cast<double>(going_on) /
                       static_cast<double>(sessions_.sessions.size())));
    // The end of the trace cuts off late sessions; they are in order of start.
    if (num_early >= kMinSessions) {
      prompts.resize(num_early);
      turns.resize(num_early);
    }
    if (turns.size() >= kRanges * kMinSessions) {
      class_.turns = InRanges(prompts, turns);
    } else {
      class_.turns.ranges[0].values =
          ToDistribution(Sample(std::move(turns)), kQuantiles);
    }
    class_.message = ToDistribution(Sample(std::move(messages)), kQuantiles);
    class_.think_time_ms =
        ToDistribution(Sample(std::move(think_ms)), kQuantiles);
    if (!sessions_.branches.empty() && going_on > 0) FitBranches(going_on);
  }

  /// Branches of each turn that the session goes on from.
  void FitBranches(std::size_t going_on) {
    std::vector<std::int64_t> of_turn(requests_.size(), 0);
    std::vector<std::int64_t> branches;
    for (const TraceSessions::Branch& branch : sessions_.branches) {
      if (of_turn[branch.turn]++ == 0) branches.push_back(0);
    }
    std::size_t at = 0;
    for (const std::int64_t count : of_turn) {
      if (count > 0) branches[at++] = count;
    }
    branches.resize(std::max(branches.size(), going_on), 0);
    class_.branches = ToDistribution(Sample(std::move(branches)), kQuantiles);
  }

  void FitSharedTexts() {
    const SharedPrefixes shared =
        FindSharedPrefixes(requests_, sessions_, block_);
    const std::int64_t block = block_.value();
    if (shared.common_blocks > 0) {
      class_.shared.push_back(
          {.name = "common",
           .tokens = Distribution(shared.common_blocks * block)});
    }
    std::int64_t drawn = 0;
    double same = 0.0;
    std::vector<std::int64_t> tokens;
    for (const SharedPrefixes::Group& group : shared.groups) {
      tokens.push_back(group.blocks * block);
      drawn += group.sessions;
      same += static_cast<double>(group.sessions) *
              static_cast<double>(group.sessions - 1);
    }
    if (drawn > 1) {
      same /= static_cast<double>(drawn) * static_cast<double>(drawn - 1);
      SharedTexts& texts = class_.shared.emplace_back();
      texts.name = "shared";
      texts.count = static_cast<std::int64_t>(shared.groups.size());
      texts.zipf_thousandths = FitZipf(texts.count, same);
      texts.tokens = ToDistribution(Sample(std::move(tokens)), kRangeQuantiles);
      texts.draws = Chance(static_cast<double>(drawn) /
                           static_cast<double>(sessions_.sessions.size()));
    }
    Tell("shared texts",
         absl::StrFormat("%d blocks common to all; beyond that %d of %d "
                         "sessions share %d texts",
                         shared.common_blocks, drawn, sessions_.sessions.size(),
                         shared.groups.size()));
    std::vector<std::int64_t> first;
    for (std::size_t i = 0; i < sessions_.sessions.size(); ++i) {
      const TraceRequest& request = requests_[sessions_.sessions[i].front()];
      first.push_back(std::max<std::int64_t>(
          1, request.prompt_tokens - shared.blocks[i] * block));
    }
    class_.first_message = ToDistribution(Sample(std::move(first)), kQuantiles);
    if (sessions_.sessions.size() == requests_.size()) {
      class_.message = class_.first_message;
    }
  }

  void FitArrivals() {
    std::vector<std::int64_t> starts;
    for (const std::vector<std::size_t>& session : sessions_.sessions) {
      starts.push_back(requests_[session.front()].arrival_ns);
    }
    const std::int64_t span_ns = starts.back() - starts.front();
    ArrivalSpec& arrivals = class_.arrivals;
    if (span_ns == 0) {
      Tell("starts", "all at once: taken as Poisson, 1 a second");
      return;
    }
    const auto gaps = static_cast<std::int64_t>(starts.size()) - 1;
    const std::int64_t gap_ns = span_ns / gaps;
    arrivals.sessions_per_s =
        static_cast<double>(gaps) * 1e9 / static_cast<double>(span_ns);
    if (span_ns >= kNsPerDay) FitDay(starts);
    const std::int64_t tick_ns = FindTick(gap_ns);
    const bool in_ticks = tick_ns > 1;
    arrivals.tick_ns = tick_ns;
    const std::vector<std::int64_t> even = InEvenTime(starts);
    const double cv = in_ticks ? CvOfCounts(even, tick_ns) : CvOfGaps(even);
    if (cv < kMinCv) {
      arrivals.kind = ArrivalKind::kConstant;
    } else if (std::abs(cv - 1.0) >= kPoissonWithin) {
      arrivals.kind = ArrivalKind::kGamma;
      arrivals.burstiness_cv = Rounded(std::min(cv, kMaxCv), 4);
    }
    Tell("starts",
         absl::StrFormat(
             "%.4g sessions/s, variation of gaps %.2f%s%s",
             arrivals.sessions_per_s, cv,
             arrivals.profile.empty() ? "" : ", by the hour of the day",
             in_ticks
                 ? absl::StrCat("; times are rounded to ", tick_ns / kNsPerMs,
                                " ms, so it is that of the counts")
                 : std::string()));
  }

  /// What recorded times are rounded to, more or less: 1 unless that is so much
  /// that most gaps are either none or it.
  [[nodiscard]] std::int64_t FindTick(std::int64_t gap_ns) const {
    std::vector<std::int64_t> gaps;
    for (std::size_t i = 1; i < requests_.size(); ++i) {
      const std::int64_t gap =
          requests_[i].arrival_ns - requests_[i - 1].arrival_ns;
      if (gap > 0) gaps.push_back(gap);
    }
    const Sample sample(std::move(gaps));
    const std::int64_t tick_ns =
        (sample.Quantile(0.5) + kNsPerMs / 2) / kNsPerMs * kNsPerMs;
    const bool is_regular = sample.Quantile(0.1) >= tick_ns / 10 * 9;
    const bool has_ties = sample.values().size() < requests_.size() / 2;
    return is_regular && has_ties && tick_ns > gap_ns ? tick_ns : 1;
  }

  /// Starts per hour of the day, over the time of it that the trace covers.
  void FitDay(const std::vector<std::int64_t>& starts) {
    constexpr std::int64_t kHourNs = kNsPerDay / kHours;
    std::vector<double> counts(kHours, 0.0);
    std::vector<double> covered(kHours, 0.0);
    for (const std::int64_t start : starts) {
      counts[static_cast<std::size_t>(start / kHourNs) % kHours] += 1.0;
    }
    for (std::int64_t at = 0; at < starts.back(); at += kHourNs) {
      covered[static_cast<std::size_t>(at / kHourNs) % kHours] +=
          static_cast<double>(std::min(kHourNs, starts.back() - at));
    }
    for (std::size_t hour = 0; hour < kHours; ++hour) {
      const double relative =
          counts[hour] * 1e6 / static_cast<double>(starts.size()) *
          static_cast<double>(starts.back()) / std::max(1.0, covered[hour]);
      class_.arrivals.profile.push_back(
          static_cast<std::uint32_t>(std::max(1LL, std::llround(relative))));
    }
  }

  /// `starts` as they would be at an even rate: what `SessionStarts` undoes.
  [[nodiscard]] std::vector<std::int64_t> InEvenTime(
      const std::vector<std::int64_t>& starts) const {
    const std::vector<std::uint32_t>& profile = class_.arrivals.profile;
    if (profile.empty()) return starts;
    const double sum = std::accumulate(profile.begin(), profile.end(), 0.0);
    const double part_ns =
        static_cast<double>(kNsPerDay) / static_cast<double>(profile.size());
    std::vector<std::int64_t> even;
    for (const std::int64_t start : starts) {
      const auto into = static_cast<double>(start % kNsPerDay);
      const auto part = static_cast<std::size_t>(into / part_ns);
      double before = (into / part_ns - static_cast<double>(part)) *
                      static_cast<double>(profile[part]);
      for (std::size_t i = 0; i < part; ++i) before += profile[i];
      even.push_back(
          start / kNsPerDay * kNsPerDay +
          std::llround(before / sum * static_cast<double>(kNsPerDay)));
    }
    return even;
  }

  static double CvOfGaps(const std::vector<std::int64_t>& starts) {
    std::vector<std::int64_t> gaps;
    for (std::size_t i = 1; i < starts.size(); ++i) {
      gaps.push_back(starts[i] - starts[i - 1]);
    }
    return Sample(std::move(gaps)).cv();
  }

  /// Over many gaps, the variance of a count is its mean times the square of
  /// the gaps' variation.
  static double CvOfCounts(const std::vector<std::int64_t>& starts,
                           std::int64_t tick_ns) {
    const std::int64_t ticks = (starts.back() - starts.front()) / tick_ns + 1;
    std::vector<std::int64_t> counts;
    std::int64_t tick = 0;
    std::int64_t count = 0;
    for (const std::int64_t start : starts) {
      const std::int64_t at = (start - starts.front()) / tick_ns;
      if (at != tick) {
        counts.push_back(count);
        count = 0;
        tick = at;
      }
      ++count;
    }
    counts.push_back(count);
    // Those without a start.
    constexpr std::int64_t kMaxTicks = 10'000'000;
    counts.resize(static_cast<std::size_t>(
                      std::max(static_cast<std::int64_t>(counts.size()),
                               std::min(ticks, kMaxTicks))),
                  0);
    const Sample sample(std::move(counts));
    return sample.cv() * std::sqrt(sample.mean());
  }

  absl::StatusOr<std::vector<TraceRequest>> Generate(std::uint64_t seed) const {
    absl::StatusOr<std::unique_ptr<SessionSource>> source =
        SessionSource::Create(fit_.spec, fit_.spec.num_requests, 0.0, seed);
    if (!source.ok()) return source.status();
    std::vector<TraceRequest> requests(requests_.size());
    for (TraceRequest& request : requests) {
      const absl::StatusOr<bool> more = (*source)->Next(request);
      if (!more.ok()) return more.status();
    }
    return requests;
  }

  /// A trace begins and ends in the midst of sessions, which a generated one
  /// does not begin with: so the rate is set by what comes out.
  absl::Status SetRate() {
    const std::int64_t span_ns =
        requests_.back().arrival_ns - requests_.front().arrival_ns;
    double& rate = fit_.spec.classes.front().arrivals.sessions_per_s;
    for (int step = 0; span_ns > 0 && step < kRateSteps; ++step) {
      constexpr std::uint64_t kSeed = 1;
      const auto generated = Generate(kSeed);
      if (!generated.ok()) return generated.status();
      rate *= static_cast<double>(generated->back().arrival_ns) /
              static_cast<double>(span_ns);
      rate = std::clamp(rate, 1e-9, 1e9);
    }
    rate = Rounded(rate, 6);
    return absl::OkStatus();
  }

  std::span<const TraceRequest> requests_;
  BlockSize block_;
  TraceSessions sessions_;
  WorkloadClass class_;
  TraceFit fit_;
};

}  // namespace

absl::StatusOr<TraceFit> FitTrace(const LoadedWorkload& trace,
                                  std::uint64_t seed) {
  if (trace.requests.size() < kMinRequests) {
    return absl::InvalidArgumentError(
        absl::StrCat(trace.summary.name, ": ", trace.requests.size(),
                     " requests are too few to fit a workload to; at least ",
                     kMinRequests, " are needed"));
  }
  return Fitter(trace).Fit(seed);
}

}  // namespace pagedkv::sim
