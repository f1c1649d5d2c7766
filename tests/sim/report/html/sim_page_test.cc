// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html/sim_page.h"

#include <gtest/gtest.h>

#include <string>

#include <nlohmann/json.hpp>

#include "sim/report/verdict.h"
#include "tests/sim/report/example_report.h"

namespace pagedkv::sim {
namespace {

nlohmann::json DataOf(const std::string& page, const std::string& name) {
  const std::string begin =
      "<script type=\"application/json\" id=\"" + name + "\">";
  const std::size_t from = page.find(begin) + begin.size();
  return nlohmann::json::parse(
      page.substr(from, page.find("</script>", from) - from));
}

TEST(SimPageTest, HasTheReportItsVerdictAndTheCourse) {
  const Report report = ExampleReport();
  RunStatistics statistics({.num_requests = 1'000});
  RunExample(40, statistics);
  const std::string page = SimPage(report, {{.policy = report.results[1].policy,
                                             .statistics = &statistics}});
  EXPECT_EQ(DataOf(page, "head")["verdict"], Verdict(report));
  EXPECT_EQ(DataOf(page, "report")["schema"], "pagedkv.report/1");

  const nlohmann::json courses = DataOf(page, "courses");
  const nlohmann::json& course = courses["timeseries"]["paged-16"];
  ASSERT_EQ(course["t_s"].size(), 40);
  EXPECT_EQ(course["t_s"][3], 3);
  EXPECT_EQ(course["causes"]["token"][3], 400);
  EXPECT_EQ(course["capacity"][3], 1'000);
  EXPECT_EQ(course["waiting"][3], 1);
  EXPECT_EQ(courses["waste"]["paged-16"][0]["requests"], 1);
  EXPECT_TRUE(courses["maps"].empty());
}

TEST(SimPageTest, HasTheMemoryMapThatWasRecorded) {
  const Report report = ExampleReport();
  RunStatistics statistics({.num_requests = 1'000});
  RunExample(4, statistics);
  MemoryMapRecorder memory({.max_cells = 10});
  Sample sample;
  sample.slots = ExampleSlots();
  sample.running = 3;
  ASSERT_TRUE(memory.Wants(sample));
  memory.OnRun({.begin = 0, .slots = 500, .use = SlotUse::kToken, .owner = 7});
  const std::string page = SimPage(report, {{.policy = report.results[1].policy,
                                             .statistics = &statistics,
                                             .memory = &memory}});
  const nlohmann::json map = DataOf(page, "courses")["maps"]["paged-16"];
  EXPECT_EQ(map["capacity"], 1'000);
  EXPECT_EQ(map["cell_slots"], 128);
  EXPECT_EQ(map["cells"], 8);
  ASSERT_EQ(map["frames"].size(), 1);
  EXPECT_EQ(map["frames"][0]["slots"]["token"], 400);
  EXPECT_EQ(map["data"], EncodeFrames(memory.Frames()));
}

}  // namespace
}  // namespace pagedkv::sim
