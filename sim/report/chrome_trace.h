// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_CHROME_TRACE_H_
#define SIM_REPORT_CHROME_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

#include "sim/replay/simulation.h"

namespace pagedkv::sim {

/// The schedule of one policy's run in Chrome's trace event format, which
/// Perfetto and chrome://tracing open: a process with, for each replica, a
/// track of steps and counters (resident, waiting, free slots, tokens in
/// percent of the pool), and an asynchronous slice for each request that ended,
/// which holds its phases: queued, prefill, decode, preempted.
/// Thread-compatible.
///
/// Bounded: beyond `max_events` nothing is added, and the track's name says so.
class ChromeTraceProcess {
 public:
  static constexpr std::size_t kMaxEvents = 200'000;

  /// `process` is a number that tells the processes of one trace apart.
  ChromeTraceProcess(int process, std::string_view name,
                     std::size_t max_events = kMaxEvents);

  void OnSample(const Sample& sample);
  void OnAdmission(std::int64_t request, std::int64_t now_ns);
  void OnPreemption(std::int64_t request, std::int64_t now_ns);
  void OnRequest(const RequestRecord& record);

  /// The events as JSON objects, one a line, separated by commas: those without
  /// a time first, then in order of time. To be called once.
  [[nodiscard]] std::string TakeEvents();

 private:
  struct Event {
    std::int64_t time_ns = 0;
    std::string json;
  };
  // The last values of a replica's counters.
  struct Counters {
    std::string resident;
    std::string waiting;
    std::string free;
    std::string token;
  };
  // In turn: admitted, preempted, admitted, ...
  using Changes = std::vector<std::int64_t>;

  void Add(std::int64_t time_ns, std::string json) {
    events_.push_back({time_ns, std::move(json)});
  }
  void AddCounter(std::string_view name, const Sample& sample,
                  const std::string& value, std::string& last);
  void AddSlice(const RequestRecord& record, std::string_view name,
                std::int64_t begin_ns, std::int64_t end_ns);
  void AddPhases(const RequestRecord& record, const Changes& changes);
  [[nodiscard]] bool IsFull();

  int process_;
  std::string name_;
  std::size_t max_events_;
  bool truncated_ = false;
  std::vector<Event> events_;
  absl::flat_hash_map<std::int64_t, Changes> changes_;  // of live requests
  std::vector<Counters> counters_;                      // by replica
};

/// The trace of several processes, from what `TakeEvents` gave for each.
std::string ChromeTrace(const std::vector<std::string>& processes);

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_CHROME_TRACE_H_
