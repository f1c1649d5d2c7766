// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KV_TRANSFER_ROUTE_H_
#define ALLOCATOR_KV_TRANSFER_ROUTE_H_

/// What a transfer plan computes once, and how copies for given tables come of
/// it.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

#include "pagedkv/kv_transfer_plan.h"

namespace pagedkv {

/// One side of a piece: where in a block it begins, and its strides.
struct KvPieceSide {
  std::int64_t offset = 0;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
};

/// Neighbouring heads of one tensor that go from one rank to another: rows x
/// heads of `bytes` bytes each. A row is a token, or with scales per channel
/// the scales of `tokens_per_row` tokens.
struct KvPiece {
  KvPieceSide source;
  KvPieceSide destination;
  std::int64_t bytes = 0;
  std::int32_t heads = 0;
  std::int32_t tokens_per_row = 1;
};

/// What goes from one arena to another.
struct KvLane {
  std::int32_t source_arena = 0;
  std::int32_t destination_arena = 0;
  std::int64_t source_block_stride = 0;
  std::int64_t destination_block_stride = 0;
  std::vector<KvPiece> pieces{};  ///< by their place in the destination's block
  /// If the blocks of both sides have equal sizes: the copies for one block,
  /// from block 0 to block 0. Pieces that lie side by side on both sides are
  /// one copy there.
  std::vector<KvCopy> whole_block{};
};

/// What goes from a group of one rank to a group of another. Both walk their
/// block tables over the same tokens.
struct KvRoute {
  std::int32_t source_rank = 0;
  std::int32_t source_group = 0;
  std::int32_t destination_rank = 0;
  std::int32_t destination_group = 0;
  std::int32_t source_block_size = 1;
  std::int32_t destination_block_size = 1;
  /// Ranges begin and end at multiples of it: tokens that share scales.
  std::int32_t granularity = 1;
  /// All layers have windows: the source may have given blocks back.
  bool windowed = true;
  std::vector<KvLane> lanes{};
};

/// Sorts the pieces of each lane and fills in `whole_block`.
void FinishRoute(KvRoute& route);

/// The errors of `KvTransferPlan::Copies` that concern one route.
absl::Status CheckRoute(const KvRoute& route,
                        std::span<const BlockId> source_table,
                        std::span<const BlockId> destination_table,
                        std::int64_t first, std::int64_t end);

/// Appends the copies for tokens [first, end). REQUIRES: `CheckRoute` is OK.
void AppendCopies(const KvRoute& route, std::span<const BlockId> source_table,
                  std::span<const BlockId> destination_table,
                  std::int64_t first, std::int64_t end,
                  std::vector<KvCopy>& out);

}  // namespace pagedkv

#endif  // ALLOCATOR_KV_TRANSFER_ROUTE_H_
