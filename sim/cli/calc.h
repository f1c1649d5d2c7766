// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_CALC_H_
#define SIM_CLI_CALC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_plan.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/catalogue/gpu_catalogue.h"
#include "sim/catalogue/model_config.h"

namespace pagedkv::sim {

/// The question, as on the command line. An empty string and a zero stand for
/// an option that was not given.
struct CalcOptions {
  // The model: one of a name, a file, or the figures themselves.
  std::string model;
  std::string config;
  std::int32_t layers = 0;
  std::int32_t heads = 0;     ///< query heads; as many as KV heads
  std::int32_t kv_heads = 0;  ///< as many as query heads
  std::int32_t head_dim = 0;

  std::int64_t seq_len = 0;  ///< the model's maximum
  std::int64_t batch = 1;
  std::int32_t block_size = 16;

  // How elements are stored.
  std::string dtype;         ///< the model's own
  std::string value_dtype;   ///< of V: as `dtype`
  std::string quant_scheme;  ///< tensor, token, channel or group
  std::int32_t quant_group = 0;

  // The memory of one GPU: all known GPUs, or one, or directly.
  std::string gpu;
  std::string memory;           ///< for the KV cache alone
  std::int64_t num_blocks = 0;  ///< the pool itself
  double gpu_memory_utilization = 0.9;
  std::string weights;      ///< of the whole model: those of the checkpoint
  std::string activations;  ///< on each GPU

  std::int32_t tensor_parallel = 1;
  std::int32_t pipeline_parallel = 1;
};

enum class AttentionKind : std::uint8_t { kMha, kGqa, kMqa, kMla };
/// "mha", "gqa", "mqa", "mla".
[[nodiscard]] std::string_view AttentionName(AttentionKind kind);

/// Bytes of one geometry at a length and a batch. Layers with a window keep at
/// most their window, except in `*_unwindowed`.
struct CalcSize {
  Bytes token{0};
  Bytes block{0};
  Bytes sequence{0};
  Bytes sequence_blocks{0};  ///< in whole blocks
  Bytes sequence_unwindowed{0};
  Bytes total{0};  ///< the whole batch, and so below
  Bytes total_blocks{0};
  Bytes total_unwindowed{0};
};

/// The model as it would be with another kind of attention.
struct CalcAttention {
  AttentionKind kind = AttentionKind::kMha;
  KvTensor key{};
  KvTensor value{};
  CalcSize size{};
};

/// What a memory of some size holds.
struct CalcCapacity {
  BlockCount blocks{0};  ///< of the plan's groups, if there are several
  Bytes pool{0};         ///< bytes of those blocks
  /// Tokens in those blocks: of each group equally many, if there are several.
  TokenCount block_slots{0};
  TokenCount slots{0};  ///< if it is not cut into blocks, windows ignored
  std::int64_t max_batch = 0;  ///< sequences of the asked length, in blocks
};

struct CalcDtype {
  KvFormat format;
  CalcSize size;
  /// In the memory that was asked about, if it is one.
  std::optional<CalcCapacity> capacity;
};

/// What each rank of one pipeline stage holds.
struct CalcStage {
  std::int64_t layers = 0;
  CalcSize size;
};

/// The KV cache groups of a model whose layers keep different tokens, and what
/// a sequence of the asked length takes in each.
struct CalcGroups {
  KvCachePlan plan;              ///< without a number of blocks
  std::vector<KvCacheUse> uses;  ///< of each group
  KvCacheUse all;                ///< of all groups together
  KvCacheUse uniform;            ///< if blocks held all tokens in all layers
};

/// What fits the memory of one GPU (or of each of several equal ones).
struct CalcFit : CalcCapacity {
  std::optional<GpuSpec> gpu;  ///< none for a budget given directly
  Bytes weights{0};            ///< of one rank
  Bytes activations{0};
  Bytes kv_memory{0};  ///< left for KV; negative if the weights do not fit
};

/// The answer.
struct CalcResult {
  ModelSpec model;
  AttentionKind attention = AttentionKind::kMha;
  std::vector<KvLayer> layers;  ///< of the model, stored as asked
  BlockSize block_size{16};
  TokenCount seq_len{0};
  std::int64_t batch = 1;
  std::int32_t tensor_parallel = 1;
  std::int32_t pipeline_parallel = 1;
  double gpu_memory_utilization = 0;
  CalcSize size;
  std::optional<CalcGroups> groups;  ///< if there are several
  std::vector<CalcStage> stages;
  std::vector<CalcFit> fits;
  std::vector<CalcAttention> attentions;
  std::vector<CalcDtype> dtypes;
  /// Keys (and as many values) to project per layer and sequence to reach
  /// `seq_len`: n(n+1)/2 if each step projects all tokens again, n if not.
  std::int64_t projections_without_cache = 0;
  std::int64_t projections_with_cache = 0;
};

/// Computes all of `CalcResult`. InvalidArgument, NotFound or OutOfRange, in
/// one line that names the option.
absl::StatusOr<CalcResult> Calculate(const CalcOptions& options);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_CALC_H_
