// SPDX-License-Identifier: Apache-2.0
#ifndef BLOCK_TABLE_PREFIX_INDEX_H_
#define BLOCK_TABLE_PREFIX_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"

#include "block_table/extra_key_table.h"
#include "block_table/run_arena.h"
#include "pagedkv/block_hash.h"
#include "pagedkv/types.h"

namespace pagedkv {

struct PrefixIndexOptions {
  BlockCount num_blocks{0};  ///< block ids are below this
  int num_groups = 1;
  BlockSize unit{16};  ///< tokens of one position
  /// Keys the table of edges, so that nobody outside can aim at collisions.
  std::uint64_t secret = 0;
  /// Bits of an edge's hash that count. For tests: 0 makes all collide.
  std::uint32_t edge_hash_mask = ~0u;
  /// Content hashes are kept for each position; none without.
  std::optional<BlockHasher> hasher;
};

/// The tokens of a sequence with their extra keys, as the index reads them.
struct PrefixContent {
  std::span<const TokenId> tokens;
  const SequenceExtras* extras = nullptr;  ///< null: none

  [[nodiscard]] ExtraId extra(std::int32_t unit) const {
    if (extras == nullptr) return kNoExtra;
    const auto index = static_cast<std::size_t>(unit);
    return index < extras->leading.size() ? extras->leading[index]
                                          : extras->rest;
  }
};

/// Which block holds which content, for all KV cache groups.
///
/// A radix tree over positions of `unit` tokens. A node is a run: the tokens of
/// consecutive positions side by side, and for each group the ids of the blocks
/// that end there. A position is reached by comparing all tokens and extra keys
/// before it, so a hit is verified by construction; the hash table of edges
/// (parent, extra keys, tokens of the first position) only proposes a child.
///
/// A position may hold, for each group, no block (a hole: evicted, or out of a
/// window, while a later one is still held), one, or several of equal content,
/// oldest first. Positions at the end of a leaf that hold nothing are cut off.
///
/// Depths count positions from the start of the sequence. A cursor is a depth
/// on a path of the tree; while it is pinned, its path stays.
///
/// Invariants, tested by `CheckInvariants`:
///   node.end - node.start >= 1, but for the root (0)
///   child.start == parent.end; children differ in extra keys or first tokens
///   block at (node, depth, group)  <=>  home(block) == (node, depth, group)
/// Costs are O(positions named), whatever is in the index: no list of siblings
/// is ever searched. Thread-compatible.
class PrefixIndex {
 public:
  using NodeId = std::int32_t;

  struct Cursor {
    NodeId node = 0;  // of a path through the position; perhaps below it
    std::int32_t depth = 0;
  };
  /// The positions [begin, end) of a node.
  struct Segment {
    NodeId node = 0;
    std::int32_t begin = 0;
    std::int32_t end = 0;
  };
  struct Place {
    NodeId node = kNoNode;
    std::int32_t depth = 0;  // the block ends before this depth, at depth - 1
    std::int32_t group = 0;
    friend bool operator==(const Place&, const Place&) = default;
  };
  /// A key that no longer names a block.
  struct Removed {
    BlockHash hash;  // empty without a hasher
    std::int32_t group = 0;
    BlockId block;
  };

  explicit PrefixIndex(PrefixIndexOptions options);

  [[nodiscard]] BlockSize unit() const { return options_.unit; }
  [[nodiscard]] ExtraKeyTable& extra_keys() { return extra_keys_; }
  [[nodiscard]] const ExtraKeyTable& extra_keys() const { return extra_keys_; }

  /// The longest path of `content`, of `max_units` positions at most: appends
  /// its segments, returns their end.
  std::int32_t Walk(const PrefixContent& content, std::int32_t max_units,
                    std::vector<Segment>& path) const;
  /// Goes on from `cursor` along `content` up to depth `to`, making what is
  /// missing; appends the segments. Returns the end, not pinned.
  Cursor Extend(Cursor cursor, const PrefixContent& content, std::int32_t to,
                std::vector<Segment>& path);
  void Pin(Cursor cursor) { ++node(cursor.node).pins; }
  void Unpin(Cursor cursor);

  /// Puts `block` at a position of `id`, after those of equal content. With
  /// `only_if_vacant`, and for a block that has a place already, only where
  /// nothing is; false otherwise. REQUIRES: id.start <= position < id.end.
  bool Insert(NodeId id, std::int32_t position, int group, BlockId block,
              bool only_if_vacant = false) {
    Node& node = this->node(id);
    BlockId& head = Lane(node, group)[position - node.start];
    if (only_if_vacant && head != kNullBlock) return false;
    if (head != kNullBlock || !HasNoPlace(block)) {
      return InsertSlow({id, position + 1, group}, block);
    }
    head = block;
    homes_[Index(block)] = Home{id, Pack(position + 1, group)};
    ++num_keys_;
    ++node.num_entries;
    return true;
  }
  /// The most frequent case of `Extend` and `Insert` in one: a sequence whose
  /// cursor, pinned, is at the end of a leaf fills one more block. False, and
  /// nothing is done, where it takes more than that. Of one group, without
  /// hashes.
  bool TryAppendBlock(Cursor& cursor, ExtraId extra, const TokenId* tokens,
                      BlockId block) {
    Node& node = this->node(cursor.node);
    const std::int32_t length = node.end - node.start;
    if (cursor.depth != node.end || node.first_child != kNoNode ||
        length == node.capacity || node.extra != extra || cursor.depth == 0 ||
        options_.num_groups != 1 || options_.hasher.has_value() ||
        !HasNoPlace(block)) {
      return false;
    }
    std::memcpy(
        TokensOf(node) + static_cast<std::size_t>(length) * UnitTokens(),
        tokens, tokens_bytes_);
    Lane(node, 0)[length] = block;
    ++node.end;
    ++node.num_entries;
    ++num_keys_;
    ++cursor.depth;
    homes_[Index(block)] = Home{cursor.node, Pack(cursor.depth, 0)};
    return true;
  }
  /// Puts `blocks`, one for each position of the segment, where they belong,
  /// but for null blocks and for those that have a place. Calls `note` for each
  /// that was put.
  template <typename Note>
  void InsertRun(const Segment& segment, int group,
                 std::span<const BlockId> blocks, Note note) {
    Node& node = this->node(segment.node);
    BlockId* const heads = Lane(node, group) + (segment.begin - node.start);
    std::int32_t depth = segment.begin;
    std::int32_t vacant = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const BlockId block = blocks[i];
      ++depth;
      if (block == kNullBlock || !HasNoPlace(block)) continue;
      if (heads[i] == kNullBlock) {
        heads[i] = block;
        homes_[Index(block)] = Home{segment.node, Pack(depth, group)};
        ++vacant;
      } else {
        InsertSlow({segment.node, depth, group}, block);
      }
      note(block);
    }
    num_keys_ += vacant;
    node.num_entries += vacant;
  }
  /// Takes `block` out of all its places, its first place first. Appends what
  /// was removed. Nothing happens to a block that is not in the index.
  void Remove(BlockId block, std::vector<Removed>* removed);
  /// The same for each of `blocks`; fastest where they come as sequences were
  /// released, the last first.
  void RemoveAll(std::span<const BlockId> blocks);
  /// Takes everything out; cursors stay pinned where they are.
  void Clear();

  [[nodiscard]] bool Contains(BlockId block) const {
    return !HasNoPlace(block);
  }
  /// The first place of a block. REQUIRES: Contains(block).
  [[nodiscard]] Place home(BlockId block) const {
    const Home& home = homes_[Index(block)];
    return {home.node, UnpackDepth(home.packed), UnpackGroup(home.packed)};
  }
  /// Ids of `group` at the positions of a segment; null blocks where it has
  /// none. Valid until the next change.
  [[nodiscard]] std::span<const BlockId> Blocks(const Segment& segment,
                                                int group) const {
    const Node& node = this->node(segment.node);
    return {Lane(node, group) + (segment.begin - node.start),
            static_cast<std::size_t>(segment.end - segment.begin)};
  }
  [[nodiscard]] BlockId BlockAt(NodeId id, std::int32_t position,
                                int group) const {
    const Node& node = this->node(id);
    return Lane(node, group)[position - node.start];
  }
  /// The tokens of a segment, `unit` for each position.
  [[nodiscard]] std::span<const TokenId> Tokens(const Segment& segment) const;
  [[nodiscard]] ExtraId extra(NodeId id) const { return node(id).extra; }
  /// REQUIRES: the index has no positions.
  void SetHasher(std::optional<BlockHasher> hasher) {
    options_.hasher = std::move(hasher);
  }
  [[nodiscard]] bool has_hashes() const { return options_.hasher.has_value(); }
  /// The content hash at `depth` (the root's for 0). REQUIRES: a hasher, and
  /// the cursor is on a path.
  [[nodiscard]] BlockHash HashAt(Cursor cursor) const;

  /// The position that ends at the cursor's depth. REQUIRES: depth >= 1.
  [[nodiscard]] Segment Before(Cursor cursor) const {
    Resolve(cursor);
    return {cursor.node, cursor.depth - 1, cursor.depth};
  }
  /// A position that follows (id, depth) in the tree: the next of the run, or
  /// the first of the child that was added last. Nullopt at the end of a leaf.
  [[nodiscard]] std::optional<Segment> After(Cursor cursor) const;
  /// A block that continues the content of `block`, in its group, and that no
  /// other continues; `block` itself if none does. O(positions below it).
  [[nodiscard]] BlockId DeepestFollower(BlockId block) const;

  /// Distinct (content, group) pairs that name a block.
  [[nodiscard]] std::int64_t num_keys() const { return num_keys_; }
  [[nodiscard]] std::int64_t num_nodes() const {
    return static_cast<std::int64_t>(nodes_.size() - free_nodes_.size());
  }
  /// All that the index holds, tokens included.
  [[nodiscard]] std::size_t bytes_held() const;

  /// Internal, naming node or block, if an invariant is broken. O(everything).
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  static constexpr NodeId kNoNode = -1;
  static constexpr NodeId kRoot = 0;
  static constexpr std::size_t kDigestBytes = 32;

  struct Node {
    // Tokens [capacity][unit], block ids [groups][capacity], and with a hasher
    // digests [capacity].
    std::byte* memory = nullptr;
    NodeId parent = kNoNode;
    std::int32_t start = 0;
    std::int32_t end = 0;
    std::int32_t capacity = 0;
    ExtraId extra = kNoExtra;  // of each position
    std::uint32_t edge_hash = 0;
    std::int32_t pins = 0;         // cursors whose node this is
    std::int32_t num_entries = 0;  // positions and groups that hold a block
    NodeId first_child = kNoNode;
    NodeId next_sibling = kNoNode;
    NodeId previous_sibling = kNoNode;
  };
  struct Home {
    NodeId node = kNoNode;
    std::uint32_t packed = 0;
  };
  // Neighbours in the ring of blocks of equal content.
  struct Duplicates {
    BlockId next;
    BlockId previous;
  };
  struct Edge {
    std::uint32_t hash = 0;
    NodeId child = kNoNode;
  };

  static constexpr int kGroupBits = 4;
  static std::uint32_t Pack(std::int32_t depth, int group) {
    return static_cast<std::uint32_t>(depth) << kGroupBits |
           static_cast<std::uint32_t>(group);
  }
  static std::int32_t UnpackDepth(std::uint32_t packed) {
    return static_cast<std::int32_t>(packed >> kGroupBits);
  }
  static std::int32_t UnpackGroup(std::uint32_t packed) {
    return static_cast<std::int32_t>(packed & ((1u << kGroupBits) - 1));
  }
  static std::size_t Index(BlockId block) {
    return static_cast<std::size_t>(block.value());
  }
  [[nodiscard]] bool HasNoPlace(BlockId block) const {
    return homes_[Index(block)].node == kNoNode;
  }

  Node& node(NodeId id) { return nodes_[static_cast<std::size_t>(id)]; }
  [[nodiscard]] const Node& node(NodeId id) const {
    return nodes_[static_cast<std::size_t>(id)];
  }
  [[nodiscard]] std::size_t UnitTokens() const {
    return static_cast<std::size_t>(options_.unit.value());
  }
  [[nodiscard]] TokenId* TokensOf(const Node& node) const {
    return reinterpret_cast<TokenId*>(node.memory);
  }
  [[nodiscard]] BlockId* Lane(const Node& node, int group) const {
    return LaneIn(node.memory, node.capacity, group);
  }
  [[nodiscard]] BlockId* LaneIn(std::byte* memory, std::int32_t capacity,
                                int group) const {
    const auto positions = static_cast<std::size_t>(capacity);
    return reinterpret_cast<BlockId*>(memory + positions * tokens_bytes_) +
           positions * static_cast<std::size_t>(group);
  }
  [[nodiscard]] std::byte* DigestsIn(std::byte* memory,
                                     std::int32_t capacity) const;
  [[nodiscard]] std::size_t RunBytes(std::int32_t capacity) const {
    return static_cast<std::size_t>(capacity) * bytes_per_position_;
  }

  [[nodiscard]] std::uint32_t EdgeHash(NodeId parent, ExtraId extra,
                                       const TokenId* tokens) const;
  [[nodiscard]] NodeId FindChild(NodeId parent, ExtraId extra,
                                 const TokenId* tokens,
                                 std::uint32_t hash) const;
  void AddEdge(NodeId child);
  void ReplaceEdge(NodeId child, NodeId replacement);
  void RemoveEdge(NodeId child);
  void GrowEdges();

  [[nodiscard]] std::int32_t MatchingUnits(const Node& node, std::int32_t depth,
                                           const PrefixContent& content,
                                           std::int32_t limit) const;
  void Resolve(Cursor& cursor) const;
  NodeId NewNode();
  NodeId NewChild(NodeId parent, ExtraId extra, std::int32_t capacity);
  void LinkChild(NodeId parent, NodeId child);
  void UnlinkChild(NodeId child);
  void CopyPositions(const Node& from, std::int32_t begin, std::int32_t end,
                     std::byte* memory, std::int32_t capacity,
                     std::int32_t at) const;
  [[nodiscard]] bool TryReserve(NodeId id, std::int32_t wanted);
  void AppendPositions(NodeId id, const PrefixContent& content,
                       std::int32_t count);
  NodeId Split(NodeId id, std::int32_t depth);
  std::int32_t MoveHomes(NodeId id, std::int32_t begin, std::int32_t end,
                         NodeId owner);
  void Trim(NodeId id);
  [[nodiscard]] bool IsHole(const Node& node, std::int32_t position) const {
    for (int group = 0; group < options_.num_groups; ++group) {
      if (Lane(node, group)[position - node.start] != kNullBlock) return false;
    }
    return true;
  }
  void DeleteNode(NodeId id);
  void TryMerge(NodeId id);
  bool InsertSlow(Place place, BlockId block);
  void Note(Place place, BlockId block, std::vector<Removed>* removed) const;
  void Vacate(Place place);
  bool LeaveRing(Place place, BlockId block);
  absl::Status CheckNode(NodeId id, std::int64_t& keys,
                         std::size_t& places) const;
  template <typename Visit>
  void VisitRing(BlockId head, const Place& place, Visit visit) const;

  PrefixIndexOptions options_;
  std::size_t tokens_bytes_;  // of one position
  std::size_t bytes_per_position_;
  std::int32_t max_run_;  // positions of a node
  ExtraKeyTable extra_keys_;
  RunArena arena_;
  std::vector<Node> nodes_;
  std::vector<NodeId> free_nodes_;
  std::vector<Edge> edges_;  // open addressing, linear probing
  std::size_t num_edges_ = 0;
  std::vector<Home> homes_;  // by block: its first place
  absl::flat_hash_map<BlockId, Duplicates> duplicates_;
  // Places after the first: only a partly filled block that was indexed as such
  // has one.
  absl::flat_hash_map<BlockId, std::vector<Place>> further_places_;
  bool has_equals_ = false;  // one of the two is not empty
  std::int64_t num_keys_ = 0;
};

}  // namespace pagedkv

#endif  // BLOCK_TABLE_PREFIX_INDEX_H_
