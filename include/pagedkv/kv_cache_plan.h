// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_CACHE_PLAN_H_
#define PAGEDKV_KV_CACHE_PLAN_H_

/// How layers that keep different tokens share one pool: the KV cache groups of
/// a model, the blocks that fit its memory, and what padding costs a sequence.

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/kv_cache_group.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"

namespace pagedkv {

struct KvCachePlanOptions {
  /// For the KV cache of this rank. Where it is negative, no block fits.
  Bytes available{0};
  /// Whether the attention kernels find a page by its stride and so read pages
  /// that end in padding. If not, pages of sizes that do not divide one another
  /// cannot share a pool. States are found by their stride in any case.
  bool pad_pages = false;
};

/// A layer of a group, and its part of each of the group's blocks.
struct KvCacheGroupLayer {
  std::int32_t index = 0;  ///< in `KvGeometry::layers`
  Bytes page{0};           ///< what it stores in a block, without padding
  friend bool operator==(const KvCacheGroupLayer&,
                         const KvCacheGroupLayer&) = default;
};

/// Layers that share a block table: they keep the same tokens, in blocks of the
/// same size.
struct KvCacheGroup {
  /// kLatent if all layers are latents; latents among layers with full K and V
  /// keep the same tokens as these, and count as kFull.
  AttentionKind attention = AttentionKind::kFull;
  TokenCount window{0};          ///< kSlidingWindow and kChunkedLocal
  TokenCount encoder_tokens{0};  ///< kCross
  /// A whole multiple of the geometry's: such a block is so many of the
  /// geometry's blocks, one behind the other. kStateSpace: the geometry's, and
  /// one block holds the state of a whole sequence.
  BlockSize block_size{16};
  std::vector<KvCacheGroupLayer> layers;  ///< at least one, by index
  /// Bytes at the end of each layer's page that only make it as large as those
  /// of the other groups.
  Bytes page_padding{0};
  /// Layers that the group has fewer than the plan's `layers_per_group`: its
  /// blocks hold a page for each of them, which nothing uses.
  std::int32_t missing_layers = 0;
};

/// The groups of one model on one rank, which all draw blocks from one pool. A
/// block belongs to one group at a time, and so has the same bytes in each:
///   bytes_per_block == sum of layers[i].page
///                    + layers.size() * page_padding
///                    + missing_layers * (layers[0].page + page_padding)
///   layers_per_group == layers.size() + missing_layers
/// for every group, whose pages are all equal where there are several groups.
/// `blocks * bytes_per_block` never exceeds the memory that was available.
struct KvCachePlan {
  std::vector<KvCacheGroup> groups;  ///< none if no layer takes memory
  std::int32_t layers_per_group = 0;
  Bytes bytes_per_block{0};
  BlockCount num_blocks{0};  ///< the null block included; rounded down
};

/// Plans as vLLM's v1 engine does (`get_kv_cache_groups`), so that both have as
/// many blocks:
/// * Layers that all keep the same tokens are one group, whatever the sizes of
///   their pages.
/// * Otherwise all pages become as large as the largest. A smaller one holds so
///   many times the tokens, if its size divides the largest; else it is padded,
///   if `pad_pages`. A state is always padded. Where a state is the largest,
///   the blocks of all other layers grow by a whole factor, until the largest
///   of their pages holds it.
/// * Equal layers then form groups of n, the least number of equal layers, or
///   the greatest, if that is below 1.5 times the least. m equal layers are
///   dealt out in turn to ceil(m / n) groups, which keeps the groups alike in
///   each stage of a pipeline.
/// Groups come in the order of the first of their equal layers. O(layers *
/// distinct layers).
///
/// InvalidArgument, naming the layer and both sizes, where a page would have to
/// be padded and may not be; OutOfRange if a block has more than 2^31 - 1
/// tokens or more than 2^63 - 1 bytes.
///
/// Not limited to the groups that a `KvCacheManager` can have.
[[nodiscard]] absl::StatusOr<KvCachePlan> PlanKvCache(
    const KvGeometry& geometry, const KvCachePlanOptions& options);

/// The groups as `KvCacheManagerOptions` takes them, in the plan's order; the
/// pool gets `plan.num_blocks`.
[[nodiscard]] std::vector<KvCacheGroupOptions> GroupOptionsOf(
    const KvCachePlan& plan);

// What a sequence takes on its way to `length` tokens, at most. A negative
// length is InvalidArgument, and bytes beyond 63 bits are OutOfRange, in each.

/// Blocks in the table of one group, those before a window given back.
[[nodiscard]] absl::StatusOr<BlockCount> GroupBlocksAtLength(
    const KvCacheGroup& group, TokenCount length);

/// Bytes that those blocks take out of the pool, padding and all. Only this
/// function knows what a block costs; all waste is counted against it.
[[nodiscard]] absl::StatusOr<Bytes> HeldBytesAtLength(const KvCachePlan& plan,
                                                      const KvCacheGroup& group,
                                                      TokenCount length);

/// Bytes that the group's layers need: each layer's own pages, in blocks of the
/// geometry's size. This is what an allocator takes that gives each group
/// blocks of its own size, such as the two-level one of Jenga (arXiv
/// 2503.18292, section 4), not counting the ends of its large blocks.
/// REQUIRES: `group` was planned from `geometry`.
[[nodiscard]] absl::StatusOr<Bytes> NeededBytesAtLength(
    const KvGeometry& geometry, const KvCacheGroup& group, TokenCount length);

/// Memory that is taken, and how much of it is of use: needed <= held.
struct KvCacheUse {
  Bytes held{0};
  Bytes needed{0};

  [[nodiscard]] Bytes wasted() const { return held - needed; }
  /// Of what is held, from 0 to 100; 0 where nothing is.
  [[nodiscard]] double wasted_percent() const;
  friend bool operator==(const KvCacheUse&, const KvCacheUse&) = default;
};

/// Use by one group. REQUIRES: `plan` and `group` are of `geometry`.
[[nodiscard]] absl::StatusOr<KvCacheUse> GroupUseAtLength(
    const KvGeometry& geometry, const KvCachePlan& plan,
    const KvCacheGroup& group, TokenCount length);
/// Use by all groups of the plan.
[[nodiscard]] absl::StatusOr<KvCacheUse> PlanUseAtLength(
    const KvGeometry& geometry, const KvCachePlan& plan, TokenCount length);

/// The baseline without groups: one block table, whose blocks hold all tokens
/// in all layers, so that a window saves nothing, and the tokens of text and of
/// the encoder are held in self-attention and cross-attention layers alike.
/// `length` counts the tokens of text. States are held once, as needed. The
/// published waste of hybrid models is counted like this (vllm-project/vllm
/// issue 11382; arXiv 2503.18292, section 3.2).
[[nodiscard]] absl::StatusOr<KvCacheUse> UniformUseAtLength(
    const KvGeometry& geometry, TokenCount length);

}  // namespace pagedkv

#endif  // PAGEDKV_KV_CACHE_PLAN_H_
