// SPDX-License-Identifier: Apache-2.0
#include "sim/report/html/sim_page.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "sim/report/html/html_page.h"
#include "sim/report/report_json.h"
#include "sim/report/summary_table.h"
#include "sim/report/verdict.h"
#include "sim/report/window_means.h"

namespace pagedkv::sim {
namespace {

using nlohmann::json;

double Thousandths(std::int64_t value) {
  return static_cast<double>(value) / 1e3;
}

double Seconds(std::int64_t nanoseconds) {
  return static_cast<double>(nanoseconds) / 1e9;
}

// Columns, which are shorter than an object for each window.
json TimeseriesToJson(const RunStatistics& statistics) {
  json columns = {{"window_s", Seconds(statistics.window_ns())},
                  {"t_s", json::array()},
                  {"capacity", json::array()},
                  {"running", json::array()},
                  {"waiting", json::array()},
                  {"preemptions", json::array()},
                  {"causes", json::object()}};
  for (const std::string_view cause : kCauseNames) {
    columns["causes"][std::string(cause)] = json::array();
  }
  for (const WindowMeans& window : MeansOfWindows(statistics)) {
    columns["t_s"].push_back(Seconds(window.begin_ns));
    columns["capacity"].push_back(Thousandths(window.capacity));
    columns["running"].push_back(Thousandths(window.running));
    columns["waiting"].push_back(Thousandths(window.waiting));
    columns["preemptions"].push_back(window.preemptions);
    for (std::size_t i = 0; i < kNumCauses; ++i) {
      columns["causes"][std::string(kCauseNames[i])].push_back(
          Thousandths(window.causes[i]));
    }
  }
  return columns;
}

json WasteToJson(const RequestStatistics& requests) {
  json ranges = json::array();
  for (const WasteRange& range : requests.WasteRanges()) {
    ranges.push_back(
        {{"from", range.from}, {"to", range.to}, {"requests", range.requests}});
  }
  return ranges;
}

json MapToJson(MemoryMapRecorder& memory, std::int32_t num_replicas) {
  json frames = json::array();
  for (const MemoryMapRecorder::Frame& frame : memory.Frames()) {
    const Sample& sample = frame.sample;
    json slots = json::object();
    for (std::size_t i = 0; i < kNumCauses; ++i) {
      slots[std::string(kCauseNames[i])] = sample.slots[static_cast<Cause>(i)];
    }
    frames.push_back({{"t_s", Seconds(sample.begin_ns)},
                      {"running", sample.running},
                      {"waiting", sample.waiting},
                      {"largest_free", sample.largest_free_slots},
                      {"slots", slots}});
  }
  return {{"replicas", num_replicas},
          {"capacity", memory.capacity()},
          {"cell_slots", memory.cell_slots()},
          {"cells", memory.Frames().front().cells.size()},
          {"frames", frames},
          {"data", EncodeFrames(memory.Frames())}};
}

}  // namespace

std::string SimPage(const Report& report,
                    const std::vector<PolicyCourse>& courses) {
  json timeseries = json::object();
  json waste = json::object();
  json maps = json::object();
  for (const PolicyCourse& course : courses) {
    timeseries[course.policy.id()] = TimeseriesToJson(*course.statistics);
    waste[course.policy.id()] = WasteToJson(course.statistics->requests());
    if (course.memory != nullptr && !course.memory->Frames().empty()) {
      maps[course.policy.id()] =
          MapToJson(*course.memory, report.simulation.fleet.num_replicas);
    }
  }
  const json document = {
      {"timeseries", timeseries}, {"waste", waste}, {"maps", maps}};
  return RenderHtmlPage(
      {.title = absl::StrCat("KV memory by policy: ", report.inputs.trace.name),
       .verdict = Verdict(report),
       .rule = std::string(kVerdictRule),
       .facts = SummaryHeadLines(report),
       .warnings = report.Warnings(),
       .version = report.version},
      {{"report", ReportToJson(report)}, {"courses", document.dump()}});
}

}  // namespace pagedkv::sim
