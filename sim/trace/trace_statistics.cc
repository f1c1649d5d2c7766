// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/trace_statistics.h"

namespace pagedkv::sim {

double LengthStatistics::mean() const {
  if (count() == 0) return 0.0;
  return static_cast<double>(sum_) / static_cast<double>(count());
}

void TraceStatistics::Add(const TraceRequest& request) {
  prompt_.Add(request.prompt_tokens);
  output_.Add(request.output_tokens);
  block_references_ += static_cast<std::int64_t>(request.block_ids.size());
  blocks_.insert(request.block_ids.begin(), request.block_ids.end());
}

}  // namespace pagedkv::sim
