// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_SIM_REPLAY_RECORDING_OBSERVER_H_
#define TESTS_SIM_REPLAY_RECORDING_OBSERVER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "sim/accounting/causes.h"
#include "sim/replay/simulation.h"

namespace pagedkv::sim {

/// Keeps all that a simulation reports.
class RecordingObserver : public SimulationObserver {
 public:
  void OnSample(const Sample& sample) override { samples.push_back(sample); }
  void OnRequest(const RequestRecord& record) override {
    records.push_back(record);
  }
  bool ShouldStop() override { return samples.size() >= stop_after_samples; }

  /// Integral over all samples, in slots * seconds.
  double Integral(Cause cause) const {
    double sum = 0;
    for (const Sample& sample : samples) {
      sum += static_cast<double>(sample.slots[cause]) *
             static_cast<double>(sample.duration_ns) / 1e9;
    }
    return sum;
  }

  std::vector<Sample> samples;
  std::vector<RequestRecord> records;
  std::size_t stop_after_samples = SIZE_MAX;
};

}  // namespace pagedkv::sim

#endif  // TESTS_SIM_REPLAY_RECORDING_OBSERVER_H_
