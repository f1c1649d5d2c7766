// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_TRANSFER_PLAN_H_
#define PAGEDKV_KV_TRANSFER_PLAN_H_

/// Moving the keys and values of a sequence between peers that keep them
/// differently: in another layout, with another block size, over another number
/// of ranks. Only lists of copies are made here; who moves the bytes is the
/// client's affair.
///
/// How engines keep them, as `KvLayoutOptions` say it:
///
///   shape of the cache                               arrangement   order
///   [2][block][token][head][element] a layer         kSplit        kNhd
///     (vLLM, FlashAttention; K is the first half of the memory, V the second)
///   [block][token][head][element], K and V apart     kSplit        kNhd
///     (SGLang; FlashInfer with a pair of tensors)
///   [block][2][token][head][element] a layer         kInterleaved  kNhd
///   [block][2][head][token][element] a layer         kInterleaved  kHnd
///     (FlashInfer, "NHD" and "HND")
///   [block][layer][2][head][token][element]          kBlockFirst   kHnd
///     (TensorRT-LLM, a pool)
///   [block][token][element] a layer, MLA             kSplit        kNhd
///     (vLLM; one tensor of 1 head and latent + rotary elements, no values)

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_layout.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// A rank of a tensor-parallel group. Of a layer with H heads it holds H /
/// `tensor_parallel` heads, from `rank` * that number on; or, where there are
/// fewer heads than ranks, the one head `rank` * H / `tensor_parallel`, as
/// others do. So a latent, being one vector, is on every rank.
struct KvShard {
  std::int32_t rank = 0;
  std::int32_t tensor_parallel = 1;
  friend bool operator==(const KvShard&, const KvShard&) = default;
};

/// What one rank of a peer holds, and where.
struct KvTransferRank {
  KvShard shard{};
  KvLayout layout;  ///< of its shard
  /// [group][layer of the group]: the layer of the model. Empty: the layers of
  /// the model that store keys and values, in order, fill the groups in order.
  /// A rank of a pipeline names its own layers.
  std::vector<std::vector<std::int32_t>> layers{};
  /// [arena]: bytes from block to block. Empty: those of a `BlockStorage`
  /// created with `layout.storage_layout()`.
  std::vector<Bytes> block_strides{};
};

/// Two peers that serve the same model.
struct KvTransferPeers {
  /// The layers of the whole model. Formats are taken from the layouts.
  std::vector<KvLayer> model{};
  /// All ranks, or those that take part: a rank that fetches what it needs
  /// lists itself alone as the destination.
  std::vector<KvTransferRank> source{};
  std::vector<KvTransferRank> destination{};
};

/// The block tables of one sequence on one rank: [group][block]. Null blocks
/// are tokens that it does not hold.
using KvTables = std::span<const std::span<const BlockId>>;

/// The tokens [first, first + num_tokens) of one sequence.
struct KvTransferRange {
  std::span<const KvTables> source{};  ///< [rank], or one for all ranks
  std::span<const KvTables> destination{};
  TokenCount first{0};
  TokenCount num_tokens{0};
};

/// `count` runs of `bytes` bytes each, from one arena to another. Ranks are
/// places in the lists of `KvTransferPeers`, an arena is the storage layer of
/// the rank's layout, offsets count from the start of its arena. Run i goes
/// from source_offset + i * source_stride to destination_offset + i *
/// destination_stride: the arguments of a two-dimensional copy as devices have
/// it. With one run, strides are 0.
struct KvCopy {
  std::int32_t source_rank = 0;
  std::int32_t source_arena = 0;
  std::int32_t destination_rank = 0;
  std::int32_t destination_arena = 0;
  std::int64_t source_offset = 0;
  std::int64_t destination_offset = 0;
  std::int64_t bytes = 0;
  std::int64_t count = 1;
  std::int64_t source_stride = 0;
  std::int64_t destination_stride = 0;
  friend bool operator==(const KvCopy&, const KvCopy&) = default;
};

/// Which bytes go where, between two peers: what depends on their layouts is
/// computed once, by `Create`, and a list of copies then costs as much as it is
/// long.
///
/// Bytes are moved as they are: a peer with another format needs `GatherKv` and
/// `ScatterKv`. Scales and zero points move with their vectors, but the one
/// scale of a whole tensor (`KvTensorView::scale`) is not in a block: it has to
/// be equal on both sides. Padding is not moved. Each byte of the destination
/// that holds an element of the range is written once and no other byte is.
///
/// Where several source ranks have the same heads, the destination's ranks that
/// have them, each with its layers in order, are dealt to these in equal parts:
/// so a rank of 8 that fetches a latent from a peer with 8 ranks has one
/// partner, and a single rank takes an eighth of the layers of each. Ranks that
/// plan for themselves agree about that.
///
/// A value: immutable, safe to read from any thread; copies share what they
/// hold.
class KvTransferPlan {
 public:
  /// InvalidArgument, naming the side, its rank and the layer, if the peers do
  /// not fit together: other head sizes or formats, layouts that are not those
  /// of their shards, heads that no source rank has.
  static absl::StatusOr<KvTransferPlan> Create(const KvTransferPeers& peers);

  /// Replaces `out` by the copies for `range`, in no order that matters; no
  /// memory is allocated once `out` has room. Runs are as long as they can be,
  /// also across blocks that follow one another on both sides.
  ///
  /// Tokens whose destination block is null are left out. So are those whose
  /// source block is null, if all layers of the group have windows; else it is
  /// an error. Tables may not name a block twice in the range, and the source
  /// and the destination may not be the same blocks.
  ///
  /// InvalidArgument, naming side, rank and group, for tables that do not cover
  /// the range, blocks out of the pool, or a range that begins or ends within a
  /// run of tokens with common scales (kChannel).
  absl::Status Copies(const KvTransferRange& range,
                      std::vector<KvCopy>& out) const;

 private:
  struct Parts;
  explicit KvTransferPlan(std::shared_ptr<const Parts> parts)
      : parts_(std::move(parts)) {}
  std::shared_ptr<const Parts> parts_;
};

/// Whether `copies` do what a plan promises for `range`: each element (layer,
/// key or value, token, head, channel) and scale that a destination rank has to
/// hold is written exactly once, from where a source rank has the same, and
/// nothing else is written. Shares with the plan only the reading of `peers`:
/// addresses come from the formulas in kv_tensor.h, vector by vector. Meant for
/// the set-up of a connection and for tests: O(vectors * log copies).
/// FailedPrecondition names the first fault.
absl::Status CheckKvCopies(const KvTransferPeers& peers,
                           const KvTransferRange& range,
                           std::span<const KvCopy> copies);

/// Sum over all runs.
[[nodiscard]] Bytes TotalBytes(std::span<const KvCopy> copies);

/// Where the arenas of one rank begin: [arena].
using KvArenas = std::span<std::byte* const>;
/// The arenas of `storage`.
[[nodiscard]] std::vector<std::byte*> ArenasOf(const BlockStorage& storage);

/// Does `copies` in memory of the host, on the calling thread: any part of a
/// list may be given, so that several threads share it.
/// `sources` and `destinations`: [rank]. A transport to another machine takes
/// the list instead: arenas are registered once, a run is a read or a write of
/// remote memory, and a strided copy one with a list of segments.
/// REQUIRES: the arenas that the copies name are there, and do not overlap.
void ExecuteKvCopies(std::span<const KvCopy> copies,
                     std::span<const KvArenas> sources,
                     std::span<const KvArenas> destinations);

}  // namespace pagedkv

#endif  // PAGEDKV_KV_TRANSFER_PLAN_H_
