// SPDX-License-Identifier: Apache-2.0
#include "block_table/prefix_index.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"

#define XXH_INLINE_ALL
#include "xxhash.h"

#include "base/check.h"

namespace pagedkv {
namespace {

// A node is at most this long, which bounds what a split moves.
constexpr std::size_t kMaxRunPositions = 256;
constexpr std::size_t kMaxRunBytes = std::size_t{64} << 10;
// Longer runs are not worth moving: to make room, or to join them.
constexpr std::int32_t kMaxMovedPositions = 32;
constexpr std::int32_t kMaxMergedPositions = 64;
constexpr std::int32_t kMinCapacity = 4;
constexpr std::size_t kMinSlabBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxSlabBytes = std::size_t{2} << 20;
constexpr std::size_t kMinEdges = 64;

std::size_t BytesPerPosition(const PrefixIndexOptions& options) {
  return static_cast<std::size_t>(options.unit.value()) * sizeof(TokenId) +
         static_cast<std::size_t>(options.num_groups) * sizeof(BlockId) +
         (options.hasher.has_value() ? 32 : 0);
}

std::int32_t MaxRun(std::size_t bytes_per_position) {
  return static_cast<std::int32_t>(std::clamp(
      kMaxRunBytes / bytes_per_position, std::size_t{1}, kMaxRunPositions));
}

}  // namespace

PrefixIndex::PrefixIndex(PrefixIndexOptions options)
    : options_(std::move(options)),
      tokens_bytes_(UnitTokens() * sizeof(TokenId)),
      bytes_per_position_(BytesPerPosition(options_)),
      max_run_(MaxRun(bytes_per_position_)),
      arena_(RunBytes(max_run_),
             std::clamp(std::bit_floor(RunBytes(static_cast<std::int32_t>(
                            options_.num_blocks.value() / 8))),
                        kMinSlabBytes, kMaxSlabBytes)),
      nodes_(1),
      edges_(kMinEdges),
      homes_(static_cast<std::size_t>(options_.num_blocks.value())) {}

std::byte* PrefixIndex::DigestsIn(std::byte* memory,
                                  std::int32_t capacity) const {
  return reinterpret_cast<std::byte*>(
      LaneIn(memory, capacity, options_.num_groups));
}

std::span<const TokenId> PrefixIndex::Tokens(const Segment& segment) const {
  const Node& node = this->node(segment.node);
  const auto begin = static_cast<std::size_t>(segment.begin - node.start);
  const auto count = static_cast<std::size_t>(segment.end - segment.begin);
  return {TokensOf(node) + begin * UnitTokens(), count * UnitTokens()};
}

BlockHash PrefixIndex::HashAt(Cursor cursor) const {
  Resolve(cursor);
  if (cursor.depth == 0) return options_.hasher->root();
  const Node& node = this->node(cursor.node);
  const std::byte* digest =
      DigestsIn(node.memory, node.capacity) +
      static_cast<std::size_t>(cursor.depth - 1 - node.start) * kDigestBytes;
  return BlockHash({reinterpret_cast<const std::uint8_t*>(digest),
                    options_.hasher->root().bytes().size()});
}

// Edges.

std::uint32_t PrefixIndex::EdgeHash(NodeId parent, ExtraId extra,
                                    const TokenId* tokens) const {
  const std::uint64_t seed =
      options_.secret ^
      (static_cast<std::uint64_t>(parent) * 0x9e3779b97f4a7c15u +
       static_cast<std::uint64_t>(extra) * 0xc2b2ae3d27d4eb4fu);
  return static_cast<std::uint32_t>(XXH3_64bits_withSeed(
             tokens, UnitTokens() * sizeof(TokenId), seed)) &
         options_.edge_hash_mask;
}

PrefixIndex::NodeId PrefixIndex::FindChild(NodeId parent, ExtraId extra,
                                           const TokenId* tokens,
                                           std::uint32_t hash) const {
  const std::size_t mask = edges_.size() - 1;
  for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
    const Edge& edge = edges_[i];
    if (edge.child == kNoNode) return kNoNode;
    if (edge.hash != hash) continue;
    const Node& child = node(edge.child);
    if (child.parent == parent && child.extra == extra &&
        std::memcmp(TokensOf(child), tokens, UnitTokens() * sizeof(TokenId)) ==
            0) {
      return edge.child;
    }
  }
}

void PrefixIndex::AddEdge(NodeId child) {
  if (8 * (num_edges_ + 1) > 5 * edges_.size()) GrowEdges();
  const std::size_t mask = edges_.size() - 1;
  std::size_t i = node(child).edge_hash & mask;
  while (edges_[i].child != kNoNode) i = (i + 1) & mask;
  edges_[i] = {node(child).edge_hash, child};
  ++num_edges_;
}

void PrefixIndex::ReplaceEdge(NodeId child, NodeId replacement) {
  const std::size_t mask = edges_.size() - 1;
  std::size_t i = node(child).edge_hash & mask;
  while (edges_[i].child != child) i = (i + 1) & mask;
  edges_[i].child = replacement;
}

void PrefixIndex::RemoveEdge(NodeId child) {
  const std::size_t mask = edges_.size() - 1;
  std::size_t hole = node(child).edge_hash & mask;
  while (edges_[hole].child != child) hole = (hole + 1) & mask;
  // Move back what would no longer be found behind the hole.
  for (std::size_t i = (hole + 1) & mask; edges_[i].child != kNoNode;
       i = (i + 1) & mask) {
    const std::size_t wanted = edges_[i].hash & mask;
    if (((i - wanted) & mask) >= ((i - hole) & mask)) {
      edges_[hole] = edges_[i];
      hole = i;
    }
  }
  edges_[hole] = {};
  --num_edges_;
}

void PrefixIndex::GrowEdges() {
  std::vector<Edge> old(2 * edges_.size());
  old.swap(edges_);
  const std::size_t mask = edges_.size() - 1;
  for (const Edge& edge : old) {
    if (edge.child == kNoNode) continue;
    std::size_t i = edge.hash & mask;
    while (edges_[i].child != kNoNode) i = (i + 1) & mask;
    edges_[i] = edge;
  }
}

// Walking.

// Positions from `depth` on that equal `content`, up to depth `limit`.
std::int32_t PrefixIndex::MatchingUnits(const Node& node, std::int32_t depth,
                                        const PrefixContent& content,
                                        std::int32_t limit) const {
  if (content.extras != nullptr || node.extra != kNoExtra) {
    std::int32_t agree = depth;
    while (agree < limit && content.extra(agree) == node.extra) ++agree;
    limit = agree;
  }
  const std::size_t unit = UnitTokens();
  const TokenId* const ours =
      TokensOf(node) + static_cast<std::size_t>(depth - node.start) * unit;
  const TokenId* const theirs =
      content.tokens.data() + static_cast<std::size_t>(depth) * unit;
  const auto count = static_cast<std::size_t>(limit - depth);
  constexpr std::size_t kStride = 16;
  std::size_t equal = 0;
  while (equal < count) {
    const std::size_t stride = std::min(kStride, count - equal);
    if (std::memcmp(ours + equal * unit, theirs + equal * unit,
                    stride * unit * sizeof(TokenId)) != 0) {
      break;
    }
    equal += stride;
  }
  while (equal < count &&
         std::memcmp(ours + equal * unit, theirs + equal * unit,
                     unit * sizeof(TokenId)) == 0) {
    ++equal;
  }
  return static_cast<std::int32_t>(equal);
}

std::int32_t PrefixIndex::Walk(const PrefixContent& content,
                               std::int32_t max_units,
                               std::vector<Segment>& path) const {
  NodeId id = kRoot;
  std::int32_t depth = 0;
  while (depth < max_units) {
    const TokenId* const tokens =
        content.tokens.data() + static_cast<std::size_t>(depth) * UnitTokens();
    const ExtraId extra = content.extra(depth);
    id = FindChild(id, extra, tokens, EdgeHash(id, extra, tokens));
    if (id == kNoNode) break;
    const Node& node = this->node(id);
    const std::int32_t limit = std::min(node.end, max_units);
    const std::int32_t count = MatchingUnits(node, depth, content, limit);
    path.push_back({id, depth, depth + count});
    depth += count;
    if (depth < node.end) break;
  }
  return depth;
}

// Moves a cursor from below its depth to the node that has it.
void PrefixIndex::Resolve(Cursor& cursor) const {
  while (cursor.node != kRoot && cursor.depth <= node(cursor.node).start) {
    cursor.node = node(cursor.node).parent;
  }
}

PrefixIndex::Cursor PrefixIndex::Extend(Cursor cursor,
                                        const PrefixContent& content,
                                        std::int32_t to,
                                        std::vector<Segment>& path) {
  Resolve(cursor);
  NodeId& id = cursor.node;
  std::int32_t& depth = cursor.depth;
  while (depth < to) {
    const Node& node = this->node(id);
    if (depth < node.end) {
      const std::int32_t limit = std::min(node.end, to);
      const std::int32_t count = MatchingUnits(node, depth, content, limit);
      if (count > 0) path.push_back({id, depth, depth + count});
      depth += count;
      if (depth < limit) {
        id = Split(id, depth);
        if (count > 0) path.back().node = id;
      }
      continue;
    }
    const TokenId* const tokens =
        content.tokens.data() + static_cast<std::size_t>(depth) * UnitTokens();
    const ExtraId extra = content.extra(depth);
    NodeId target = id;
    if (node.first_child != kNoNode || id == kRoot || node.extra != extra ||
        !TryReserve(id, to - depth)) {
      const std::uint32_t hash = EdgeHash(id, extra, tokens);
      target = FindChild(id, extra, tokens, hash);
      if (target != kNoNode) {
        id = target;
        continue;
      }
    }
    std::int32_t count = 1;
    const Node& parent = this->node(id);
    const std::int32_t room =
        target == kNoNode ? max_run_
                          : parent.capacity - (parent.end - parent.start);
    const std::int32_t most = std::min(to - depth, room);
    while (count < most && content.extra(depth + count) == extra) ++count;
    const bool is_new = target == kNoNode;
    if (is_new) {
      target = NewChild(id, extra,
                        std::min(std::max(count, kMinCapacity), max_run_));
    }
    AppendPositions(target, content, count);
    if (is_new) {
      this->node(target).edge_hash = EdgeHash(id, extra, tokens);
      AddEdge(target);
    }
    path.push_back({target, depth, depth + count});
    id = target;
    depth += count;
  }
  return cursor;
}

void PrefixIndex::Unpin(Cursor cursor) {
  Node& pinned = node(cursor.node);
  PAGEDKV_CHECK(pinned.pins > 0);
  if (--pinned.pins > 0) return;
  if (pinned.first_child == kNoNode) {
    Trim(cursor.node);
  } else {
    TryMerge(cursor.node);
  }
}

// Nodes.

PrefixIndex::NodeId PrefixIndex::NewNode() {
  if (free_nodes_.empty()) {
    free_nodes_.push_back(static_cast<NodeId>(nodes_.size()));
    nodes_.emplace_back();
  }
  const NodeId id = free_nodes_.back();
  free_nodes_.pop_back();
  return id;
}

// An empty node at the end of `parent`, not yet among the edges.
PrefixIndex::NodeId PrefixIndex::NewChild(NodeId parent, ExtraId extra,
                                          std::int32_t capacity) {
  const NodeId id = NewNode();
  const std::int32_t start = node(parent).end;
  node(id) = Node{.memory = arena_.Allocate(RunBytes(capacity)),
                  .start = start,
                  .end = start,
                  .capacity = capacity,
                  .extra = extra};
  extra_keys_.Acquire(extra);
  LinkChild(parent, id);
  return id;
}

void PrefixIndex::LinkChild(NodeId parent, NodeId child) {
  Node& node = this->node(child);
  node.parent = parent;
  node.previous_sibling = kNoNode;
  node.next_sibling = this->node(parent).first_child;
  if (node.next_sibling != kNoNode) {
    this->node(node.next_sibling).previous_sibling = child;
  }
  this->node(parent).first_child = child;
}

void PrefixIndex::UnlinkChild(NodeId child) {
  const Node& node = this->node(child);
  if (node.next_sibling != kNoNode) {
    this->node(node.next_sibling).previous_sibling = node.previous_sibling;
  }
  if (node.previous_sibling != kNoNode) {
    this->node(node.previous_sibling).next_sibling = node.next_sibling;
  } else {
    this->node(node.parent).first_child = node.next_sibling;
  }
}

// Copies positions [begin, end) of `from` to those from `at` on of `memory`, a
// run of `capacity`. The two may be the same memory where nothing but the
// capacity changes.
void PrefixIndex::CopyPositions(const Node& from, std::int32_t begin,
                                std::int32_t end, std::byte* memory,
                                std::int32_t capacity, std::int32_t at) const {
  const auto first = static_cast<std::size_t>(begin - from.start);
  const auto count = static_cast<std::size_t>(end - begin);
  const auto target = static_cast<std::size_t>(at);
  const std::size_t unit_bytes = UnitTokens() * sizeof(TokenId);
  const auto copy_lane = [&](int group) {
    std::memmove(LaneIn(memory, capacity, group) + target,
                 LaneIn(from.memory, from.capacity, group) + first,
                 count * sizeof(BlockId));
  };
  const auto copy_digests = [&] {
    if (!options_.hasher.has_value()) return;
    std::memmove(DigestsIn(memory, capacity) + target * kDigestBytes,
                 DigestsIn(from.memory, from.capacity) + first * kDigestBytes,
                 count * kDigestBytes);
  };
  if (capacity > from.capacity) {  // in one memory, all move back
    copy_digests();
    for (int group = options_.num_groups; group-- > 0;) copy_lane(group);
  } else {
    for (int group = 0; group < options_.num_groups; ++group) copy_lane(group);
    copy_digests();
  }
  if (memory != from.memory) {
    std::memcpy(memory + target * unit_bytes, from.memory + first * unit_bytes,
                count * unit_bytes);
  }
}

// Room for one position more, and for `wanted` if that is no dearer. A run that
// grows step by step gets a quarter more than it has. A long one that would
// have to move is not worth it: a child continues it. So is one at its limit.
bool PrefixIndex::TryReserve(NodeId id, std::int32_t wanted) {
  Node& node = this->node(id);
  const std::int32_t length = node.end - node.start;
  if (length < node.capacity) return true;
  if (length == max_run_) return false;
  const std::int32_t capacity =
      std::min(length + std::max(wanted, length / 4 + 1), max_run_);
  std::byte* memory = node.memory;
  const bool in_place = arena_.TryResize(memory, RunBytes(capacity));
  if (!in_place) {
    if (length > kMaxMovedPositions) return false;
    memory = arena_.Allocate(RunBytes(capacity));
  }
  CopyPositions(node, node.start, node.end, memory, capacity, 0);
  if (!in_place) arena_.Free(node.memory);
  node.memory = memory;
  node.capacity = capacity;
  return true;
}

// The next `count` positions of `content`, without blocks.
void PrefixIndex::AppendPositions(NodeId id, const PrefixContent& content,
                                  std::int32_t count) {
  Node& node = this->node(id);
  const std::int32_t length = node.end - node.start;
  PAGEDKV_DCHECK(length + count <= node.capacity);
  const std::size_t unit = UnitTokens();
  const auto at = static_cast<std::size_t>(length);
  const auto added = static_cast<std::size_t>(count);
  const TokenId* const tokens =
      content.tokens.data() + static_cast<std::size_t>(node.end) * unit;
  std::memcpy(TokensOf(node) + at * unit, tokens,
              added * unit * sizeof(TokenId));
  for (int group = 0; group < options_.num_groups; ++group) {
    std::fill_n(Lane(node, group) + at, added, kNullBlock);
  }
  if (options_.hasher.has_value()) {
    std::byte* const digests = DigestsIn(node.memory, node.capacity);
    BlockHash hash =
        length == 0 ? HashAt({node.parent, node.end}) : HashAt({id, node.end});
    for (std::size_t i = 0; i < added; ++i) {
      hash = options_.hasher->Hash(hash, {tokens + i * unit, unit},
                                   extra_keys_.keys(node.extra));
      std::memcpy(digests + (at + i) * kDigestBytes, hash.bytes().data(),
                  hash.bytes().size());
    }
  }
  node.end += count;
}

// Cuts a node in two at `depth`, inside it. What lies before becomes a node of
// its own, which is returned; what lies after keeps the id and so its cursors,
// which find the upper part through the parent.
PrefixIndex::NodeId PrefixIndex::Split(NodeId id, std::int32_t depth) {
  const NodeId upper_id = NewNode();
  Node& lower = node(id);
  Node& upper = node(upper_id);
  const std::int32_t upper_length = depth - lower.start;
  const std::int32_t lower_length = lower.end - depth;

  std::byte* const memory = arena_.Allocate(RunBytes(lower_length));
  CopyPositions(lower, depth, lower.end, memory, lower_length, 0);
  upper = Node{.memory = lower.memory,
               .start = lower.start,
               .end = depth,
               .capacity = lower.capacity,
               .extra = lower.extra,
               .edge_hash = lower.edge_hash};
  extra_keys_.Acquire(upper.extra);
  CopyPositions(upper, upper.start, upper.end, upper.memory, upper_length, 0);
  upper.capacity = upper_length;
  PAGEDKV_CHECK(arena_.TryResize(upper.memory, RunBytes(upper_length)));
  ReplaceEdge(id, upper_id);
  UnlinkChild(id);
  LinkChild(lower.parent, upper_id);
  lower.memory = memory;
  lower.capacity = lower_length;
  lower.start = depth;
  LinkChild(upper_id, id);
  lower.edge_hash = EdgeHash(upper_id, lower.extra, TokensOf(lower));
  AddEdge(id);
  upper.num_entries = MoveHomes(upper_id, upper.start, upper.end, id);
  lower.num_entries -= upper.num_entries;
  return upper_id;
}

// Blocks at positions [begin, end) of `id` that are noted as in `owner`: notes
// where they are. Returns their number, duplicates not counted.
std::int32_t PrefixIndex::MoveHomes(NodeId id, std::int32_t begin,
                                    std::int32_t end, NodeId owner) {
  const Node& node = this->node(id);
  std::int32_t moved = 0;
  for (int group = 0; group < options_.num_groups; ++group) {
    const BlockId* const lane = Lane(node, group);
    for (std::int32_t position = begin; position < end; ++position) {
      const BlockId head = lane[position - node.start];
      if (head == kNullBlock) continue;
      ++moved;
      const Place old{owner, position + 1, group};
      VisitRing(head, old, [&](BlockId block) {
        if (home(block) == old) {
          homes_[Index(block)].node = id;
          return;
        }
        std::vector<Place>& further = further_places_.find(block)->second;
        std::find(further.begin(), further.end(), old)->node = id;
      });
    }
  }
  return moved;
}

// Cuts off what holds nothing, from the end of a leaf upwards.
void PrefixIndex::Trim(NodeId id) {
  bool lost_child = false;
  while (id != kRoot) {
    Node& node = this->node(id);
    if (node.pins > 0 || node.first_child != kNoNode) break;
    if (node.num_entries > 0) {
      while (IsHole(node, node.end - 1)) --node.end;
      return;
    }
    const NodeId parent = node.parent;
    DeleteNode(id);
    id = parent;
    lost_child = true;
  }
  if (lost_child) TryMerge(id);
}

void PrefixIndex::DeleteNode(NodeId id) {
  Node& node = this->node(id);
  RemoveEdge(id);
  UnlinkChild(id);
  arena_.Free(node.memory);
  extra_keys_.Release(node.extra);
  node = Node{};
  free_nodes_.push_back(id);
}

// Joins a node with its only child, where nothing else keeps them apart. The
// child's id survives, for its cursors.
void PrefixIndex::TryMerge(NodeId id) {
  if (id == kRoot || node(id).pins > 0) return;
  const NodeId child_id = node(id).first_child;
  if (child_id == kNoNode || node(child_id).next_sibling != kNoNode) return;
  Node& upper = node(id);
  Node& lower = node(child_id);
  const std::int32_t length = lower.end - upper.start;
  if (upper.extra != lower.extra ||
      length > std::min(kMaxMergedPositions, max_run_)) {
    return;
  }

  std::byte* const memory = arena_.Allocate(RunBytes(length));
  CopyPositions(upper, upper.start, upper.end, memory, length, 0);
  CopyPositions(lower, lower.start, lower.end, memory, length,
                upper.end - upper.start);
  RemoveEdge(child_id);
  ReplaceEdge(id, child_id);
  UnlinkChild(child_id);
  UnlinkChild(id);
  arena_.Free(lower.memory);
  lower.memory = memory;
  lower.capacity = length;
  lower.start = upper.start;
  lower.edge_hash = upper.edge_hash;
  LinkChild(upper.parent, child_id);
  lower.num_entries +=
      MoveHomes(child_id, upper.start, upper.end, /*owner=*/id);
  arena_.Free(upper.memory);
  extra_keys_.Release(upper.extra);
  upper = Node{};
  free_nodes_.push_back(id);
}

std::optional<PrefixIndex::Segment> PrefixIndex::After(Cursor cursor) const {
  Resolve(cursor);
  const Node& node = this->node(cursor.node);
  if (cursor.depth < node.end) {
    return Segment{cursor.node, cursor.depth, cursor.depth + 1};
  }
  if (node.first_child == kNoNode) return std::nullopt;
  return Segment{node.first_child, cursor.depth, cursor.depth + 1};
}

BlockId PrefixIndex::DeepestFollower(BlockId block) const {
  const Place place = home(block);
  NodeId id = place.node;
  const auto descend = [&] {
    while (node(id).first_child != kNoNode) id = node(id).first_child;
  };
  // Children before their parents: the first that is found has no followers.
  for (descend();;) {
    const Node& node = this->node(id);
    const BlockId* const lane = Lane(node, place.group);
    for (std::int32_t i = node.end - 1; i >= std::max(node.start, place.depth);
         --i) {
      if (lane[i - node.start] != kNullBlock) return lane[i - node.start];
    }
    if (id == place.node) return block;
    if (node.next_sibling != kNoNode) {
      id = node.next_sibling;
      descend();
    } else {
      id = node.parent;
    }
  }
}

// Blocks.

// Visits what is at `place`, whose first block is `head`.
template <typename Visit>
void PrefixIndex::VisitRing(BlockId head, const Place& place,
                            Visit visit) const {
  // A block has equals at its home only; at a further place it is alone.
  const bool is_alone = duplicates_.empty() || home(head) != place;
  visit(head);
  if (is_alone) return;
  const auto first = duplicates_.find(head);
  if (first == duplicates_.end()) return;
  for (BlockId block = first->second.next; block != head;
       block = duplicates_.find(block)->second.next) {
    visit(block);
  }
}

bool PrefixIndex::InsertSlow(Place place, BlockId block) {
  Node& node = this->node(place.node);
  BlockId& head = Lane(node, place.group)[place.depth - 1 - node.start];
  if (Contains(block)) {
    // A further place, and only where nothing is: so a block is in one ring.
    if (head != kNullBlock) return false;
    further_places_[block].push_back(place);
    has_equals_ = true;
  } else {
    homes_[Index(block)] = Home{place.node, Pack(place.depth, place.group)};
  }
  if (head == kNullBlock) {
    head = block;
    ++num_keys_;
    ++node.num_entries;
    return true;
  }
  has_equals_ = true;
  const BlockId last = duplicates_.try_emplace(head, Duplicates{head, head})
                           .first->second.previous;
  duplicates_.try_emplace(block, Duplicates{.next = head, .previous = last});
  duplicates_.find(last)->second.next = block;
  duplicates_.find(head)->second.previous = block;
  return true;
}

void PrefixIndex::RemoveAll(std::span<const BlockId> blocks) {
  if (has_equals_) {
    for (BlockId block : blocks) Remove(block, nullptr);
    return;
  }
  for (std::size_t i = 0; i < blocks.size();) {
    const NodeId id = homes_[Index(blocks[i])].node;
    if (id == kNoNode) {
      ++i;
      continue;
    }
    Node& node = this->node(id);
    std::int32_t removed = 0;
    for (; i < blocks.size() && homes_[Index(blocks[i])].node == id; ++i) {
      Home& home = homes_[Index(blocks[i])];
      const std::int32_t position = UnpackDepth(home.packed) - 1;
      Lane(node, UnpackGroup(home.packed))[position - node.start] = kNullBlock;
      home.node = kNoNode;
      ++removed;
    }
    num_keys_ -= removed;
    node.num_entries -= removed;
    Trim(id);
  }
}

void PrefixIndex::Remove(BlockId block, std::vector<Removed>* removed) {
  if (!Contains(block)) return;
  const Place first = home(block);
  homes_[Index(block)] = {};
  Note(first, block, removed);
  if (!LeaveRing(first, block)) Vacate(first);
  if (!further_places_.empty()) {
    const auto found = further_places_.find(block);
    if (found != further_places_.end()) {
      const std::vector<Place> further = std::move(found->second);
      further_places_.erase(found);
      for (const Place& place : further) {
        Note(place, block, removed);
        Vacate(place);
      }
      // Only then: cutting off may join the nodes that the places name.
      for (const Place& place : further) {
        if (place.node != first.node) Trim(place.node);
      }
    }
  }
  Trim(first.node);
  has_equals_ = !duplicates_.empty() || !further_places_.empty();
}

void PrefixIndex::AppendKeys(BlockId block, std::vector<Removed>* keys) const {
  if (!Contains(block)) return;
  Note(home(block), block, keys);
  const auto found = further_places_.find(block);
  if (found == further_places_.end()) return;
  for (const Place& place : found->second) Note(place, block, keys);
}

void PrefixIndex::Note(Place place, BlockId block,
                       std::vector<Removed>* removed) const {
  if (removed == nullptr) return;
  removed->push_back({options_.hasher.has_value()
                          ? HashAt({place.node, place.depth})
                          : BlockHash(),
                      place.group, block});
}

// Nothing is at `place` any longer.
void PrefixIndex::Vacate(Place place) {
  Node& node = this->node(place.node);
  Lane(node, place.group)[place.depth - 1 - node.start] = kNullBlock;
  --num_keys_;
  --node.num_entries;
}

// Takes `block` from among those of equal content; false if it has no equal.
bool PrefixIndex::LeaveRing(Place place, BlockId block) {
  if (duplicates_.empty()) return false;
  const auto found = duplicates_.find(block);
  if (found == duplicates_.end()) return false;
  const auto [next, previous] = found->second;
  duplicates_.erase(found);
  if (next == previous) {
    duplicates_.erase(next);
  } else {
    duplicates_.find(next)->second.previous = previous;
    duplicates_.find(previous)->second.next = next;
  }
  Node& node = this->node(place.node);
  BlockId& head = Lane(node, place.group)[place.depth - 1 - node.start];
  if (head == block) head = next;
  return true;
}

void PrefixIndex::Clear() {
  for (std::size_t i = 1; i < homes_.size(); ++i) {
    Remove(BlockId(static_cast<std::int32_t>(i)), nullptr);
  }
}

std::size_t PrefixIndex::bytes_held() const {
  return arena_.bytes_held() + nodes_.capacity() * sizeof(Node) +
         free_nodes_.capacity() * sizeof(NodeId) +
         edges_.capacity() * sizeof(Edge) + homes_.capacity() * sizeof(Home) +
         duplicates_.capacity() * (sizeof(std::pair<BlockId, Duplicates>) + 1);
}

absl::Status PrefixIndex::CheckInvariants() const {
  if (absl::Status status = arena_.CheckInvariants(); !status.ok()) {
    return status;
  }
  if (absl::Status status = extra_keys_.CheckInvariants(); !status.ok()) {
    return status;
  }
  std::int64_t keys = 0;
  std::size_t places = 0;
  std::size_t reached = 0;
  std::vector<NodeId> pending = {kRoot};
  while (!pending.empty()) {
    const NodeId id = pending.back();
    pending.pop_back();
    ++reached;
    const Node& node = this->node(id);
    if (absl::Status status = CheckNode(id, keys, places); !status.ok()) {
      return status;
    }
    for (NodeId child = node.first_child; child != kNoNode;
         child = this->node(child).next_sibling) {
      pending.push_back(child);
    }
  }
  std::size_t homes = 0;
  for (const Home& home : homes_) homes += home.node != kNoNode ? 1 : 0;
  for (const auto& [block, further] : further_places_) homes += further.size();
  if (reached + free_nodes_.size() != nodes_.size() ||
      reached != num_edges_ + 1 || keys != num_keys_ || places != homes) {
    return absl::InternalError(absl::StrFormat(
        "index: %d nodes are reached of %d (%d free), %d edges; %d keys, "
        "counted %d; blocks name %d places, %d name them",
        reached, nodes_.size(), free_nodes_.size(), num_edges_, keys, num_keys_,
        homes, places));
  }
  return absl::OkStatus();
}

// One node, and the way to it. Adds its keys and the places of its blocks.
absl::Status PrefixIndex::CheckNode(NodeId id, std::int64_t& keys,
                                    std::size_t& places) const {
  const Node& node = this->node(id);
  const auto broken = [id](const char* what) {
    return absl::InternalError(absl::StrFormat("index node %d: %s", id, what));
  };
  if (id == kRoot) {
    return node.end == 0 ? absl::OkStatus() : broken("the root has positions");
  }
  if (node.end <= node.start || node.end - node.start > node.capacity ||
      node.capacity > max_run_) {
    return broken("it has no positions, or more than it has room for");
  }
  if (node.start != this->node(node.parent).end) {
    return broken("it does not begin where its parent ends");
  }
  if (FindChild(node.parent, node.extra, TokensOf(node), node.edge_hash) !=
          id ||
      EdgeHash(node.parent, node.extra, TokensOf(node)) != node.edge_hash) {
    return broken("its edge is missing, or another leads to the same content");
  }
  std::int32_t entries = 0;
  std::int32_t last_entry = node.start - 1;
  for (int group = 0; group < options_.num_groups; ++group) {
    for (std::int32_t i = node.start; i < node.end; ++i) {
      const BlockId head = Lane(node, group)[i - node.start];
      if (head == kNullBlock) continue;
      ++entries;
      last_entry = std::max(last_entry, i);
      const Place place{id, i + 1, group};
      absl::Status status = absl::OkStatus();
      VisitRing(head, place, [&](BlockId block) {
        ++places;
        const auto further = further_places_.find(block);
        if (home(block) == place ||
            (further != further_places_.end() &&
             std::find(further->second.begin(), further->second.end(), place) !=
                 further->second.end())) {
          return;
        }
        status = absl::InternalError(absl::StrFormat(
            "block %d is at depth %d of index node %d, and is noted at depth "
            "%d of node %d",
            block.value(), place.depth, id, home(block).depth,
            home(block).node));
      });
      if (!status.ok()) return status;
    }
  }
  if (entries != node.num_entries) return broken("its entries are miscounted");
  if (node.first_child == kNoNode && node.pins == 0 &&
      last_entry != node.end - 1) {
    return broken("it ends in positions that hold nothing");
  }
  keys += entries;
  return absl::OkStatus();
}

}  // namespace pagedkv
