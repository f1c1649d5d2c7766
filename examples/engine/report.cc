// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/report.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "examples/engine/answers.h"
#include "examples/engine/engine.h"
#include "examples/engine/memory_log.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

std::string MiB(double bytes) {
  return absl::StrFormat("%.1f MiB", bytes / (1 << 20));
}

}  // namespace

std::string Report(std::string_view cache, const Engine& engine,
                   std::int64_t num_tokens, double seconds) {
  const MemorySummary memory = Summarize(engine.memory_log().Rows());
  const auto per_token = static_cast<double>(engine.bytes_per_token().value());
  std::string report = absl::StrFormat(
      "%-10s | pool %d slots of %d bytes (%s), of which it took %s\n", cache,
      engine.capacity().value(), engine.bytes_per_token().value(),
      MiB(per_token * static_cast<double>(engine.capacity().value())),
      MiB(static_cast<double>(engine.peak_cache_bytes().value())));
  const auto line = [&](std::string_view name, std::int64_t peak, double mean) {
    absl::StrAppendFormat(
        &report, "%-10s | %-22s peak %6d slots (%s), mean %8.1f (%s)\n", cache,
        name, peak, MiB(per_token * static_cast<double>(peak)), mean,
        MiB(per_token * mean));
  };
  line("held by sequences", memory.peak_held, memory.mean_held);
  line("with keys and values", memory.peak_token, memory.mean_token);
  const double unused = memory.mean_held - memory.mean_token;
  absl::StrAppendFormat(
      &report,
      "%-10s | wasted: %.1f %% of what is held, mean over %d steps (%.1f slots "
      "to be filled later, %.1f never)\n",
      cache, memory.mean_held > 0 ? 100 * unused / memory.mean_held : 0,
      memory.num_steps, unused - memory.mean_internal, memory.mean_internal);
  absl::StrAppendFormat(
      &report,
      "%-10s | %.2f requests at a time, %d preemptions (%d blocks swapped "
      "out), %d tokens in %.2f s "
      "(%.1f a second)\n",
      cache, memory.mean_running, memory.num_preemptions,
      engine.num_swapped_blocks(), num_tokens, seconds,
      static_cast<double>(num_tokens) / seconds);
  const PrefixCacheMetrics metrics = engine.manager().prefix_cache_metrics();
  if (metrics.queries > 0) {
    absl::StrAppendFormat(
        &report, "%-10s | prefix cache: %d of %d prompt tokens were there\n",
        cache, metrics.hits, metrics.queries);
  }
  return report;
}

std::string Trace(const std::vector<EngineRequest>& requests,
                  const std::map<Answers::Key, Answer>& answers) {
  std::string trace;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const std::vector<TokenId>& prompt = requests[i].prompt;
    const std::vector<TokenId>& output =
        answers.at({static_cast<std::int64_t>(i), 0}).tokens;
    absl::StrAppendFormat(
        &trace,
        "{\"timestamp\": 0, \"input_length\": %d, \"output_length\": %d, "
        "\"block_tokens\": 1, \"hash_ids\": [%s], \"output_hash_ids\": [%s]}\n",
        prompt.size(), output.size(), absl::StrJoin(prompt, ", "),
        absl::StrJoin(output, ", "));
  }
  return trace;
}

}  // namespace pagedkv::engine
