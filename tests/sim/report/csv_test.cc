// SPDX-License-Identifier: Apache-2.0
#include "sim/report/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_split.h"

#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts = absl::StrSplit(text, separator);
  if (parts.back().empty()) parts.pop_back();  // after the last line break
  return parts;
}

/// A decimal with at most three places, in thousandths: without a float, whose
/// rounding could hide a difference.
std::int64_t Thousandths(std::string_view decimal) {
  const std::size_t point = decimal.find('.');
  const std::string whole(decimal.substr(0, point));
  std::string places(
      point == std::string_view::npos ? "" : decimal.substr(point + 1));
  EXPECT_LE(places.size(), 3u) << decimal;
  places.resize(3, '0');
  return std::stoll(whole) * 1000 + std::stoll(places);
}

TEST(CsvTest, HeadersAreThePublishedOnes) {
  EXPECT_EQ(kTimeseriesHeader,
            "policy,t_s,window_s,capacity,token,reserved,internal,roundup,"
            "cached_idle,watermark,blocked_fragmented,blocked_capacity,"
            "blocked_policy,tail,idle,running,waiting,preemptions,"
            "largest_free\n");
  EXPECT_EQ(kRequestsHeader,
            "policy,id,arrival_s,prompt,output,admit_s,finish_s,slots_granted,"
            "waste_slot_s,reserved_slot_s,preemptions,hit_tokens,"
            "blocked_cause,first_token_s\n");
}

TEST(CsvTest, ATimeseriesRowShowsTheMeansOfItsWindow) {
  StatisticsOptions options;
  options.window_ns = 4'000'000'000;
  RunStatistics statistics(options);
  RunExample(6, statistics);
  EXPECT_THAT(
      Split(TimeseriesRows("paged-16", statistics), '\n'),
      ElementsAre(
          "paged-16,0,4,1000,400,100,200,50,0,30,20,110,40,10,40,3,1,0,60",
          "paged-16,4,2,1000,400,100,200,50,0,30,20,110,40,10,40,3,1,0,60"));
}

TEST(CsvTest, EveryTimeseriesRowSumsToTheCapacityDigitByDigit) {
  StatisticsOptions options;
  options.window_ns = 1'000'003;
  RunStatistics statistics(options);
  std::mt19937_64 random(5);
  std::int64_t now = 0;
  for (int i = 0; i < 20'000; ++i) {
    Sample sample;
    sample.begin_ns = now;
    sample.duration_ns = static_cast<std::int64_t>(random() % 99'991);
    std::int64_t left = 15'728;
    for (std::size_t cause = 0; cause + 1 < kNumCauses; ++cause) {
      const auto slots = static_cast<std::int64_t>(
          random() % static_cast<std::uint64_t>(left + 1));
      sample.slots[static_cast<Cause>(cause)] = slots;
      left -= slots;
    }
    sample.slots[Cause::kIdle] = left;
    statistics.OnSample(sample);
    now += sample.duration_ns;
  }
  const std::vector<std::string> rows =
      Split(TimeseriesRows("paged-16", statistics), '\n');
  ASSERT_GE(rows.size(), 256u);
  for (const std::string& row : rows) {
    const std::vector<std::string> cells = Split(row, ',');
    ASSERT_EQ(cells.size(), 19u) << row;
    EXPECT_EQ(cells[3], "15728");
    std::int64_t sum = 0;
    for (std::size_t i = 4; i < 4 + kNumCauses; ++i) {
      sum += Thousandths(cells[i]);
    }
    EXPECT_EQ(sum, 15'728'000) << row;
  }
}

TEST(CsvTest, ARequestRowLeavesEmptyWhatNeverHappened) {
  RequestRecord record;
  record.id = 12;
  record.arrival_ns = 1'500'000'000;
  record.prompt_tokens = 374;
  record.output_tokens = 44;
  record.rejected = true;
  EXPECT_EQ(RequestRow("contiguous-max", record),
            "contiguous-max,12,1.5,374,44,,,0,0.000000,0.000000,0,0,"
            "rejected,\n");
  record.rejected = false;
  record.admit_ns = 2'000'000'000;
  record.first_token_ns = 2'500'000'000;
  record.finish_ns = 3'000'000'020;
  record.slots_granted = 2'048;
  record.waste_slot_s = 1631.5;
  record.reserved_slot_s = 22;
  record.preemptions = 1;
  EXPECT_EQ(RequestRow("contiguous-max", record),
            "contiguous-max,12,1.5,374,44,2,3.00000002,2048,1631.500000,"
            "22.000000,1,0,,2.5\n");
  record.blocked_cause = Cause::kBlockedFragmented;
  EXPECT_THAT(RequestRow("contiguous-max", record),
              ::testing::EndsWith(",1,0,blocked_fragmented,2.5\n"));
}

}  // namespace
}  // namespace pagedkv::sim
