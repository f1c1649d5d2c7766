// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/hitcurve_page.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"
#include "sim/report/html/html_page.h"

namespace pagedkv::sim {
namespace {

constexpr double kEnough = 0.9;

std::string_view AskedFor(HitWeight weight) {
  switch (weight) {
    case HitWeight::kBlock:
      return "% of the blocks asked for";
    case HitWeight::kToken:
      return "% of the prompt tokens";
    case HitWeight::kRequest:
      break;
  }
  return "% of a request's prompt, in the mean";
}

// The least of the sizes at which the policy finds enough.
std::optional<BlockCount> SizeThatSuffices(const HitCurve& curve,
                                           const HitCurve::Row& row,
                                           HitWeight weight) {
  const double enough = kEnough * HitRateOf(curve.unbounded, weight);
  for (std::size_t i = 0; i < curve.sizes.size(); ++i) {
    if (HitRateOf(row.counts[i], weight) >= enough) return curve.sizes[i];
  }
  return std::nullopt;
}

std::string Needs(const HitCurve& curve, const HitCurve::Row& row,
                  HitWeight weight) {
  const std::optional<BlockCount> size = SizeThatSuffices(curve, row, weight);
  return size ? absl::StrFormat("%s needs %s blocks", row.policy,
                                Grouped(size->value()))
              : absl::StrFormat("%s needs more than %s blocks", row.policy,
                                Grouped(curve.sizes.back().value()));
}

}  // namespace

std::string HitcurveVerdict(const HitcurveReport& report, HitWeight weight) {
  const HitCurve& curve = report.curve;
  const double unbounded = HitRateOf(curve.unbounded, weight);
  std::string text = absl::StrFormat("A cache that never evicts finds %.1f %s",
                                     100 * unbounded, AskedFor(weight));
  if (unbounded <= 0) return text + ": there is nothing to share.";
  const HitCurve::Row& first = curve.rows.front();
  absl::StrAppendFormat(&text,
                        "; of the sizes tried, for nine tenths of that %s",
                        Needs(curve, first, weight));
  const auto optimum =
      std::ranges::find(curve.rows, kOptimumName, &HitCurve::Row::policy);
  if (optimum != curve.rows.end() && &*optimum != &first) {
    absl::StrAppendFormat(&text, ", and the offline %s",
                          Needs(curve, *optimum, weight));
  }
  return text + ".";
}

std::string HitcurvePage(const HitcurveReport& report,
                         const std::vector<HitWeight>& weights) {
  return RenderHtmlPage(
      {.title =
           absl::StrCat("Hit rate by size of the cache: ", report.trace.name),
       .verdict = HitcurveVerdict(report, weights.front()),
       .facts = HitcurveFacts(report),
       .version = PAGEDKV_VERSION},
      {{"hitcurve", HitcurveToJson(report, weights)}});
}

}  // namespace pagedkv::sim
