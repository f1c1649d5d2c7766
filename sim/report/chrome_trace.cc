// SPDX-License-Identifier: Apache-2.0
#include "sim/report/chrome_trace.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

// The format counts in microseconds.
std::string Microseconds(std::int64_t nanoseconds) {
  return ThousandthsToString(nanoseconds);
}

std::int64_t FreeSlots(const CauseSlots& slots) {
  return slots.total() - slots.allocated() - slots[Cause::kTail];
}

}  // namespace

ChromeTraceProcess::ChromeTraceProcess(int process, std::string_view name,
                                       std::size_t max_events)
    : process_(process), name_(name), max_events_(max_events) {}

bool ChromeTraceProcess::IsFull() {
  truncated_ = truncated_ || events_.size() >= max_events_;
  return truncated_;
}

void ChromeTraceProcess::OnSample(const Sample& sample) {
  if (IsFull()) return;
  if (sample.is_step) {
    Add(sample.begin_ns,
        absl::StrFormat(
            R"({"ph":"X","pid":%d,"tid":%d,"name":"step","ts":%s,"dur":%s,)"
            R"("args":{"resident":%d,"waiting":%d,"preemptions":%d}})",
            process_, sample.replica + 1, Microseconds(sample.begin_ns),
            Microseconds(sample.duration_ns), sample.running, sample.waiting,
            sample.preemptions));
  }
  const auto replica = static_cast<std::size_t>(sample.replica);
  if (replica >= counters_.size()) counters_.resize(replica + 1);
  Counters& last = counters_[replica];
  AddCounter("resident", sample, absl::StrCat(sample.running), last.resident);
  AddCounter("waiting", sample, absl::StrCat(sample.waiting), last.waiting);
  AddCounter("free slots", sample, absl::StrCat(FreeSlots(sample.slots)),
             last.free);
  const std::int64_t capacity = sample.slots.total();
  const std::int64_t thousandths =
      capacity > 0 ? sample.slots[Cause::kToken] * 100'000 / capacity : 0;
  AddCounter("token %", sample, ThousandthsToString(thousandths), last.token);
}

void ChromeTraceProcess::AddCounter(std::string_view name, const Sample& sample,
                                    const std::string& value,
                                    std::string& last) {
  if (value == last) return;
  last = value;
  const std::string of_replica =
      sample.replica == 0 ? ""
                          : absl::StrFormat(" (replica %d)", sample.replica);
  Add(sample.begin_ns,
      absl::StrFormat(
          R"({"ph":"C","pid":%d,"name":"%s%s","ts":%s,"args":{"value":%s}})",
          process_, name, of_replica, Microseconds(sample.begin_ns), value));
}

void ChromeTraceProcess::OnAdmission(std::int64_t request,
                                     std::int64_t now_ns) {
  changes_[request].push_back(now_ns);
}

void ChromeTraceProcess::OnPreemption(std::int64_t request,
                                      std::int64_t now_ns) {
  changes_[request].push_back(now_ns);
}

void ChromeTraceProcess::OnRequest(const RequestRecord& record) {
  const auto node = changes_.extract(record.id);
  if (record.rejected || IsFull()) return;
  Add(record.arrival_ns,
      absl::StrFormat(R"({"ph":"b","cat":"request","id":%d,"pid":%d,"tid":1,)"
                      R"("name":"request","ts":%s,"args":{"id":%d,"prompt":%d,)"
                      R"("output":%d,"hit_tokens":%d,"preemptions":%d}})",
                      record.id, process_, Microseconds(record.arrival_ns),
                      record.id, record.prompt_tokens, record.output_tokens,
                      record.hit_tokens, record.preemptions));
  if (!node.empty()) AddPhases(record, node.mapped());
  Add(record.finish_ns,
      absl::StrFormat(R"({"ph":"e","cat":"request","id":%d,"pid":%d,"tid":1,)"
                      R"("name":"request","ts":%s})",
                      record.id, process_, Microseconds(record.finish_ns)));
}

void ChromeTraceProcess::AddPhases(const RequestRecord& record,
                                   const Changes& changes) {
  AddSlice(record, "queued", record.arrival_ns, changes.front());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const std::int64_t begin = changes[i];
    const std::int64_t end =
        i + 1 < changes.size() ? changes[i + 1] : record.finish_ns;
    if (i % 2 == 1) {
      AddSlice(record, "preempted", begin, end);
      continue;
    }
    const std::int64_t first = std::clamp(record.first_token_ns, begin, end);
    AddSlice(record, "prefill", begin, first);
    AddSlice(record, "decode", first, end);
  }
}

void ChromeTraceProcess::AddSlice(const RequestRecord& record,
                                  std::string_view name, std::int64_t begin_ns,
                                  std::int64_t end_ns) {
  if (begin_ns >= end_ns) return;
  for (const auto& [phase, time_ns] :
       {std::pair('b', begin_ns), std::pair('e', end_ns)}) {
    Add(time_ns, absl::StrFormat(
                     R"({"ph":"%c","cat":"request","id":%d,"pid":%d,)"
                     R"("tid":1,"name":"%s","ts":%s})",
                     phase, record.id, process_, name, Microseconds(time_ns)));
  }
}

std::string ChromeTraceProcess::TakeEvents() {
  std::ranges::stable_sort(events_, {}, &Event::time_ns);
  std::string text = absl::StrFormat(
      R"({"ph":"M","pid":%d,"name":"process_name","args":{"name":"%s%s"}})",
      process_, name_, truncated_ ? " (cut short: too many events)" : "");
  for (std::size_t i = 0; i < std::max<std::size_t>(1, counters_.size()); ++i) {
    absl::StrAppendFormat(&text,
                          ",\n"
                          R"({"ph":"M","pid":%d,"tid":%d,"name":"thread_name",)"
                          R"("args":{"name":"steps%s"}})",
                          process_, i + 1,
                          i == 0 ? "" : absl::StrCat(" of replica ", i));
  }
  for (const Event& event : events_) absl::StrAppend(&text, ",\n", event.json);
  events_.clear();
  return text;
}

std::string ChromeTrace(const std::vector<std::string>& processes) {
  return absl::StrCat("[\n", absl::StrJoin(processes, ",\n"), "\n]\n");
}

}  // namespace pagedkv::sim
