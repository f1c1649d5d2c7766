// SPDX-License-Identifier: Apache-2.0
#include "sim/report/causes_plot.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_format.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kWidth = 50;

struct CauseGlyph {
  std::string_view ascii;
  std::string_view unicode;
  std::string_view label;
};

// In the order of `Cause`. The rare ones have letters in both.
constexpr std::array<CauseGlyph, kNumCauses> kGlyphs = {{
    {"#", "█", "token"},
    {"=", "▓", "reserved"},
    {"x", "▒", "internal"},
    {"+", "░", "round-up"},
    {"o", "○", "cached, idle"},
    {"w", "w", "watermark"},
    {"%", "▚", "blocked: fragmented"},
    {"c", "c", "blocked: capacity"},
    {"p", "p", "blocked: limits"},
    {"t", "t", "tail"},
    {".", "·", "idle"},
}};

std::string_view GlyphOf(std::size_t cause, Glyphs glyphs) {
  return glyphs == Glyphs::kAscii ? kGlyphs[cause].ascii
                                  : kGlyphs[cause].unicode;
}

std::vector<std::int64_t> ColumnsOf(const PolicyResult& result) {
  std::array<absl::int128, kNumCauses> shares{};
  std::ranges::copy(result.metrics.causes_millionths_pct, shares.begin());
  return Apportion(shares, kWidth);
}

}  // namespace

std::string CausesPlot(const Report& report, Glyphs glyphs) {
  std::size_t name_width = 0;
  for (const PolicyResult& result : report.results) {
    name_width = std::max(name_width, result.policy.id().size());
  }
  std::string text =
      absl::StrFormat("where the pool goes, %d %% a column:\n", 100 / kWidth);
  std::array<bool, kNumCauses> occurs{};
  for (const PolicyResult& result : report.results) {
    absl::StrAppendFormat(&text, "%-*s |", static_cast<int>(name_width),
                          result.policy.id());
    const std::vector<std::int64_t> columns = ColumnsOf(result);
    for (std::size_t cause = 0; cause < kNumCauses; ++cause) {
      occurs[cause] = occurs[cause] || columns[cause] > 0;
      for (std::int64_t i = 0; i < columns[cause]; ++i) {
        text += GlyphOf(cause, glyphs);
      }
    }
    text += "|\n";
  }
  std::string_view separator = "";
  for (std::size_t cause = 0; cause < kNumCauses; ++cause) {
    if (!occurs[cause]) continue;
    absl::StrAppendFormat(&text, "%s%s %s", separator, GlyphOf(cause, glyphs),
                          kGlyphs[cause].label);
    separator = "  ";
  }
  text += '\n';
  return text;
}

}  // namespace pagedkv::sim
