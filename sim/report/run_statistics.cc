// SPDX-License-Identifier: Apache-2.0
#include "sim/report/run_statistics.h"

#include <algorithm>

namespace pagedkv::sim {
namespace {

void AddToHistogram(std::int32_t batch, std::int64_t weight,
                    BatchHistogram& histogram) {
  const auto index = static_cast<std::size_t>(batch);
  if (index >= histogram.size()) histogram.resize(index + 1, 0);
  histogram[index] += weight;
}

}  // namespace

std::string_view WeightName(Weight weight) {
  return weight == Weight::kTime ? "time" : "iteration";
}

std::string_view WindowName(WindowKind window) {
  switch (window) {
    case WindowKind::kAll:
      return "all";
    case WindowKind::kBusy:
      return "busy";
    case WindowKind::kSaturated:
      break;
  }
  return "saturated";
}

RunStatistics::RunStatistics(const StatisticsOptions& options)
    : options_(options),
      window_ns_(options.window_ns),
      latency_(options.level) {
  windows_.reserve(options.max_windows);
}

bool RunStatistics::IsSelected(const Sample& sample) {
  if (options_.window == WindowKind::kAll) return true;
  warm_ = warm_ || (finished_ > 0 && finished_ >= sample.running);
  const bool drained =
      finished_ + rejected_ + sample.running >= options_.num_requests;
  if (!warm_ || drained) return false;
  return options_.window == WindowKind::kBusy ? sample.running > 0
                                              : sample.waiting > 0;
}

StatisticsWindow& RunStatistics::WindowAt(std::int64_t time_ns) {
  while (time_ns / window_ns_ >=
         static_cast<std::int64_t>(options_.max_windows)) {
    const std::size_t num_merged = (windows_.size() + 1) / 2;
    for (std::size_t i = 0; i < num_merged; ++i) {
      StatisticsWindow merged = windows_[2 * i];
      if (2 * i + 1 < windows_.size()) merged += windows_[2 * i + 1];
      windows_[i] = merged;
    }
    windows_.resize(num_merged);
    window_ns_ *= 2;
  }
  const auto index = static_cast<std::size_t>(time_ns / window_ns_);
  if (index >= windows_.size()) windows_.resize(index + 1);
  return windows_[index];
}

void RunStatistics::OnSample(const Sample& sample) {
  ++num_events_;
  const bool selected = IsSelected(sample);
  const bool by_time = options_.weight == Weight::kTime;
  const std::int64_t steps = sample.is_step ? 1 : 0;

  const std::int64_t weight = by_time ? sample.duration_ns : steps;
  AddToHistogram(sample.running, weight, all_batch_);
  if (selected) AddToHistogram(sample.running, weight, selected_batch_);

  WindowAt(sample.begin_ns).preemptions += sample.preemptions;
  if (!by_time) {
    StatisticsWindow& window = WindowAt(sample.begin_ns);
    AddSample(sample, steps, window.all);
    if (selected) AddSample(sample, steps, window.selected);
  }
  const std::int64_t end = sample.begin_ns + sample.duration_ns;
  for (std::int64_t begin = sample.begin_ns; begin < end;) {
    StatisticsWindow& window = WindowAt(begin);
    const std::int64_t until =
        std::min(end, (begin / window_ns_ + 1) * window_ns_);
    AddSample(sample, until - begin, window.time);
    if (by_time) {
      AddSample(sample, until - begin, window.all);
      if (selected) AddSample(sample, until - begin, window.selected);
    }
    begin = until;
  }
}

void RunStatistics::OnRequest(const RequestRecord& record) {
  ++num_events_;
  ++(record.rejected ? rejected_ : finished_);
  requests_.Add(record);
  latency_.Add(record);
}

}  // namespace pagedkv::sim
