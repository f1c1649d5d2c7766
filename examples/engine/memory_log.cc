// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/memory_log.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

void MemoryLog::Record(const KvCacheManager& manager,
                       const Scheduler& scheduler,
                       const std::map<RequestId, std::int32_t>& num_samples,
                       std::int32_t num_preemptions) {
  block_size_ = manager.block_size().value();
  seen_in_.resize(
      static_cast<std::size_t>(manager.pool().num_blocks().value()));
  Step step;
  step.row.running = scheduler.num_running();
  step.row.waiting = scheduler.num_waiting();
  step.row.preemptions = num_preemptions;
  step.row.cached_idle = manager.pool().num_cached_free().value() * block_size_;
  const std::size_t now = steps_.size() + 1;
  for (const RequestId request : scheduler.Running()) {
    for (std::int32_t i = 0; i < num_samples.at(request); ++i) {
      const std::optional<SequenceId> sequence =
          scheduler.SequenceOf(request, i);
      if (!sequence) continue;
      const std::int64_t num_tokens = manager.num_tokens(*sequence).value();
      std::int64_t position = 0;
      for (const BlockId block : manager.block_table(*sequence)) {
        const std::int64_t filled =
            std::min(block_size_, num_tokens - position);
        std::size_t& seen_in =
            seen_in_[static_cast<std::size_t>(block.value())];
        if (seen_in != now) {
          seen_in = now;
          step.row.token += filled;
          if (filled < block_size_) {
            step.partial.push_back({.sequence = {request, i},
                                    .position = position,
                                    .filled = filled});
          }
        }
        position += block_size_;
      }
    }
  }
  steps_.push_back(std::move(step));
}

std::vector<MemoryRow> MemoryLog::Rows() const {
  std::vector<MemoryRow> rows;
  for (const Step& step : steps_) {
    MemoryRow row = step.row;
    for (const PartialBlock& block : step.partial) {
      const auto found = final_tokens_.find(block.sequence);
      const std::int64_t last = found == final_tokens_.end()
                                    ? block.position + block.filled
                                    : found->second;
      const std::int64_t fills =
          std::clamp(last - block.position, block.filled, block_size_);
      row.reserved += fills - block.filled;
      row.internal += block_size_ - fills;
    }
    rows.push_back(row);
  }
  return rows;
}

MemorySummary Summarize(const std::vector<MemoryRow>& rows) {
  MemorySummary summary;
  summary.num_steps = static_cast<std::int64_t>(rows.size());
  const double share =
      rows.empty() ? 0 : 1.0 / static_cast<double>(rows.size());
  for (const MemoryRow& row : rows) {
    summary.num_preemptions += row.preemptions;
    summary.peak_held = std::max(summary.peak_held, row.held());
    summary.peak_token = std::max(summary.peak_token, row.token);
    summary.mean_held += share * static_cast<double>(row.held());
    summary.mean_token += share * static_cast<double>(row.token);
    summary.mean_internal += share * static_cast<double>(row.internal);
    summary.mean_running += share * row.running;
  }
  return summary;
}

std::string MemoryCsv(const std::vector<MemoryRow>& rows, TokenCount capacity,
                      TokenCount tail) {
  std::string csv =
      "t_s,capacity,token,reserved,internal,cached_idle,tail,running,waiting,"
      "preemptions\n";
  std::int64_t step = 0;
  for (const MemoryRow& row : rows) {
    absl::StrAppendFormat(&csv, "%d,%d,%d,%d,%d,%d,%d,%d,%d,%d\n", step++,
                          capacity.value(), row.token, row.reserved,
                          row.internal, row.cached_idle, tail.value(),
                          row.running, row.waiting, row.preemptions);
  }
  return csv;
}

}  // namespace pagedkv::engine
