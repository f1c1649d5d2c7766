// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_LLAMA_MODEL_H_
#define EXAMPLES_ENGINE_LLAMA_MODEL_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/types.h"

namespace pagedkv::engine {

/// The tokens of a step, sequence after sequence.
struct ModelBatch {
  std::vector<TokenId> tokens;
  std::vector<std::int32_t> positions;    // [tokens], in their sequences
  std::vector<std::int32_t> logits_rows;  // of which logits are wanted
};

/// A Llama (RMSNorm, rotary positions, grouped-query attention, SwiGLU) in
/// fp32. A row's result depends on its own sequence only, to the bit, if the
/// cache's attention has that property too. Thread-compatible.
class LlamaModel {
 public:
  /// `weights` and `threads` must outlive the model, which computes positions
  /// below `max_positions`.
  LlamaModel(const LlamaWeights& weights, std::int32_t max_positions,
             ThreadPool& threads);

  [[nodiscard]] const LlamaConfig& config() const { return weights_.config(); }
  [[nodiscard]] KvShape kv_shape() const;

  /// Computes the batch, for which `cache` has begun a step. `logits` becomes
  /// [logits_rows, vocab_size]. REQUIRES: tokens and positions are in range.
  absl::Status Forward(const ModelBatch& batch, KvCache& cache,
                       std::vector<float>& logits);

 private:
  void Rotate(std::span<const std::int32_t> positions, std::int32_t num_heads,
              float* rows) const;
  absl::Status ComputeLayer(int index, const ModelBatch& batch, KvCache& cache);

  const LlamaWeights& weights_;
  ThreadPool& threads_;
  std::vector<float> cosines_;  // [max_positions, head_dim / 2]
  std::vector<float> sines_;

  // Of the step under way: a row for each token.
  std::vector<float> hidden_;
  std::vector<float> normed_;
  std::vector<float> queries_;
  std::vector<float> keys_;
  std::vector<float> values_;
  std::vector<float> attended_;
  std::vector<float> projected_;
  std::vector<float> gates_;
  std::vector<float> ups_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_LLAMA_MODEL_H_
