// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_ADMISSION_LOG_H_
#define SIM_REPORT_ADMISSION_LOG_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "sim/replay/simulation.h"

namespace pagedkv::sim {

/// First line of an admission log.
inline constexpr std::string_view kAdmissionLogHeader =
    "policy,replica,begin_s,duration_s,request,cause,free,largest_free,"
    "waiting\n";

/// Why requests were not admitted: a line for each stretch of time in which the
/// same request at the head of a queue waits for the same cause. Free slots and
/// the length of the queue are those at its beginning. Thread-compatible.
class AdmissionLog {
 public:
  explicit AdmissionLog(std::string_view policy_id) : policy_id_(policy_id) {}

  void OnSample(const Sample& sample);
  /// The lines that are complete, since the last call.
  [[nodiscard]] std::string TakeLines();
  /// To be called in the end: what is under way is complete.
  void Finish();

 private:
  struct Stretch {
    Sample first;
    std::int64_t end_ns = 0;
  };
  void Append(const Stretch& stretch);

  std::string policy_id_;
  std::map<std::int32_t, Stretch> under_way_;  // by replica
  std::string lines_;
};

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_ADMISSION_LOG_H_
