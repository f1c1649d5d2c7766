// SPDX-License-Identifier: Apache-2.0
#include "sim/report/latency_statistics.h"

#include <algorithm>

#include "absl/numeric/int128.h"

#include "sim/report/worst_requests.h"

namespace pagedkv::sim {

void LatencyStatistics::Add(const RequestRecord& record) {
  ++num_requests_;
  if (record.rejected) return;
  ++num_finished_;
  output_tokens_ += record.output_tokens;

  // Where arrivals are ignored, a request may be served before it "arrives".
  const auto since_arrival = [&record](std::int64_t time_ns) {
    return std::max<std::int64_t>(0, time_ns - record.arrival_ns);
  };
  const std::int64_t ttft_ns = since_arrival(record.first_token_ns);
  const std::int64_t queue_ns = since_arrival(record.admit_ns);
  ttft_.Add(ttft_ns);
  queue_.Add(queue_ns);
  e2e_.Add(since_arrival(record.finish_ns));
  const std::int64_t decode_ns = record.finish_ns - record.first_token_ns;
  const std::int64_t later_tokens = record.output_tokens - 1;
  if (later_tokens > 0) {
    tpot_.Add((decode_ns + later_tokens / 2) / later_tokens);
  }
  const bool first_in_time = !level_.ttft_ns || ttft_ns <= *level_.ttft_ns;
  const bool rest_in_time =
      !level_.tpot_ns ||
      decode_ns <= absl::int128(*level_.tpot_ns) * later_tokens;
  if (first_in_time && rest_in_time) ++num_good_;

  KeepWorst(RequestLatency{.id = record.id,
                           .prompt_tokens = record.prompt_tokens,
                           .output_tokens = record.output_tokens,
                           .preemptions = record.preemptions,
                           .ttft_ns = ttft_ns,
                           .queue_ns = queue_ns},
            &RequestLatency::ttft_ns, worst_);
}

}  // namespace pagedkv::sim
