// SPDX-License-Identifier: Apache-2.0
#include "sim/report/verdict.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

constexpr double kSameBatchRatio = 1.02;

std::string Capitalized(std::string text) {
  text[0] =
      static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string Percent(const std::optional<Estimate>& estimate) {
  return estimate ? absl::StrFormat("%.1f %%", estimate->mean) : "none";
}

/// How much better a policy uses memory: its batch, or with --demand its peak,
/// where less is better.
double Merit(const Report& report, const PolicyResult& result) {
  if (report.simulation.demand) {
    return -static_cast<double>(result.totals.capacity_slots);
  }
  return result.metrics.batch_mean ? result.metrics.batch_mean->mean : 0;
}

std::string OnePolicy(const PolicyResult& result, std::string_view words) {
  const Metrics& metrics = result.metrics;
  return Capitalized(absl::StrFormat(
      "%s holds %.1f requests at once; tokens fill %s of the pool, and %s of "
      "what is held is wasted.",
      words, metrics.batch_mean ? metrics.batch_mean->mean : 0,
      Percent(metrics.token_pct), Percent(metrics.waste_pct)));
}

std::string ByPeak(const PolicyResult& best, std::string_view best_words,
                   const PolicyResult& other, std::string_view other_words) {
  const std::int64_t least = best.totals.capacity_slots;
  const std::int64_t most = other.totals.capacity_slots;
  return Capitalized(absl::StrFormat(
      "%s needs %s slots at its peak, %s needs %s: %.1f times as many.",
      best_words, Grouped(least), other_words, Grouped(most),
      least > 0 ? static_cast<double>(most) / static_cast<double>(least) : 0));
}

std::string ByBatch(const PolicyResult& best, std::string_view best_words,
                    const PolicyResult& other, std::string_view other_words) {
  const double most = best.metrics.batch_mean->mean;
  const double least =
      other.metrics.batch_mean ? other.metrics.batch_mean->mean : 0;
  if (least <= 0) {
    return Capitalized(
        absl::StrFormat("%s holds %.1f requests at once, %s none.", best_words,
                        most, other_words));
  }
  if (most < least * kSameBatchRatio) {
    return Capitalized(absl::StrFormat(
        "%s and %s hold as many requests at once (%.1f and %.1f): memory does "
        "not decide here. Of what they hold, %s and %s are wasted.",
        best_words, other_words, most, least, Percent(best.metrics.waste_pct),
        Percent(other.metrics.waste_pct)));
  }
  return Capitalized(absl::StrFormat(
      "%s holds %.1f times as many requests at once as %s (%.1f against %.1f): "
      "tokens fill %s of the pool, against %s.",
      best_words, most / least, other_words, most, least,
      Percent(best.metrics.token_pct), Percent(other.metrics.token_pct)));
}

}  // namespace

std::string PolicyInWords(const Policy& policy, TokenCount max_tokens) {
  switch (policy.kind) {
    case PolicyKind::kPaged:
      return absl::StrFormat("paging in blocks of %d",
                             policy.block_size.value());
    case PolicyKind::kContiguousMax:
      return absl::StrCat("preallocating ", Grouped(max_tokens.value()),
                          " tokens");
    case PolicyKind::kContiguousPow2:
      return "reserving up to twice the output";
    case PolicyKind::kContiguousOracle:
      return "reserving the true length in one piece";
    case PolicyKind::kContiguousMaxExact:
      return absl::StrCat("an arena of ", Grouped(max_tokens.value()),
                          " tokens for each request");
    case PolicyKind::kConcat:
      break;
  }
  return "growing by copy";
}

std::string Verdict(const Report& report) {
  const auto words = [&](const PolicyResult& result) {
    return PolicyInWords(result.policy, report.model.max_sequence_tokens);
  };
  const auto worse = [&](const PolicyResult& a, const PolicyResult& b) {
    return Merit(report, a) < Merit(report, b);
  };
  const PolicyResult& baseline = report.results.front();
  const PolicyResult& best = *std::ranges::max_element(report.results, worse);
  const PolicyResult& worst = *std::ranges::min_element(report.results, worse);
  // The last, where all are the same.
  const PolicyResult& other = &best != &baseline ? baseline
                              : &worst != &best  ? worst
                                                 : report.results.back();
  if (report.simulation.demand) {
    if (&best == &other) {
      return Capitalized(absl::StrFormat("%s needs %s slots at its peak.",
                                         words(best),
                                         Grouped(best.totals.capacity_slots)));
    }
    return ByPeak(best, words(best), other, words(other));
  }
  if (!best.metrics.batch_mean || Merit(report, best) <= 0) {
    return "No request was ever resident: the pool holds none of them.";
  }
  if (&best == &other) return OnePolicy(best, words(best));
  return ByBatch(best, words(best), other, words(other));
}

}  // namespace pagedkv::sim
