// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_ENGINE_H_
#define EXAMPLES_ENGINE_ENGINE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/llama_model.h"
#include "examples/engine/memory_log.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

enum class CacheKind : std::uint8_t { kPaged, kContiguous, kConcat };

struct EngineOptions {
  CacheKind cache = CacheKind::kPaged;
  /// Together the token slots of the pool, whichever the cache; the null block
  /// of a paged one is among them.
  BlockSize block_size{16};
  BlockCount num_blocks{256};
  /// Prompt and output of a request: the length of a contiguous cache's arenas.
  TokenCount max_sequence_tokens{1024};
  std::int32_t max_num_seqs = 16;
  TokenCount max_num_batched_tokens{512};
  /// Blocks for sequences that lose theirs, which then compute nothing again;
  /// paged only. 0: they recompute.
  BlockCount num_swap_blocks{0};
  PagedCacheOptions paged = {};
  KvDtype kv_dtype = KvDtype::kFp32;  ///< other than fp32: paged only
  bool prefix_cache = false;          ///< paged only
  /// With it, prompts that differ within a block share the tokens before, too.
  bool partial_block_reuse = false;
  float temperature = 0;    ///< 0: the most likely token
  std::uint64_t seed = 0;   ///< of what is drawn
  bool ignore_eos = false;  ///< go on to max_tokens
};

/// What to answer.
struct EngineRequest {
  std::vector<TokenId> prompt;
  std::int32_t max_tokens = 0;
  std::int32_t num_samples = 1;
};

/// Hears what the engine computes, as it does. `request` counts submissions
/// from 0.
class EngineObserver {
 public:
  virtual ~EngineObserver() = default;
  /// The logits, [vocab_size], and the token chosen by them.
  virtual void OnToken(std::int64_t request, std::int32_t sample,
                       std::span<const float> logits, TokenId token) = 0;
  virtual void OnEnd(std::int64_t request, std::int32_t sample,
                     FinishReason reason) = 0;
};

/// Continuous batching on a model: the library's scheduler decides what each
/// step runs and where its KV lies, the cache and the model do it.
///
/// Contiguous and concatenating caches are led by the same scheduler, with one
/// block of the maximum length for each sequence, or a block for each token.
/// They share nothing: several samples are then requests of their own.
class Engine {
 public:
  /// `model`, `threads` and `observer` must outlive the engine. InvalidArgument
  /// for options out of range; ResourceExhausted without memory for the pool.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options, LlamaModel& model, ThreadPool& threads,
      EngineObserver& observer);

  /// Queues a request and returns its number. InvalidArgument for tokens
  /// outside of the vocabulary or a request that could never finish.
  absl::StatusOr<std::int64_t> Submit(const EngineRequest& request);
  /// Whether requests have not ended.
  [[nodiscard]] bool has_work() const {
    return scheduler_.num_running() + scheduler_.num_waiting() > 0;
  }
  /// Computes one step of all that run.
  absl::Status Step();
  /// Steps until there is no work.
  absl::Status Run();

  [[nodiscard]] const KvCacheManager& manager() const { return *manager_; }
  [[nodiscard]] const Scheduler& scheduler() const { return scheduler_; }
  [[nodiscard]] const MemoryLog& memory_log() const { return memory_log_; }
  /// The pool, and what of it nobody can have: the null block of a paged cache,
  /// or what is too short for an arena.
  [[nodiscard]] TokenCount capacity() const;
  [[nodiscard]] TokenCount tail() const;
  [[nodiscard]] Bytes bytes_per_token() const { return bytes_per_token_; }
  [[nodiscard]] Bytes peak_cache_bytes() const { return cache_->peak_bytes(); }
  /// Blocks copied, in whole or in part, because a sequence was to write into
  /// one that others share.
  [[nodiscard]] std::int64_t num_block_copies() const {
    return num_block_copies_;
  }
  /// Blocks moved to the swap space.
  [[nodiscard]] std::int64_t num_swapped_blocks() const {
    return num_swapped_blocks_;
  }

 private:
  /// A request of the scheduler.
  struct Live {
    std::int64_t number = 0;        // of the submission
    std::int32_t first_sample = 0;  // the submission's, of its sequence 0
    std::vector<TokenId> prompt;
    std::vector<std::vector<TokenId>> outputs;  // [samples]
  };

  Engine(const EngineOptions& options, LlamaModel& model,
         EngineObserver& observer, std::unique_ptr<KvCacheManager> manager,
         Scheduler scheduler, std::unique_ptr<KvCache> cache)
      : options_(options),
        model_(model),
        observer_(observer),
        manager_(std::move(manager)),
        scheduler_(std::move(scheduler)),
        cache_(std::move(cache)) {}

  absl::Status SubmitLive(Live live, const EngineRequest& request);
  void MakeBatch(const StepPlan& plan);
  void SampleTokens(const StepPlan& plan);
  void EndSequences(std::span<const FinishedRequest> finished);

  EngineOptions options_;
  LlamaModel& model_;
  EngineObserver& observer_;
  std::unique_ptr<KvCacheManager> manager_;
  Scheduler scheduler_;
  std::unique_ptr<KvCache> cache_;
  Bytes bytes_per_token_{0};
  MemoryLog memory_log_;
  std::int64_t num_block_copies_ = 0;
  std::int64_t num_swapped_blocks_ = 0;
  std::int64_t num_submitted_ = 0;
  std::uint64_t next_id_ = 0;
  std::map<RequestId, Live> live_;
  std::map<RequestId, std::int32_t> num_samples_;

  // Of the step under way.
  std::vector<BatchSequence> sequences_;
  ModelBatch batch_;
  std::vector<float> logits_;
  std::vector<TokenId> sampled_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_ENGINE_H_
