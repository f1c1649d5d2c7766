// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KV_TRANSFER_PEERS_H_
#define ALLOCATOR_KV_TRANSFER_PEERS_H_

/// The two sides of a transfer, checked and with their defaults filled in.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/kv_tensor.h"
#include "pagedkv/kv_transfer_plan.h"

namespace pagedkv {

/// Where a rank has a layer of the model.
struct KvLayerPlace {
  std::int32_t group = -1;  ///< -1: nowhere
  std::int32_t layer = -1;  ///< of the group
  [[nodiscard]] bool held() const { return group >= 0; }
};

/// What the tables of a rank have to look like.
struct KvTableShape {
  std::vector<BlockSize> block_sizes{};  ///< [group]
  BlockCount num_blocks{0};
};

/// A `KvTransferRank` that fits the model.
struct KvResolvedRank {
  KvShard shard{};
  const KvLayout* layout = nullptr;                 ///< of the peers
  std::vector<std::vector<std::int32_t>> layers{};  ///< [group][layer]: model's
  std::vector<KvLayerPlace> places{};               ///< [layer of the model]
  std::vector<std::int64_t> block_strides{};        ///< [arena]

  /// Its base is the offset of block 0 in the arena of `ArenaOf`.
  [[nodiscard]] KvTensorView View(const KvLayerPlace& place, KvRole role) const;
  [[nodiscard]] std::int32_t ArenaOf(const KvLayerPlace& place,
                                     KvRole role) const {
    return layout->storage_layer(place.group, place.layer, role);
  }
};

/// [rank].
std::vector<KvTableShape> ShapesOf(const std::vector<KvResolvedRank>& ranks);

struct KvResolvedPeers {
  std::vector<KvResolvedRank> source;
  std::vector<KvResolvedRank> destination;
};

/// The errors of `KvTransferPlan::Create` that concern one rank by itself.
/// `peers` must outlive the result.
absl::StatusOr<KvResolvedPeers> ResolvePeers(const KvTransferPeers& peers);

/// The heads of the model that a rank holds, and who else does.
struct KvHeadShare {
  std::int32_t first = 0;
  std::int32_t count = 0;     ///< 0: heads and ranks do not divide one another
  std::int32_t replicas = 1;  ///< ranks with the same heads
  std::int32_t replica = 0;   ///< this one's place among them
};
[[nodiscard]] KvHeadShare HeadsOf(const KvShard& shard, std::int32_t heads);

[[nodiscard]] inline const KvTensor& TensorOf(const KvLayer& layer,
                                              KvRole role) {
  return role == KvRole::kKey ? layer.key : layer.value;
}
[[nodiscard]] inline const char* RoleName(KvRole role) {
  return role == KvRole::kKey ? "key" : "value";
}
inline constexpr KvRole kKvRoles[] = {KvRole::kKey, KvRole::kValue};

/// The tables of a rank. REQUIRES: `tables` passed `CheckRange`.
[[nodiscard]] inline const KvTables& TablesOf(std::span<const KvTables> tables,
                                              std::size_t rank) {
  return tables.size() == 1 ? tables[0] : tables[rank];
}

/// The errors of `KvTransferPlan::Copies` that concern one side by itself.
absl::Status CheckRange(const KvTransferRange& range,
                        std::span<const KvTableShape> source,
                        std::span<const KvTableShape> destination);

}  // namespace pagedkv

#endif  // ALLOCATOR_KV_TRANSFER_PEERS_H_
