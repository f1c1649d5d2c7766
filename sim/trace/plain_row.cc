// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/plain_row.h"

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

#include "sim/trace/line_reader.h"
#include "sim/trace/number.h"

namespace pagedkv::sim {
namespace {

/// What is shorter has no place for a time to the second and two lengths.
constexpr std::size_t kLeastSize = sizeof("2024-05-10 00:00:00,1,1") - 1;
constexpr std::string_view kUtc = "+00:00";
constexpr int kMostDigits = 9;  // fit 31 bits

// From the shortest row on: fraction, zone, and two lengths with what is after
// them, which may all lie beyond the end of the line.
static_assert(1 + kMostDigits + kUtc.size() + size_t{2} * (kMostDigits + 2) <
              LineReader::kPadding);

constexpr std::array<std::int64_t, kMostDigits + 1> kPowersOfTen = {
    1,       10,        100,        1'000,       10'000,
    100'000, 1'000'000, 10'000'000, 100'000'000, 1'000'000'000};

/// A digit's value; above 9 for any other character.
unsigned DigitOf(char c) {
  return static_cast<unsigned>(static_cast<unsigned char>(c)) - '0';
}

/// Reads up to `kMostDigits` digits and returns how many there were.
int TakeDigits(const char*& at, std::int32_t& value) {
  const char* const start = at;
  std::int32_t number = 0;
  for (unsigned digit = DigitOf(*at); digit <= 9 && at - start < kMostDigits;
       digit = DigitOf(*++at)) {
    number = 10 * number + static_cast<std::int32_t>(digit);
  }
  value = number;
  return static_cast<int>(at - start);
}

}  // namespace

bool PlainRowReader::ReadMinute(const char* line) {
  std::string time(line, kMinuteSize);
  time += "00";
  std::string ignored;
  // Below 1970 in its own zone is another matter: left to the general parser.
  if (!ParseDateTime(time, minute_ns_, ignored)) return false;
  std::memcpy(minute_, line, kMinuteSize);
  return true;
}

bool PlainRowReader::Read(std::string_view line, TraceRow& row) {
  if (line.size() < kLeastSize) return false;
  const char* at = line.data();
  if (std::memcmp(at, minute_, kMinuteSize) != 0 && !ReadMinute(at)) {
    return false;
  }
  const unsigned tens = DigitOf(at[kMinuteSize]);
  const unsigned ones = DigitOf(at[kMinuteSize + 1]);
  if (tens > 5 || ones > 9) return false;
  std::int64_t since_minute_ns =
      std::int64_t{10 * tens + ones} * kPowersOfTen[kMostDigits];
  at += kMinuteSize + 2;
  if (*at == '.') {
    std::int32_t fraction = 0;
    const int digits = TakeDigits(++at, fraction);
    if (digits == 0) return false;
    since_minute_ns +=
        fraction * kPowersOfTen[static_cast<std::size_t>(kMostDigits - digits)];
  }
  if (*at == '+') {
    if (std::memcmp(at, kUtc.data(), kUtc.size()) != 0) return false;
    at += kUtc.size();
  }
  if (*at != ',') return false;
  ++at;
  if (TakeDigits(at, row.prompt_tokens) == 0 || *at != ',') return false;
  ++at;
  if (TakeDigits(at, row.output_tokens) == 0) return false;
  row.arrival_ns = minute_ns_ + since_minute_ns;
  return at == line.data() + line.size();
}

}  // namespace pagedkv::sim
