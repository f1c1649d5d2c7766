// SPDX-License-Identifier: Apache-2.0
#include "allocator/kv_transfer_route.h"

#include <algorithm>

#include "absl/strings/str_format.h"

namespace pagedkv {
namespace {

// Tokens that lie in one block on either side.
struct TokenRun {
  BlockId source{};
  BlockId destination{};
  std::int32_t source_offset = 0;  // tokens, in the block
  std::int32_t destination_offset = 0;
  std::int32_t num_tokens = 0;
  std::int64_t token = 0;  // the first one's position in the sequence
};

// Walks one table block by block.
class TableWalk {
 public:
  TableWalk(std::span<const BlockId> table, std::int32_t block_size,
            std::int64_t first)
      : table_(table),
        block_size_(block_size),
        index_(static_cast<std::size_t>(first / block_size)),
        offset_(static_cast<std::int32_t>(first % block_size)) {}
  [[nodiscard]] BlockId block() const { return table_[index_]; }
  [[nodiscard]] std::int32_t offset() const { return offset_; }
  [[nodiscard]] std::int32_t left() const { return block_size_ - offset_; }
  void Advance(std::int32_t num_tokens) {
    offset_ += num_tokens;
    if (offset_ < block_size_) return;
    offset_ = 0;
    ++index_;
  }

 private:
  std::span<const BlockId> table_;
  std::int32_t block_size_;
  std::size_t index_;
  std::int32_t offset_;
};

// Calls `visit` with each run of [first, end) until it returns false.
template <typename Visit>
void ForEachRun(const KvRoute& route, std::span<const BlockId> source_table,
                std::span<const BlockId> destination_table, std::int64_t first,
                std::int64_t end, const Visit& visit) {
  TableWalk source(source_table, route.source_block_size, first);
  TableWalk destination(destination_table, route.destination_block_size, first);
  for (std::int64_t token = first; token < end;) {
    const auto num_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(
        {source.left(), destination.left(), end - token}));
    if (!visit(TokenRun{source.block(), destination.block(), source.offset(),
                        destination.offset(), num_tokens, token})) {
      return;
    }
    source.Advance(num_tokens);
    destination.Advance(num_tokens);
    token += num_tokens;
  }
}

// Appends the copies of one lane, joining each with the one before it where
// they lie side by side. Within a lane they come in the order of the
// destination's blocks and of the pieces in a block, and only neighbours in
// that order can lie side by side on both sides.
class LaneWriter {
 public:
  LaneWriter(const KvRoute& route, const KvLane& lane, std::vector<KvCopy>& out)
      : lane_(lane), out_(out), begin_(out.size()) {
    template_ = {.source_rank = route.source_rank,
                 .source_arena = lane.source_arena,
                 .destination_rank = route.destination_rank,
                 .destination_arena = lane.destination_arena};
  }

  void AddPieces(const TokenRun& run) {
    const std::int64_t source = SourceBlock(run);
    const std::int64_t destination = DestinationBlock(run);
    for (const KvPiece& piece : lane_.pieces) {
      AddPiece(piece, run, source, destination);
    }
  }

  void AddWholeBlock(const TokenRun& run) {
    const std::int64_t source = SourceBlock(run);
    const std::int64_t destination = DestinationBlock(run);
    for (KvCopy copy : lane_.whole_block) {
      copy.source_offset += source;
      copy.destination_offset += destination;
      Add(copy);
    }
  }

 private:
  // Repetitions at a distance; one that repeats nothing counts 1.
  struct Repeat {
    std::int64_t count = 1;
    std::int64_t source_stride = 0;
    std::int64_t destination_stride = 0;
  };

  [[nodiscard]] std::int64_t SourceBlock(const TokenRun& run) const {
    return run.source.value() * lane_.source_block_stride;
  }
  [[nodiscard]] std::int64_t DestinationBlock(const TokenRun& run) const {
    return run.destination.value() * lane_.destination_block_stride;
  }

  // Makes one longer run of what follows itself without a gap.
  static void Fold(Repeat& repeat, std::int64_t& bytes) {
    if (repeat.source_stride != bytes || repeat.destination_stride != bytes) {
      return;
    }
    bytes *= repeat.count;
    repeat = {};
  }

  void AddPiece(const KvPiece& piece, const TokenRun& run, std::int64_t source,
                std::int64_t destination) {
    const auto row = [&](std::int32_t tokens) {
      return piece.tokens_per_row == 1 ? tokens : tokens / piece.tokens_per_row;
    };
    KvCopy copy = template_;
    copy.source_offset = source + piece.source.offset +
                         row(run.source_offset) * piece.source.row_stride;
    copy.destination_offset =
        destination + piece.destination.offset +
        row(run.destination_offset) * piece.destination.row_stride;
    copy.bytes = piece.bytes;

    Repeat rows;
    if (row(run.num_tokens) > 1) {
      rows = {row(run.num_tokens), piece.source.row_stride,
              piece.destination.row_stride};
    }
    Repeat heads;
    if (piece.heads > 1) {
      heads = {piece.heads, piece.source.head_stride,
               piece.destination.head_stride};
    }
    Fold(heads, copy.bytes);
    Fold(rows, copy.bytes);
    Fold(heads, copy.bytes);
    const Repeat& inner = rows.count >= heads.count ? rows : heads;
    const Repeat& outer = rows.count >= heads.count ? heads : rows;
    copy.count = inner.count;
    copy.source_stride = inner.source_stride;
    copy.destination_stride = inner.destination_stride;
    for (std::int64_t i = 0; i < outer.count; ++i) {
      Add(copy);
      copy.source_offset += outer.source_stride;
      copy.destination_offset += outer.destination_stride;
    }
  }

  void Add(const KvCopy& copy) {
    if (out_.size() == begin_ || !Extend(out_.back(), copy)) {
      out_.push_back(copy);
    }
  }

  // Lengthens `last` by `next` if the two can be one.
  static bool Extend(KvCopy& last, const KvCopy& next) {
    const std::int64_t source = next.source_offset - last.source_offset;
    const std::int64_t destination =
        next.destination_offset - last.destination_offset;
    if (last.count == 1 && next.count == 1) {
      if (source != last.bytes || destination != last.bytes) return false;
      last.bytes += next.bytes;
      return true;
    }
    if (last.bytes != next.bytes) return false;
    const KvCopy& strided = last.count > 1 ? last : next;
    if (source != last.count * strided.source_stride ||
        destination != last.count * strided.destination_stride) {
      return false;
    }
    if (last.count > 1 && next.count > 1 &&
        (last.source_stride != next.source_stride ||
         last.destination_stride != next.destination_stride)) {
      return false;
    }
    last.source_stride = strided.source_stride;
    last.destination_stride = strided.destination_stride;
    last.count += next.count;
    return true;
  }

  const KvLane& lane_;
  std::vector<KvCopy>& out_;
  std::size_t begin_;  // of the lane, in out_
  KvCopy template_;
};

// Of so many single copies at equal distances, one that is strided: layers of a
// block of which each side has a different part.
constexpr std::size_t kWorthAStride = 4;

// The number of copies from `begin` on that can be one strided copy.
std::size_t EquallySpaced(const std::vector<KvCopy>& copies,
                          std::size_t begin) {
  const auto follows = [&](std::size_t i) {
    const KvCopy& a = copies[i - 1];
    const KvCopy& b = copies[i];
    return a.count == 1 && b.count == 1 && a.bytes == b.bytes &&
           b.source_offset > a.source_offset &&
           b.source_offset - a.source_offset ==
               copies[begin + 1].source_offset - copies[begin].source_offset &&
           b.destination_offset - a.destination_offset ==
               copies[begin + 1].destination_offset -
                   copies[begin].destination_offset;
  };
  std::size_t end = begin + 1;
  while (end < copies.size() && follows(end)) ++end;
  return end - begin;
}

std::vector<KvCopy> WithStrides(const std::vector<KvCopy>& copies) {
  std::vector<KvCopy> joined;
  for (std::size_t i = 0; i < copies.size();) {
    std::size_t count = EquallySpaced(copies, i);
    if (count < kWorthAStride) count = 1;
    joined.push_back(copies[i]);
    if (count > 1) {
      KvCopy& copy = joined.back();
      copy.count = static_cast<std::int64_t>(count);
      copy.source_stride = copies[i + 1].source_offset - copy.source_offset;
      copy.destination_stride =
          copies[i + 1].destination_offset - copy.destination_offset;
    }
    i += count;
  }
  return joined;
}

bool IsWholeBlock(const KvRoute& route, const TokenRun& run) {
  return route.source_block_size == route.destination_block_size &&
         run.num_tokens == route.source_block_size;
}

}  // namespace

void FinishRoute(KvRoute& route) {
  for (KvLane& lane : route.lanes) {
    std::sort(lane.pieces.begin(), lane.pieces.end(),
              [](const KvPiece& a, const KvPiece& b) {
                return a.destination.offset < b.destination.offset;
              });
    const TokenRun block{.num_tokens = route.source_block_size};
    if (!IsWholeBlock(route, block)) continue;
    std::vector<KvCopy> copies;
    LaneWriter(route, lane, copies).AddPieces(block);
    lane.whole_block = WithStrides(copies);
  }
}

absl::Status CheckRoute(const KvRoute& route,
                        std::span<const BlockId> source_table,
                        std::span<const BlockId> destination_table,
                        std::int64_t first, std::int64_t end) {
  if (first == end) return absl::OkStatus();
  if (first % route.granularity != 0 || end % route.granularity != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "destination rank %d, group %d: %d tokens share their scales, so that "
        "tokens %d to %d cannot be moved alone: begin and end at a multiple",
        route.destination_rank, route.destination_group, route.granularity,
        first, end));
  }
  if (route.windowed) return absl::OkStatus();
  std::int64_t missing = -1;
  ForEachRun(route, source_table, destination_table, first, end,
             [&](const TokenRun& run) {
               if (run.source == kNullBlock && run.destination != kNullBlock) {
                 missing = run.token;
               }
               return missing < 0;
             });
  if (missing < 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "source rank %d, group %d: token %d is in the null block, and destination"
      " rank %d wants it: give a range that the source holds",
      route.source_rank, route.source_group, missing, route.destination_rank));
}

void AppendCopies(const KvRoute& route, std::span<const BlockId> source_table,
                  std::span<const BlockId> destination_table,
                  std::int64_t first, std::int64_t end,
                  std::vector<KvCopy>& out) {
  for (const KvLane& lane : route.lanes) {
    LaneWriter writer(route, lane, out);
    ForEachRun(
        route, source_table, destination_table, first, end,
        [&](const TokenRun& run) {
          if (run.source == kNullBlock || run.destination == kNullBlock) {
            return true;
          }
          if (IsWholeBlock(route, run)) {
            writer.AddWholeBlock(run);
          } else {
            writer.AddPieces(run);
          }
          return true;
        });
  }
}

}  // namespace pagedkv
