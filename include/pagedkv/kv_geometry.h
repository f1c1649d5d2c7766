// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_GEOMETRY_H_
#define PAGEDKV_KV_GEOMETRY_H_

/// How many bytes the KV cache of a model takes: the only place where counts of
/// tokens and of blocks become bytes.

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// "fp32", "fp16", "bf16", "fp8", "fp8_e5m2", "int8", "int4", "int2".
[[nodiscard]] std::string_view KvDtypeName(KvDtype dtype);
/// The reverse; InvalidArgument lists the known names.
absl::StatusOr<KvDtype> ParseKvDtype(std::string_view name);

enum class KvLayerKind : std::uint8_t {
  kFull,           ///< attends to all tokens
  kSlidingWindow,  ///< attends to the last `window` tokens
  kChunked,        ///< attends within its chunk of `window` tokens
  kCross,          ///< attends to the `encoder_tokens` of an encoder
  kStateSpace,  ///< keeps `state` bytes per sequence (Mamba, linear attention)
  kShared,      ///< reads the KV of the earlier layer `shared_with`
  kStateless,   ///< stores nothing, or its state lies outside the pool
};

/// One layer of a model.
struct KvLayer {
  KvLayerKind kind = KvLayerKind::kFull;
  TokenCount window{0};           ///< kSlidingWindow and kChunked
  TokenCount encoder_tokens{0};   ///< kCross: as many for every sequence
  Bytes state{0};                 ///< kStateSpace: of one sequence
  std::int32_t shared_with = -1;  ///< kShared: a layer that stores its own KV
  /// Multi-head latent attention: `key` is the latent and `value` the rotary
  /// part, one vector each, read by all heads (DeepSeek-V2, arXiv 2405.04434).
  bool latent = false;
  /// Not used by kStateSpace, kShared and kStateless. `value` may have no heads
  /// and no size.
  KvTensor key{};
  KvTensor value{};

  /// Whether it stores keys and values of tokens of its own.
  [[nodiscard]] bool stores_kv() const {
    return kind != KvLayerKind::kShared && kind != KvLayerKind::kStateless &&
           kind != KvLayerKind::kStateSpace;
  }
  /// Whether it takes memory of the pool: for keys and values, or for a state.
  [[nodiscard]] bool takes_memory() const {
    return stores_kv() || kind == KvLayerKind::kStateSpace;
  }
  [[nodiscard]] bool has_window() const {
    return kind == KvLayerKind::kSlidingWindow || kind == KvLayerKind::kChunked;
  }
  friend bool operator==(const KvLayer&, const KvLayer&) = default;
};

/// The most blocks of `block_size` tokens that `layer` keeps of one sequence on
/// its way to `length` tokens (>= 0), if blocks before its window are given
/// back. A window need not begin at a block boundary, and counts the block that
/// it only begins in. kCross: those of the encoder's tokens, and kStateSpace:
/// one for the state, for any sequence but an empty one.
[[nodiscard]] BlockCount PeakBlocks(const KvLayer& layer, TokenCount length,
                                    BlockSize block_size);

/// Bytes of a model's KV cache, for a whole model or for one rank of it.
///
/// In one layer, the K of a block of B tokens takes
///   heads * head_size * bits * B + scales(B) * (scale_bits + zero_point_bits)
/// bits, rounded up to whole bytes, and V likewise; nothing else is rounded.
/// scales(B) is heads * B per token, heads * B * ceil(head_size / group) per
/// group, and heads * head_size * ceil(B / group) per channel. A block of the
/// pool holds B tokens of every layer that stores KV; states, which belong to a
/// sequence and not to its tokens, are in no block. How layers that keep
/// different tokens share a pool is planned in kv_cache_plan.h.
///
/// A value: immutable, and so safe to read from any thread.
class KvGeometry {
 public:
  /// InvalidArgument if a layer is inconsistent or `block_size` is not
  /// positive; OutOfRange if the bytes of a block do not fit 63 bits.
  static absl::StatusOr<KvGeometry> Create(std::vector<KvLayer> layers,
                                           BlockSize block_size);

  [[nodiscard]] const std::vector<KvLayer>& layers() const { return layers_; }
  [[nodiscard]] BlockSize block_size() const { return block_size_; }
  /// Bytes of one block, all layers.
  [[nodiscard]] Bytes bytes_per_block() const { return bytes_per_block_; }
  /// Bytes of one block in one layer, its page; a kStateSpace layer's page is
  /// its state. REQUIRES: layer < layers().size().
  [[nodiscard]] Bytes bytes_per_page(std::size_t layer) const {
    return pages_[layer];
  }
  /// Bytes of one token in all layers: a block's bytes / block size, rounded
  /// up. Exact unless scales are shared between tokens or bits do not fill a
  /// byte.
  [[nodiscard]] Bytes bytes_per_token() const;

  /// Bytes of `blocks`; OutOfRange if they do not fit 63 bits.
  [[nodiscard]] absl::StatusOr<Bytes> PoolBytes(BlockCount blocks) const;
  /// Blocks that `budget` holds: rounds down. 0 for a negative budget;
  /// unlimited (the largest count) where no layer stores anything.
  [[nodiscard]] BlockCount NumBlocks(Bytes budget) const;
  /// Token slots that `budget` holds where it is not cut into blocks.
  [[nodiscard]] TokenCount NumSlots(Bytes budget) const;

  /// The most bytes that a sequence needs on its way to `length` tokens, to
  /// the token: a layer with a window keeps at most its window, and one with an
  /// encoder or a state all of that from the first token on. O(layers).
  /// InvalidArgument for a negative length; OutOfRange if the bytes do not fit
  /// 63 bits.
  [[nodiscard]] absl::StatusOr<Bytes> BytesAtLength(TokenCount length) const;
  /// The same in whole blocks, when each layer gives back the blocks that lie
  /// before its window (which need not begin at a block boundary).
  [[nodiscard]] absl::StatusOr<Bytes> BlockBytesAtLength(
      TokenCount length) const;
  /// The same of one layer. REQUIRES: layer < layers().size().
  [[nodiscard]] absl::StatusOr<Bytes> LayerBlockBytesAtLength(
      std::size_t layer, TokenCount length) const;

  /// What one rank holds, for each stage of a pipeline: the ranks of a stage
  /// hold equal amounts. Layers go to the stages in order, the first
  /// (layers % stages) stages getting one more. KV heads are split over
  /// `tensor_parallel` ranks, or replicated where there are fewer heads than
  /// ranks; a latent is held by every rank, and of a state each holds an equal
  /// part, rounded up to bytes. A stage whose shared layer lies in
  /// an earlier stage keeps its own copy. All ranks have as many blocks as the
  /// stage with the most bytes per block can hold. InvalidArgument if heads and
  /// ranks do not divide one another, or a stage would be empty.
  [[nodiscard]] absl::StatusOr<std::vector<KvGeometry>> Shard(
      std::int32_t tensor_parallel, std::int32_t pipeline_parallel) const;

 private:
  KvGeometry(std::vector<KvLayer> layers, BlockSize block_size)
      : layers_(std::move(layers)), block_size_(block_size) {}

  std::vector<KvLayer> layers_;
  BlockSize block_size_;
  std::vector<Bytes> pages_;  // [layers]
  Bytes bytes_per_block_{0};
};

/// The memory of one GPU, and what else lives there.
struct GpuMemory {
  Bytes total{0};
  double utilization = 0.9;  ///< share of `total` to use, in (0, 1]
  Bytes weights{0};
  Bytes activations{0};  ///< and anything else beside weights and KV
};

/// floor(total * utilization) - weights - activations: negative where the model
/// does not fit. InvalidArgument for a negative size or a share out of range.
absl::StatusOr<Bytes> KvMemory(const GpuMemory& gpu);

}  // namespace pagedkv

#endif  // PAGEDKV_KV_GEOMETRY_H_
