// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_KV_LAYOUT_H_
#define PAGEDKV_KV_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// The order of the vectors within a block.
enum class KvOrder : std::uint8_t {
  kNhd,  ///< [token][head][element]: a token's vectors lie together
  kHnd,  ///< [head][token][element]: a head's vectors lie together
};

/// What lies beside what, from block to block.
enum class KvArrangement : std::uint8_t {
  kSplit,        ///< keys and values of each layer in arenas of their own
  kInterleaved,  ///< an arena for each layer: [block][key, value]
  /// One arena: [block][layer][key, value]. A block is one run of bytes, which
  /// suits transfers.
  kBlockFirst,
};

/// Keys, or values.
enum class KvRole : std::uint8_t { kKey, kValue };

/// The layers of one KV cache group.
struct KvLayoutGroup {
  BlockSize block_size{16};
  std::vector<KvLayer> layers;  ///< at least one; each `stores_kv`
};

struct KvLayoutOptions {
  BlockCount num_blocks{0};           ///< as the pool has
  std::vector<KvLayoutGroup> groups;  ///< at least one, in the manager's order
  KvOrder order = KvOrder::kNhd;
  KvArrangement arrangement = KvArrangement::kSplit;
  /// Of each run of vectors and of scales in a block, a power of two from 1 to
  /// 4096 bytes; what it takes to get there is padding. 1 is right for bytes
  /// that equal `KvGeometry`'s; kernels are faster from 16 on.
  std::int32_t alignment = 1;
};

/// Where the keys and values of a model lie in a `BlockStorage`: the one
/// description that storages, kernels and transfers read.
///
/// In a block, the vectors of a tensor (K or V of a layer) stand in
/// `KvOrder`, and behind them its scales in the same order. With alignment 1
/// they take exactly `KvGeometry::bytes_per_page`. Immutable, and so safe to
/// read from any thread.
class KvLayout {
 public:
  /// InvalidArgument, naming group and layer, for what is no layout: layers
  /// that store no keys and values, vectors that do not fill whole bytes,
  /// scales or zero points of neither 0, 16 nor 32 bits.
  static absl::StatusOr<KvLayout> Create(const KvLayoutOptions& options);

  /// What a `BlockStorage` is created with.
  [[nodiscard]] const BlockStorageLayout& storage_layout() const {
    return storage_layout_;
  }
  [[nodiscard]] std::size_t num_groups() const { return groups_.size(); }
  [[nodiscard]] std::size_t num_layers(int group) const {
    return groups_[static_cast<std::size_t>(group)].size();
  }

  /// A tensor in `storage`, which was created with `storage_layout` (or one
  /// that differs in the number of blocks). A layer without values has a view
  /// without heads. REQUIRES: `group` and `layer` are of the layout.
  [[nodiscard]] KvTensorView View(const BlockStorage& storage, int group,
                                  int layer, KvRole role) const;

  /// The same for memory that is no `BlockStorage`: `arena` is the start of
  /// that of `storage_layer`, where blocks follow one another without padding.
  /// Null gives a view whose base is an offset.
  [[nodiscard]] KvTensorView View(std::byte* arena, int group, int layer,
                                  KvRole role) const;
  /// The layer of `storage_layout` in whose arena the tensor lies.
  [[nodiscard]] int storage_layer(int group, int layer, KvRole role) const {
    return place(group, layer, role).storage_layer;
  }

 private:
  // `view.base` is null.
  struct Place {
    int storage_layer = 0;
    std::int64_t offset = 0;  // of the view's base in a block
    KvTensorView view;
  };
  struct LayerPlaces {
    Place key;
    Place value;
  };

  class GroupBuilder;

  KvLayout() = default;
  [[nodiscard]] const Place& place(int group, int layer, KvRole role) const {
    const LayerPlaces& places = groups_[static_cast<std::size_t>(group)]
                                       [static_cast<std::size_t>(layer)];
    return role == KvRole::kKey ? places.key : places.value;
  }

  BlockStorageLayout storage_layout_;
  std::vector<std::vector<LayerPlaces>> groups_;  // [group][layer]
};

}  // namespace pagedkv

#endif  // PAGEDKV_KV_LAYOUT_H_
