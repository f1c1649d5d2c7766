// SPDX-License-Identifier: Apache-2.0
// An inference engine on pagedkv: the scheduler decides what each step runs and
// where its KV lies, the engine does it. The model is a stand-in that reads and
// writes its KV only through the block tables and the slot mapping, as an
// attention kernel would, so that a wrong table would give a wrong text.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace {

using pagedkv::BlockCount;
using pagedkv::BlockSize;
using pagedkv::DenseBlockTables;
using pagedkv::KvCacheManager;
using pagedkv::RequestId;
using pagedkv::ScheduledSequence;
using pagedkv::Scheduler;
using pagedkv::TokenCount;
using pagedkv::TokenId;

constexpr BlockSize kBlockSize{4};
constexpr BlockCount kNumBlocks{9};

/// What the device holds, and what runs on it.
class ToyEngine {
 public:
  void AddPrompt(RequestId request, std::vector<TokenId> prompt) {
    tokens_[request] = std::move(prompt);
  }
  [[nodiscard]] std::span<const TokenId> tokens(RequestId request) const {
    return tokens_.at(request);
  }

  /// Copies the changed entries of the block tables to the device.
  void UploadTables(const DenseBlockTables& tables,
                    std::span<const pagedkv::DirtyRange> changes) {
    row_stride_ = tables.row_stride;
    tables_.resize(Index(tables.num_rows) * Index(tables.row_stride));
    for (const pagedkv::DirtyRange& change : changes) {
      const std::size_t row = Index(change.row) * Index(row_stride_);
      for (std::int32_t i = change.begin; i < change.end; ++i) {
        tables_[row + Index(i)] = tables.data[row + Index(i)];
      }
    }
  }

  /// One forward pass: writes the KV of the step's tokens to their slots, and
  /// samples a token for each sequence whose tokens are then all computed.
  std::vector<TokenId> Forward(std::span<const ScheduledSequence> sequences,
                               std::span<const std::int64_t> slot_mapping) {
    std::size_t next_slot = 0;
    std::vector<TokenId> sampled;
    for (const ScheduledSequence& sequence : sequences) {
      std::vector<TokenId>& tokens = tokens_.at(sequence.request);
      const std::int32_t end = sequence.num_computed + sequence.num_tokens;
      for (std::int32_t i = sequence.num_computed; i < end; ++i) {
        kv_[Index(slot_mapping[next_slot++])] = tokens[Index(i)];
      }
      if (sequence.samples) {
        sampled.push_back(Attend(KvCacheManager::row(sequence.sequence), end));
        tokens.push_back(sampled.back());
      }
    }
    return sampled;
  }

 private:
  static std::size_t Index(std::int64_t value) {
    return static_cast<std::size_t>(value);
  }

  /// A token that depends on all KV of the sequence, in order.
  [[nodiscard]] TokenId Attend(std::int32_t row, std::int32_t context) const {
    TokenId token = 0;
    for (std::int32_t i = 0; i < context; ++i) {
      const std::int64_t block = tables_[Index(row) * Index(row_stride_) +
                                         Index(i / kBlockSize.value())];
      const std::int64_t slot =
          block * kBlockSize.value() + i % kBlockSize.value();
      token = (31 * token + kv_[Index(slot)] + 1) % 997;
    }
    return token;
  }

  std::map<RequestId, std::vector<TokenId>> tokens_;
  std::vector<TokenId> kv_ = std::vector<TokenId>(Index(kNumBlocks.value()) *
                                                  Index(kBlockSize.value()));
  std::vector<std::int32_t> tables_;
  std::int32_t row_stride_ = 0;
};

// [README]
absl::Status Serve(ToyEngine& engine) {
  absl::StatusOr<KvCacheManager> cache = KvCacheManager::Create(
      {.pool = {.num_blocks = kNumBlocks, .prefix_caching = true},
       .groups = {{.block_size = kBlockSize}},
       .max_sequence_tokens = TokenCount(32)});
  if (!cache.ok()) return cache.status();
  absl::StatusOr<Scheduler> scheduler = Scheduler::Create({}, *cache);
  if (!scheduler.ok()) return scheduler.status();

  for (const RequestId request : {RequestId(1), RequestId(2), RequestId(3)}) {
    const std::span<const TokenId> prompt = engine.tokens(request);
    const absl::Status submitted = scheduler->Submit(
        {.id = request,
         .num_prompt_tokens = TokenCount(static_cast<int>(prompt.size())),
         .prompt_tokens = {prompt.begin(), prompt.end()},  // to be shared
         .max_output_tokens = TokenCount(8)});
    if (!submitted.ok()) return submitted;
  }

  while (scheduler->num_running() + scheduler->num_waiting() > 0) {
    absl::StatusOr<pagedkv::StepPlan> plan = scheduler->Schedule();
    if (!plan.ok()) return plan.status();
    engine.UploadTables(cache->tables().dense(), plan->table_deltas[0]);
    const std::vector<TokenId> sampled =
        engine.Forward(plan->scheduled, plan->slot_mapping[0]);
    for (const pagedkv::Preemption& preempted : plan->preempted) {
      std::cout << preempted.request << " gives way to "
                << preempted.on_behalf_of << '\n';
    }

    const auto finished = scheduler->Update(sampled);
    if (!finished.ok()) return finished.status();
    for (const pagedkv::FinishedRequest& request : *finished) {
      std::cout << request.id << ':';
      for (const TokenId token : engine.tokens(request.id)) {
        std::cout << ' ' << token;
      }
      std::cout << '\n';
    }
  }
  return absl::OkStatus();
}
// [README]

}  // namespace

int main() {
  ToyEngine engine;
  engine.AddPrompt(RequestId(1), {11, 12, 13, 14, 15, 16, 17});
  engine.AddPrompt(RequestId(2), {21, 22, 23});
  engine.AddPrompt(RequestId(3), {31, 32, 33, 34, 35, 36, 37, 38, 39});
  const absl::Status served = Serve(engine);
  if (!served.ok()) std::cerr << served << '\n';
  return served.ok() ? EXIT_SUCCESS : EXIT_FAILURE;
}
