// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sharing_batch.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kBeamStream = 3;
constexpr std::uint32_t kWhole = 10'000;

/// The library's scheduler under load. It admits, forks and preempts; this
/// counts, and says which beams survive.
class SharingBatch {
 public:
  SharingBatch(const SharingOptions& options, KvCacheManager& cache,
               Scheduler scheduler, std::span<const TraceRequest> requests)
      : options_(options),
        cache_(cache),
        scheduler_(std::move(scheduler)),
        requests_(requests),
        random_(options.seed, kBeamStream) {}

  absl::StatusOr<double> Run() {
    for (;;) {
      if (absl::Status status = Offer(); !status.ok()) return status;
      if (scheduler_.num_running() + scheduler_.num_waiting() == 0) break;
      const absl::StatusOr<StepPlan> plan = scheduler_.Schedule();
      if (!plan.ok()) return plan.status();
      Count();
      const auto finished = scheduler_.Update({}, Survivors(plan->scheduled));
      if (!finished.ok()) return finished.status();
      for (const FinishedRequest& request : *finished) {
        if (request.ends_request) ++finished_;
      }
    }
    if (steps_ == 0) {
      return absl::InternalError("too few requests: no step is saturated");
    }
    return 100 * saved_ / static_cast<double>(steps_);
  }

 private:
  [[nodiscard]] bool is_beam_search() const {
    return options_.decoding == Decoding::kBeamSearch;
  }

  /// Queues more than one step could admit.
  absl::Status Offer() {
    while (next_ < requests_.size() &&
           scheduler_.num_waiting() <= options_.max_num_seqs) {
      const TraceRequest& request = requests_[next_];
      Request submitted{.id = RequestId(next_),
                        .num_prompt_tokens = TokenCount(request.prompt_tokens),
                        .max_output_tokens = TokenCount(request.output_tokens)};
      if (is_beam_search()) {
        submitted.beam_width = options_.sequences;
      } else {
        submitted.num_samples = options_.sequences;
      }
      ++next_;
      const absl::Status status = scheduler_.Submit(submitted);
      // Too long for the pool with all of its sequences: left out.
      if (!status.ok() && !absl::IsFailedPrecondition(status)) return status;
    }
    return absl::OkStatus();
  }

  void Count() {
    const std::vector<RequestId> running = scheduler_.Running();
    warm_ = warm_ || (finished_ > 0 && finished_ >= running.size());
    if (!warm_ || next_ == requests_.size()) return;
    std::int64_t entries = 0;
    for (const RequestId id : running) {
      for (std::int32_t i = 0; i < options_.sequences; ++i) {
        const std::optional<SequenceId> sequence = scheduler_.SequenceOf(id, i);
        if (!sequence) continue;
        entries +=
            static_cast<std::int64_t>(cache_.block_table(*sequence).size());
      }
    }
    if (entries == 0) return;
    const BlockCount used =
        cache_.pool().num_blocks() - BlockCount(1) - cache_.pool().num_free();
    saved_ +=
        1 - static_cast<double>(used.value()) / static_cast<double>(entries);
    ++steps_;
  }

  /// Which beams go on, of each search that samples in this step.
  std::span<const BeamUpdate> Survivors(
      std::span<const ScheduledSequence> scheduled) {
    updates_.clear();
    if (!is_beam_search()) return updates_;
    // Searches are told apart in the plan by their first sequence.
    std::size_t num_searches = 0;
    for (std::size_t i = 0; i < scheduled.size(); ++i) {
      if (!scheduled[i].samples || scheduled[i].sequence_index != 0) continue;
      const bool has_beams = i + 1 < scheduled.size() &&
                             scheduled[i + 1].request == scheduled[i].request;
      // A list that grows moves its vectors, but not what these point to.
      if (num_searches == survivors_.size()) survivors_.emplace_back();
      std::vector<BeamSurvivor>& survivors = survivors_[num_searches++];
      DrawSurvivors(has_beams, survivors);
      updates_.push_back(
          {.request = scheduled[i].request, .survivors = survivors});
    }
    return updates_;
  }

  void DrawSurvivors(bool has_beams, std::vector<BeamSurvivor>& survivors) {
    const auto width = static_cast<std::uint32_t>(options_.sequences);
    survivors.assign(width, BeamSurvivor{});
    if (!has_beams) return;  // all go on from the prompt
    for (std::uint32_t i = 0; i < width; ++i) {
      std::uint32_t parent = i;
      if (Below(kWhole) < static_cast<std::uint32_t>(options_.divergence)) {
        parent = (i + 1 + Below(width - 1)) % width;
      }
      survivors[i].parent = static_cast<std::int32_t>(parent);
    }
  }

  std::uint32_t Below(std::uint32_t count) {
    return static_cast<std::uint32_t>((std::uint64_t{random_.Word()} * count) >>
                                      32);
  }

  const SharingOptions& options_;
  KvCacheManager& cache_;
  Scheduler scheduler_;
  std::span<const TraceRequest> requests_;
  Random random_;
  std::size_t next_ = 0;  // the first request that was not offered yet
  std::size_t finished_ = 0;
  bool warm_ = false;
  std::int64_t steps_ = 0;
  double saved_ = 0;

  std::vector<BeamUpdate> updates_;                   // of this step
  std::vector<std::vector<BeamSurvivor>> survivors_;  // what they refer to
};

}  // namespace

absl::StatusOr<double> SharingSavedPercent(
    const SharingOptions& options, std::span<const TraceRequest> requests) {
  absl::StatusOr<KvCacheManager> cache = KvCacheManager::Create(
      {.pool = {.num_blocks = options.block_size.FullBlocks(options.capacity),
                .watermark = options.watermark},
       .groups = {{.block_size = options.block_size}},
       .max_sequence_tokens = options.max_sequence_tokens,
       .max_sequences = 2 * options.max_num_seqs});
  if (!cache.ok()) return cache.status();
  absl::StatusOr<Scheduler> scheduler = Scheduler::Create(
      {.max_num_batched_tokens = options.max_num_batched_tokens,
       .max_num_seqs = options.max_num_seqs},
      *cache);
  if (!scheduler.ok()) return scheduler.status();
  return SharingBatch(options, *cache, *std::move(scheduler), requests).Run();
}

}  // namespace pagedkv::sim
