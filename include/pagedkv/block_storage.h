// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_BLOCK_STORAGE_H_
#define PAGEDKV_BLOCK_STORAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "pagedkv/types.h"

namespace pagedkv {

/// What one layer keeps in a block. Keys and values that lie apart count as two
/// layers here.
struct LayerLayout {
  Bytes bytes_per_block{0};  ///< >= 1
  /// A block is `block_size` runs of equal length, one for each token in order,
  /// so that copying its first tokens means copying its first bytes. Otherwise
  /// (heads first, scales of the whole block) a copy takes the whole block.
  bool token_major = true;
};

/// The layers of one KV cache group: they share its block tables.
struct GroupLayout {
  BlockSize block_size{16};
  std::vector<LayerLayout> layers;  ///< at least one

  /// What a copy of the first `num_tokens` slots of a block takes in `layer`.
  /// REQUIRES: 0 <= num_tokens <= block_size, `layer` is an index of `layers`.
  [[nodiscard]] Bytes CopyBytes(std::size_t layer,
                                std::int32_t num_tokens) const {
    const std::int64_t block = layers[layer].bytes_per_block.value();
    if (!layers[layer].token_major) return Bytes(num_tokens > 0 ? block : 0);
    return Bytes(block / block_size.value() * num_tokens);
  }
};

/// The memory behind one block pool.
struct BlockStorageLayout {
  BlockCount num_blocks{0};  ///< as the pool has, the null block included
  std::vector<GroupLayout> groups;  ///< at least one, in the manager's order
};

/// Copy the first `num_tokens` slots of block `source` to block `destination`
/// in every layer of `group`: what copy-on-write asks of the storage. A list of
/// copies is to be done in its order and before the step's tokens are written.
struct BlockCopy {
  std::int32_t group = 0;
  BlockId source;
  BlockId destination;
  std::int32_t num_tokens = 0;
  friend bool operator==(const BlockCopy&, const BlockCopy&) = default;
};

/// Move the first `num_tokens` slots of a block between the pool's storage and
/// its swap space, another storage of the same groups: `block` is of the first,
/// `swap_block` of the second, and the list that it stands in says which way.
struct BlockSwap {
  std::int32_t group = 0;
  BlockId block;
  BlockId swap_block;
  std::int32_t num_tokens = 0;
  friend bool operator==(const BlockSwap&, const BlockSwap&) = default;
};

/// Contiguous memory of `num_blocks` blocks: block b starts at byte
/// b * block_stride. The address is the backend's: of a device, if it is one.
struct BlockArena {
  std::byte* base = nullptr;
  Bytes block_stride{0};
};

/// The bytes behind a block pool, on the host or on a device: owns them, says
/// where they lie, copies and fills blocks. The contract of every backend; all
/// pass the same tests.
///
/// Layer k of every group lies in arena k, whose stride is the largest of their
/// blocks: a block belongs to one group at a time, so that the groups share the
/// memory as they share the pool. With one group there is no padding.
///
/// Operations take effect in the order of the calls. One that is refused
/// (InvalidArgument, naming the culprit) has done nothing; a backend adds the
/// errors of its device. Bytes are not initialised. One virtual call is made
/// for each list of blocks, none per block. Thread-compatible; arenas do not
/// move, and may be read and written while nobody copies or fills those blocks.
class BlockStorage {
 public:
  BlockStorage(const BlockStorage&) = delete;
  BlockStorage& operator=(const BlockStorage&) = delete;
  virtual ~BlockStorage() = default;

  [[nodiscard]] const BlockStorageLayout& layout() const { return layout_; }
  /// Where the blocks of a layer lie, from now to the end of the storage.
  /// REQUIRES: `layer` is a layer of `group`, `group` one of the layout.
  [[nodiscard]] BlockArena arena(int group, int layer) const;
  /// num_blocks * block_stride, summed over the arenas.
  [[nodiscard]] Bytes size() const;

  /// Does `copies` in their order, each in all layers of its group. Ids must be
  /// blocks of the storage, not null, and source and destination differ.
  absl::Status CopyBlocks(std::span<const BlockCopy> copies);
  /// Sets every byte of `blocks` in every arena, whichever group they are of:
  /// to clear what a former owner left, or to commit memory before it is used.
  absl::Status FillBlocks(std::span<const BlockId> blocks, std::byte value);

 protected:
  /// The stride of each arena that `layout` asks for. InvalidArgument, naming
  /// the group and layer, if it is not a layout or its size exceeds 2^62 bytes.
  static absl::StatusOr<std::vector<Bytes>> ArenaStrides(
      const BlockStorageLayout& layout);

  /// `arenas` have the strides of `layout`, each for all of its blocks. The
  /// backend owns what they point to.
  BlockStorage(BlockStorageLayout layout, std::vector<BlockArena> arenas);

  [[nodiscard]] std::span<const BlockArena> arenas() const { return arenas_; }

 private:
  /// The same as the public ones, with arguments that were checked.
  virtual absl::Status DoCopyBlocks(std::span<const BlockCopy> copies) = 0;
  virtual absl::Status DoFillBlocks(std::span<const BlockId> blocks,
                                    std::byte value) = 0;

  BlockStorageLayout layout_;
  std::vector<BlockArena> arenas_;
};

}  // namespace pagedkv

#endif  // PAGEDKV_BLOCK_STORAGE_H_
