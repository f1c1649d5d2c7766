// SPDX-License-Identifier: Apache-2.0
#include "sim/study/sharing_batch.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/kv_cache_manager.h"
#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kBeamStream = 3;
constexpr std::uint32_t kWhole = 10'000;

/// Groups of forked sequences on the manager, first come, first served.
class SharingBatch {
 public:
  SharingBatch(const SharingOptions& options, KvCacheManager cache,
               std::span<const TraceRequest> requests)
      : options_(options),
        cache_(std::move(cache)),
        requests_(requests),
        random_(options.seed, kBeamStream) {}

  absl::StatusOr<double> Run() {
    while (next_ < requests_.size() || !preempted_.empty() ||
           !running_.empty()) {
      absl::Status status = Grow();
      if (status.ok() && !preempted_in_step_) status = Admit();
      if (!status.ok()) return status;
      Sample();
      cache_.ClearCopies();
      status = EndStep();
      if (!status.ok()) return status;
    }
    if (steps_ == 0) {
      return absl::InternalError("too few requests: no step is saturated");
    }
    return 100 * saved_ / static_cast<double>(steps_);
  }

 private:
  struct Group {
    std::size_t request = 0;
    std::int64_t sampled = 0;  // output tokens of each sequence
    std::vector<SequenceId> sequences;
  };

  absl::Status Grow() {
    preempted_in_step_ = false;
    for (std::size_t i = 0; i < running_.size(); ++i) {
      for (std::size_t s = 0;
           i < running_.size() && s < running_[i].sequences.size();) {
        const absl::StatusOr<bool> grown =
            cache_.TryAppend(running_[i].sequences[s], TokenCount(1));
        if (!grown.ok()) return grown.status();
        if (*grown) {
          ++s;
        } else if (absl::Status status = PreemptLast(); !status.ok()) {
          return status;
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status PreemptLast() {
    preempted_in_step_ = true;
    Group victim = std::move(running_.back());
    running_.pop_back();
    if (absl::Status status = Release(victim); !status.ok()) return status;
    preempted_.push_front(std::move(victim));
    return absl::OkStatus();
  }

  absl::Status Admit() {
    while (next_ < requests_.size() || !preempted_.empty()) {
      if (static_cast<std::int32_t>(running_.size() + 1) * options_.sequences >
          options_.max_num_seqs) {
        break;
      }
      Group group;
      if (!preempted_.empty()) {
        group = preempted_.front();
      } else {
        group.request = next_;
      }
      const absl::StatusOr<bool> placed = Place(group);
      if (!placed.ok()) return placed.status();
      if (!*placed) break;
      if (!preempted_.empty()) {
        preempted_.pop_front();
      } else {
        ++next_;
      }
      running_.push_back(std::move(group));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> Place(Group& group) {
    const absl::StatusOr<SequenceId> first = cache_.AddSequence();
    if (!first.ok()) return first.status();
    group.sequences = {*first};
    const TokenCount prompt(requests_[group.request].prompt_tokens);
    absl::StatusOr<bool> placed =
        cache_.TryAppend(*first, prompt, {.keep_watermark = true});
    for (std::int32_t i = 1; i < options_.sequences && placed.ok(); ++i) {
      const absl::StatusOr<SequenceId> fork = cache_.Fork(*first);
      if (!fork.ok()) return fork.status();
      group.sequences.push_back(*fork);
    }
    for (const SequenceId id : group.sequences) {
      if (group.sampled == 0 || !placed.ok() || !*placed) break;
      placed = cache_.TryAppend(id, TokenCount(group.sampled),
                                {.keep_watermark = true});
    }
    if (!placed.ok()) return placed.status();
    if (*placed) return true;
    if (absl::Status status = Release(group); !status.ok()) return status;
    return false;
  }

  absl::Status Release(Group& group) {
    for (const SequenceId id : group.sequences) {
      if (absl::Status status = cache_.Release(id); !status.ok()) return status;
    }
    group.sequences.clear();
    return absl::OkStatus();
  }

  void Sample() {
    const bool saturated = next_ < requests_.size();
    warm_ = warm_ || (finished_ > 0 && finished_ >= running_.size());
    if (!warm_ || !saturated) return;
    std::int64_t entries = 0;
    for (const Group& group : running_) {
      for (const SequenceId id : group.sequences) {
        entries += static_cast<std::int64_t>(cache_.block_table(id).size());
      }
    }
    if (entries == 0) return;
    const BlockCount used =
        cache_.pool().num_blocks() - BlockCount(1) - cache_.pool().num_free();
    saved_ +=
        1 - static_cast<double>(used.value()) / static_cast<double>(entries);
    ++steps_;
  }

  absl::Status EndStep() {
    for (Group& group : running_) {
      ++group.sampled;
      if (group.sampled == requests_[group.request].output_tokens) {
        ++finished_;
        if (absl::Status status = Release(group); !status.ok()) return status;
      } else if (options_.decoding == Decoding::kBeamSearch) {
        if (absl::Status status = Reorder(group); !status.ok()) return status;
      }
    }
    std::erase_if(running_,
                  [](const Group& group) { return group.sequences.empty(); });
    return absl::OkStatus();
  }

  std::uint32_t Below(std::uint32_t count) {
    return static_cast<std::uint32_t>((std::uint64_t{random_.Word()} * count) >>
                                      32);
  }

  absl::Status Reorder(Group& group) {
    const auto width = static_cast<std::uint32_t>(group.sequences.size());
    std::vector<int> survivors(width);
    for (std::uint32_t i = 0; i < width; ++i) {
      std::uint32_t parent = i;
      if (Below(kWhole) < static_cast<std::uint32_t>(options_.divergence)) {
        parent = (i + 1 + Below(width - 1)) % width;
      }
      ++survivors[parent];
    }
    std::vector<SequenceId> beams;
    for (std::size_t i = 0; i < survivors.size(); ++i) {
      if (survivors[i] > 0) beams.push_back(group.sequences[i]);
      for (int fork = 1; fork < survivors[i]; ++fork) {
        const absl::StatusOr<SequenceId> id = cache_.Fork(group.sequences[i]);
        if (!id.ok()) return id.status();
        beams.push_back(*id);
      }
      if (survivors[i] > 0) continue;
      if (absl::Status status = cache_.Release(group.sequences[i]);
          !status.ok()) {
        return status;
      }
    }
    group.sequences = std::move(beams);
    return absl::OkStatus();
  }

  const SharingOptions& options_;
  KvCacheManager cache_;
  std::span<const TraceRequest> requests_;
  Random random_;
  std::size_t next_ = 0;  // the first request that was not admitted yet
  std::vector<Group> running_;
  std::deque<Group> preempted_;
  bool preempted_in_step_ = false;
  bool warm_ = false;
  std::size_t finished_ = 0;
  std::int64_t steps_ = 0;
  double saved_ = 0;
};

}  // namespace

absl::StatusOr<double> SharingSavedPercent(
    const SharingOptions& options, std::span<const TraceRequest> requests) {
  absl::StatusOr<KvCacheManager> cache = KvCacheManager::Create(
      {.pool = {.num_blocks = options.block_size.FullBlocks(options.capacity),
                .watermark = 0.01},
       .groups = {{.block_size = options.block_size}},
       .max_sequence_tokens = options.max_sequence_tokens,
       .max_sequences = 2 * options.max_num_seqs});
  if (!cache.ok()) return cache.status();
  return SharingBatch(options, *std::move(cache), requests).Run();
}

}  // namespace pagedkv::sim
