// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_statistics.h"

#include <cmath>

namespace pagedkv::sim {

void LengthStatistics::Add(std::int32_t tokens) {
  ++count_;
  sum_ += tokens;
  ++occurrences_[tokens];
}

double LengthStatistics::mean() const {
  if (count_ == 0) return 0.0;
  return static_cast<double>(sum_) / static_cast<double>(count_);
}

std::int32_t LengthStatistics::Quantile(double p) const {
  const double rank = std::ceil(p * static_cast<double>(count_));
  std::int64_t seen = 0;
  for (const auto& [tokens, occurrences] : occurrences_) {
    seen += occurrences;
    if (static_cast<double>(seen) >= rank) return tokens;
  }
  return 0;
}

void TraceStatistics::Add(const TraceRequest& request) {
  prompt_.Add(request.prompt_tokens);
  output_.Add(request.output_tokens);
  block_references_ += static_cast<std::int64_t>(request.block_ids.size());
  blocks_.insert(request.block_ids.begin(), request.block_ids.end());
}

}  // namespace pagedkv::sim
