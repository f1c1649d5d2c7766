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
  friend bool operator==(const LayerLayout&, const LayerLayout&) = default;
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
  friend bool operator==(const GroupLayout&, const GroupLayout&) = default;
};

/// The memory behind one block pool.
struct BlockStorageLayout {
  BlockCount num_blocks{0};  ///< as the pool has, the null block included
  std::vector<GroupLayout> groups;  ///< at least one, in the manager's order
  /// The storage can be resized, up to so many blocks: it reserves addresses
  /// for them, and memory for `num_blocks`. 0: it cannot.
  BlockCount max_num_blocks{0};
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

/// Which way the blocks of a list of `BlockSwap` go.
enum class SwapDirection : std::uint8_t {
  kOut,  ///< to the swap space
  kIn,   ///< from it
};

/// What becomes of a block's bytes when it is issued again, to another owner.
enum class ReuseHygiene : std::uint8_t {
  /// They stay until they are written. Attention does not look at slots beyond
  /// a sequence's tokens, so nobody should see them.
  kLeave,
  /// They are zeroed: no tenant ever has a block with bytes of another.
  kZero,
  /// All bits are set, which is NaN in fp32, fp16, bf16, e4m3 and e5m2: whoever
  /// reads a slot that was not written sees it in the result.
  kPoison,
};

/// A block that was newly taken from the pool, to be cleaned before its owner
/// uses it, but after the first `after_copies` of the step's copies: those may
/// read what it held, or write to it for an owner who has left.
struct FreshBlock {
  BlockId block;
  std::int32_t after_copies = 0;
  friend bool operator==(const FreshBlock&, const FreshBlock&) = default;
};

/// What a step asks of the storage before its tokens are written: the lists of
/// the manager, or of the scheduler's plan.
struct StepMoves {
  std::span<const BlockSwap> swap_outs = {};
  /// By `after_copies` ascending, but for zeros, which may stand anywhere.
  std::span<const FreshBlock> fresh = {};
  std::span<const BlockSwap> swap_ins = {};
  std::span<const BlockCopy> copies = {};
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
/// move, also where the storage is resized, and may be read and written while
/// nobody copies or fills those blocks.
class BlockStorage {
 public:
  BlockStorage(const BlockStorage&) = delete;
  BlockStorage& operator=(const BlockStorage&) = delete;
  virtual ~BlockStorage() = default;

  [[nodiscard]] const BlockStorageLayout& layout() const { return layout_; }
  /// The most blocks that it can have.
  [[nodiscard]] BlockCount max_num_blocks() const {
    return MaxNumBlocks(layout_);
  }
  /// Whether the memory is the host's, so that a `BlockStorage` of any kind can
  /// swap to it.
  [[nodiscard]] virtual bool is_in_host_memory() const { return false; }
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
  /// Moves blocks to `swap_space`, in their order, each in all layers of its
  /// group. The swap space is another storage of the same groups, in host
  /// memory. Neighbours in the list whose blocks lie side by side on both sides
  /// are moved as one: take blocks of the swap space in order.
  absl::Status SwapOut(BlockStorage& swap_space,
                       std::span<const BlockSwap> swaps);
  /// The same from the swap space, which keeps what it has.
  absl::Status SwapIn(BlockStorage& swap_space,
                      std::span<const BlockSwap> swaps);

  /// What comes before the writes of a step: `swap_outs`; then `fresh` is
  /// cleaned, but for blocks that have to wait for copies; `swap_ins`; and
  /// `copies`, the rest of `fresh` being cleaned among them. One call each, in
  /// most steps. `swap_space` may be null where nothing is swapped. Errors are
  /// those of each; then some of it may have been done.
  absl::Status PrepareStep(const StepMoves& moves, ReuseHygiene hygiene,
                           BlockStorage* swap_space = nullptr);

  /// Gives the storage `num_blocks` blocks: from 1 to `max_num_blocks`. Those
  /// below both the old and the new number keep their bytes and addresses; what
  /// new ones hold is not said. The memory of those that go, which nobody may
  /// touch any more, goes back to the system, but for pages (of the backend's
  /// size) that blocks which stay have a part of. FailedPrecondition without
  /// `max_num_blocks`, InvalidArgument for another number, ResourceExhausted if
  /// the memory cannot be had: then nothing has changed.
  absl::Status Resize(BlockCount num_blocks);

 protected:
  /// The stride of each arena that `layout` asks for. InvalidArgument, naming
  /// the group and layer, if it is not a layout or its greatest size exceeds
  /// 2^62 bytes.
  static absl::StatusOr<std::vector<Bytes>> ArenaStrides(
      const BlockStorageLayout& layout);
  [[nodiscard]] static BlockCount MaxNumBlocks(
      const BlockStorageLayout& layout) {
    return layout.max_num_blocks == BlockCount(0) ? layout.num_blocks
                                                  : layout.max_num_blocks;
  }

  /// `arenas` have the strides of `layout`, each with addresses for
  /// `MaxNumBlocks`. The backend owns what they point to.
  BlockStorage(BlockStorageLayout layout, std::vector<BlockArena> arenas);

  [[nodiscard]] std::span<const BlockArena> arenas() const { return arenas_; }

 private:
  /// The same as the public ones, with arguments that were checked.
  virtual absl::Status DoCopyBlocks(std::span<const BlockCopy> copies) = 0;
  virtual absl::Status DoFillBlocks(std::span<const BlockId> blocks,
                                    std::byte value) = 0;
  // `swap_space` is another storage, of the same groups, in host memory.
  virtual absl::Status DoSwap(BlockStorage& swap_space,
                              std::span<const BlockSwap> swaps,
                              SwapDirection direction);
  // From layout().num_blocks, which is another number. That is set afterwards.
  virtual absl::Status DoResize(BlockCount num_blocks);

  absl::Status CheckGroup(const char* what, std::size_t index,
                          std::int32_t group, std::int32_t num_tokens) const;
  absl::Status Swap(BlockStorage& swap_space, std::span<const BlockSwap> swaps,
                    SwapDirection direction);

  BlockStorageLayout layout_;
  std::vector<BlockArena> arenas_;
  std::vector<BlockId> cleaned_;  // scratch: by the call under way
};

}  // namespace pagedkv

#endif  // PAGEDKV_BLOCK_STORAGE_H_
