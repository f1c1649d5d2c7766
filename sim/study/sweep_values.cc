// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sweep_values.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

#include "sim/study/option_checks.h"

namespace pagedkv::sim {
namespace {

/// Numbers of ranges are decimals of at most six places, so that steps are
/// exact.
constexpr std::int64_t kScale = 1'000'000;
constexpr int kMaxDecimals = 6;
/// Sums and products of a few stay within 63 bits.
constexpr std::int64_t kMaxWhole = std::int64_t{1} << 40;

/// "paged-16", "1.5GiB": a number with what stands around it.
struct Quantity {
  std::string prefix;
  std::int64_t millionths = 0;
  std::string suffix;
};

bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

std::optional<Quantity> ParseQuantity(std::string_view text) {
  Quantity quantity;
  const auto first = std::find_if(text.begin(), text.end(), IsDigit);
  if (first == text.end()) return std::nullopt;
  const auto begin = static_cast<std::size_t>(first - text.begin());
  quantity.prefix = text.substr(0, begin);
  std::size_t at = begin;
  std::int64_t whole = 0;
  for (; at < text.size() && IsDigit(text[at]); ++at) {
    whole = 10 * whole + (text[at] - '0');
    if (whole > kMaxWhole) return std::nullopt;
  }
  std::int64_t fraction = 0;
  if (at + 1 < text.size() && text[at] == '.' && IsDigit(text[at + 1])) {
    int decimals = 0;
    for (++at; at < text.size() && IsDigit(text[at]); ++at, ++decimals) {
      if (decimals == kMaxDecimals) return std::nullopt;
      fraction = 10 * fraction + (text[at] - '0');
    }
    for (; decimals < kMaxDecimals; ++decimals) fraction *= 10;
  }
  quantity.millionths = whole * kScale + fraction;
  quantity.suffix = text.substr(at);
  return quantity;
}

std::string ToText(const Quantity& like, std::int64_t millionths) {
  std::string number = absl::StrFormat("%d", millionths / kScale);
  if (millionths % kScale != 0) {
    number += absl::StrFormat(".%06d", millionths % kScale);
    number.erase(number.find_last_not_of('0') + 1);
  }
  return like.prefix + number + like.suffix;
}

/// Appends the values of "FIRST..LAST", "FIRST..LAST+STEP" or
/// "FIRST..LAST*FACTOR".
absl::Status AppendRange(std::string_view text,
                         std::vector<std::string>& values) {
  const auto bad = [&](std::string_view problem) {
    return absl::InvalidArgumentError(
        absl::StrFormat("'%s' %s: write a range like 8..256*2, 1..4 or "
                        "1GiB..8GiB+1GiB",
                        text, problem));
  };
  const std::size_t dots = text.find("..");
  std::string_view rest = text.substr(dots + 2);
  const std::size_t sign = rest.find_first_of("+*");
  const bool by_factor = sign != std::string_view::npos && rest[sign] == '*';
  const std::optional<Quantity> first = ParseQuantity(text.substr(0, dots));
  const std::optional<Quantity> last = ParseQuantity(rest.substr(0, sign));
  std::optional<Quantity> step = Quantity{"", kScale, ""};
  if (sign != std::string_view::npos) {
    step = ParseQuantity(rest.substr(sign + 1));
  }
  if (!first || !last || !step)
    return bad("has no numbers that can be counted");
  if (first->prefix != last->prefix || first->suffix != last->suffix) {
    return bad("has ends of different units");
  }
  if (!step->prefix.empty() ||
      !(step->suffix.empty() ||
        (!by_factor && step->suffix == first->suffix))) {
    return bad("has a step of another unit");
  }
  if (first->millionths > last->millionths) return bad("ends below its begin");
  if (by_factor ? step->millionths <= kScale || first->millionths == 0
                : step->millionths == 0) {
    return bad("never ends");
  }
  for (std::int64_t value = first->millionths; value <= last->millionths;) {
    values.push_back(ToText(*first, value));
    if (values.size() > kMaxSweepRuns) return bad("has too many values");
    if (by_factor) {
      const auto product = absl::int128(value) * step->millionths / kScale;
      if (product == value) return bad("never ends");
      if (product > last->millionths) break;
      value = static_cast<std::int64_t>(product);
    } else {
      value += step->millionths;
    }
  }
  return absl::OkStatus();
}

std::vector<std::string_view> SplitAt(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (;;) {
    const std::size_t at = text.find(separator);
    pieces.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return pieces;
    text.remove_prefix(at + 1);
  }
}

}  // namespace

absl::StatusOr<SweepParameter> ParseSweepParameter(std::string_view text) {
  const auto bad = [](const std::string& problem) {
    return OptionError("--sweep: " + problem);
  };
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return bad(absl::StrFormat(
        "'%s' names no values: write it like max-seq-len=2048,4096", text));
  }
  SweepParameter parameter;
  std::string_view name = text.substr(0, equals);
  if (name.substr(0, 2) == "--") name.remove_prefix(2);
  parameter.name = name;
  std::string_view list = text.substr(equals + 1);
  const bool lists = list.find(';') != std::string_view::npos;
  for (const std::string_view piece : SplitAt(list, lists ? ';' : ',')) {
    if (piece.empty()) {
      return bad(absl::StrFormat("'%s' has an empty value", text));
    }
    const std::size_t dots = piece.find("..");
    // A path may have ".." in it, but no number before it.
    if (dots == std::string_view::npos || piece.find('/') != piece.npos) {
      parameter.values.emplace_back(piece);
      continue;
    }
    absl::Status status = AppendRange(piece, parameter.values);
    if (!status.ok()) return InOption("--sweep", status);
  }
  std::vector<std::string> sorted = parameter.values;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    return bad(absl::StrFormat("'%s' has the value %s twice", text, *twice));
  }
  return parameter;
}

absl::StatusOr<std::vector<std::vector<std::string>>> SweepCombinations(
    const std::vector<SweepParameter>& parameters) {
  std::vector<std::vector<std::string>> combinations = {{}};
  for (const SweepParameter& parameter : parameters) {
    const auto same = [&](const SweepParameter& other) {
      return other.name == parameter.name;
    };
    if (std::count_if(parameters.begin(), parameters.end(), same) > 1) {
      return OptionError(absl::StrFormat("--sweep: %s is swept more than once",
                                         parameter.name));
    }
    if (combinations.size() * parameter.values.size() > kMaxSweepRuns) {
      return OptionError(
          absl::StrFormat("--sweep: more than %d combinations", kMaxSweepRuns));
    }
    std::vector<std::vector<std::string>> longer;
    for (const std::vector<std::string>& combination : combinations) {
      for (const std::string& value : parameter.values) {
        longer.push_back(combination);
        longer.back().push_back(value);
      }
    }
    combinations = std::move(longer);
  }
  return combinations;
}

}  // namespace pagedkv::sim
