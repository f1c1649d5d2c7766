// SPDX-License-Identifier: Apache-2.0

// `CheckKvCopies`: what a plan promises, tested without the plan's arithmetic.
// Copies become segments of the destination's arenas. Then each vector and each
// row of scales that a destination rank has to hold is looked up there, and its
// address on the source, by the formulas of kv_tensor.h, held against where the
// segment comes from.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"

#include "allocator/kv_transfer_peers.h"
#include "pagedkv/kv_transfer_plan.h"

namespace pagedkv {
namespace {

struct Segment {
  std::int64_t begin = 0;
  std::int64_t bytes = 0;
  std::int64_t source_begin = 0;
  std::int32_t source_rank = 0;
  std::int32_t source_arena = 0;
  std::int64_t expected = 0;  // bytes of it that an element accounts for
};

// Bytes of one arena that belong together: a vector, or a row of scales.
struct Extent {
  std::int32_t arena = 0;
  std::int64_t begin = 0;
  std::int64_t bytes = 0;
};

// [rank][arena], each by `begin`.
using Segments = std::vector<std::vector<std::vector<Segment>>>;

absl::Status Fault(const std::string& what) {
  return absl::FailedPreconditionError(what);
}

bool IsIn(std::int32_t index, std::size_t size) {
  return index >= 0 && static_cast<std::size_t>(index) < size;
}

absl::StatusOr<Segments> SegmentsOf(const KvResolvedPeers& peers,
                                    std::span<const KvCopy> copies) {
  Segments segments(peers.destination.size());
  for (std::size_t r = 0; r < segments.size(); ++r) {
    segments[r].resize(peers.destination[r].block_strides.size());
  }
  for (std::size_t i = 0; i < copies.size(); ++i) {
    const KvCopy& copy = copies[i];
    if (copy.bytes < 1 || copy.count < 1 ||
        !IsIn(copy.source_rank, peers.source.size()) ||
        !IsIn(copy.destination_rank, segments.size())) {
      return Fault(absl::StrFormat("copy %d names no bytes or no rank", i));
    }
    auto& arenas = segments[static_cast<std::size_t>(copy.destination_rank)];
    if (!IsIn(copy.destination_arena, arenas.size())) {
      return Fault(absl::StrFormat("copy %d names no arena", i));
    }
    for (std::int64_t run = 0; run < copy.count; ++run) {
      arenas[static_cast<std::size_t>(copy.destination_arena)].push_back(
          {.begin = copy.destination_offset + run * copy.destination_stride,
           .bytes = copy.bytes,
           .source_begin = copy.source_offset + run * copy.source_stride,
           .source_rank = copy.source_rank,
           .source_arena = copy.source_arena});
    }
  }
  for (std::size_t r = 0; r < segments.size(); ++r) {
    for (std::size_t k = 0; k < segments[r].size(); ++k) {
      std::vector<Segment>& arena = segments[r][k];
      std::sort(
          arena.begin(), arena.end(),
          [](const Segment& a, const Segment& b) { return a.begin < b.begin; });
      for (std::size_t i = 1; i < arena.size(); ++i) {
        if (arena[i].begin < arena[i - 1].begin + arena[i - 1].bytes) {
          return Fault(absl::StrFormat(
              "destination rank %d, arena %d: byte %d is written twice", r, k,
              arena[i].begin));
        }
      }
    }
  }
  return segments;
}

// The elements of a rank's tensor, and of its heads in the model.
struct RankTensor {
  KvTensorView view;
  std::int32_t arena = 0;
  std::int32_t first_head = 0;  // of the model
  KvLayerPlace place{};

  [[nodiscard]] bool HasHead(std::int32_t head) const {
    return head >= first_head && head < first_head + view.tensor.heads;
  }
};

RankTensor TensorOn(const KvResolvedRank& rank, std::size_t layer, KvRole role,
                    std::int32_t model_heads) {
  RankTensor tensor;
  tensor.place = rank.places[layer];
  if (!tensor.place.held()) return tensor;
  tensor.view = rank.View(tensor.place, role);
  if (tensor.view.tensor.heads == 0) return tensor;
  tensor.arena = rank.ArenaOf(tensor.place, role);
  // KvShard: with as many heads as it has from rank to rank, or one that it
  // shares with the ranks around it.
  tensor.first_head = static_cast<std::int32_t>(
      std::int64_t{rank.shard.rank} * model_heads / rank.shard.tensor_parallel);
  return tensor;
}

// What a token of a sequence is on one rank; `heads` count those of the rank.
class Locator {
 public:
  Locator(const RankTensor& tensor, std::span<const BlockId> table)
      : view_(tensor.view), arena_(tensor.arena), table_(table) {}

  [[nodiscard]] BlockId BlockOf(std::int64_t token) const {
    return table_[static_cast<std::size_t>(token / view_.block_size)];
  }
  [[nodiscard]] Extent Vector(std::int64_t token, std::int64_t head) const {
    const std::int64_t in_block = token % view_.block_size;
    const std::int64_t bits = std::int64_t{view_.tensor.head_size} *
                              KvDtypeBits(view_.tensor.format.dtype);
    return {
        arena_,
        Block(token) + in_block * view_.token_stride + head * view_.head_stride,
        bits / 8};
  }
  // The scales that belong to the token; no bytes if none do.
  [[nodiscard]] Extent Scales(std::int64_t token, std::int64_t head) const {
    std::int64_t row = token % view_.block_size;
    std::int64_t entries = 0;
    const KvTensor& tensor = view_.tensor;
    switch (tensor.format.scheme) {
      case ScaleScheme::kTensor:
        return {};
      case ScaleScheme::kToken:
        entries = 1;
        break;
      case ScaleScheme::kGroup:
        for (std::int32_t i = 0; i < tensor.head_size;
             i += tensor.format.group) {
          ++entries;
        }
        break;
      case ScaleScheme::kChannel:
        row /= view_.channel_run;
        entries = tensor.head_size;
        break;
    }
    return {arena_,
            Block(token) + view_.scale_offset + row * view_.scale_token_stride +
                head * view_.scale_head_stride,
            entries * view_.scale_bytes()};
  }

 private:
  [[nodiscard]] std::int64_t Block(std::int64_t token) const {
    return reinterpret_cast<std::intptr_t>(view_.base) +
           BlockOf(token).value() * view_.block_stride;
  }

  const KvTensorView& view_;
  std::int32_t arena_;
  std::span<const BlockId> table_;
};

// Checks what one rank of the destination receives.
class RankChecker {
 public:
  RankChecker(const KvTransferPeers& peers, const KvResolvedPeers& resolved,
              const KvTransferRange& range, std::size_t rank,
              std::vector<std::vector<Segment>>& segments)
      : peers_(peers),
        resolved_(resolved),
        range_(range),
        rank_(rank),
        segments_(segments) {}

  absl::Status Check() {
    const KvResolvedRank& rank = resolved_.destination[rank_];
    for (std::size_t layer = 0; layer < peers_.model.size(); ++layer) {
      if (!rank.places[layer].held()) continue;
      for (const KvRole role : kKvRoles) {
        if (absl::Status status = CheckTensor(layer, role); !status.ok()) {
          return status;
        }
      }
    }
    for (std::size_t k = 0; k < segments_.size(); ++k) {
      for (const Segment& segment : segments_[k]) {
        if (segment.expected == segment.bytes) continue;
        return Fault(absl::StrFormat(
            "destination rank %d, arena %d: of the bytes %d to %d, which are "
            "written, only %d belong to elements of the range",
            rank_, k, segment.begin, segment.begin + segment.bytes,
            segment.expected));
      }
    }
    return absl::OkStatus();
  }

 private:
  // An element, for messages.
  struct Name {
    std::size_t layer = 0;
    KvRole role{};
    std::int64_t token = 0;
    std::int32_t head = 0;  // of the model
    bool is_scales = false;
  };

  absl::Status ElementFault(const Name& name, const char* problem) const {
    return Fault(absl::StrFormat(
        "destination rank %d, layer %d, %s, token %d, head %d: %s %s", rank_,
        name.layer, RoleName(name.role), name.token, name.head,
        name.is_scales ? "scales" : "vector", problem));
  }

  absl::Status CheckTensor(std::size_t layer, KvRole role) {
    const std::int32_t heads = TensorOf(peers_.model[layer], role).heads;
    const RankTensor here =
        TensorOn(resolved_.destination[rank_], layer, role, heads);
    if (here.view.tensor.heads == 0) return absl::OkStatus();
    sources_.clear();
    for (const KvResolvedRank& rank : resolved_.source) {
      sources_.push_back(TensorOn(rank, layer, role, heads));
    }
    const Locator to(
        here, TablesOf(range_.destination,
                       rank_)[static_cast<std::size_t>(here.place.group)]);
    const std::int64_t end = range_.first.value() + range_.num_tokens.value();
    const std::int32_t run = std::max(here.view.channel_run, 1);
    if (range_.first.value() % run != 0 || end % run != 0) {
      return Fault(absl::StrFormat(
          "destination rank %d, layer %d: the range cuts %d tokens that share "
          "their scales",
          rank_, layer, run));
    }
    for (std::int64_t token = range_.first.value(); token < end; ++token) {
      if (to.BlockOf(token) == kNullBlock) continue;
      for (std::int32_t h = 0; h < here.view.tensor.heads; ++h) {
        Name name{layer, role, token, here.first_head + h};
        if (absl::Status status = CheckExtent(name, to.Vector(token, h));
            !status.ok()) {
          return status;
        }
        // One row of scales for several tokens is looked at once: at the first.
        const Extent scales = to.Scales(token, h);
        if (token % run != 0 || scales.bytes == 0) continue;
        name.is_scales = true;
        if (absl::Status status = CheckExtent(name, scales); !status.ok()) {
          return status;
        }
      }
    }
    return absl::OkStatus();
  }

  // Follows `wanted` through the segments that write it.
  absl::Status CheckExtent(const Name& name, const Extent& wanted) {
    std::vector<Segment>& arena =
        segments_[static_cast<std::size_t>(wanted.arena)];
    auto segment = std::upper_bound(
        arena.begin(), arena.end(), wanted.begin,
        [](std::int64_t begin, const Segment& s) { return begin < s.begin; });
    if (segment != arena.begin()) --segment;
    std::int64_t done = 0;
    while (done < wanted.bytes) {
      const std::int64_t at = wanted.begin + done;
      if (segment == arena.end() || segment->begin > at ||
          segment->begin + segment->bytes <= at) {
        if (done == 0 && IsGivenUp(name)) return absl::OkStatus();
        return ElementFault(name, "is not written, or not all of it");
      }
      const Extent from = SourceExtent(name, *segment);
      if (from.bytes != wanted.bytes) {
        return ElementFault(name, "comes from a rank that has none");
      }
      if (from.arena != segment->source_arena ||
          from.begin + done != segment->source_begin + (at - segment->begin)) {
        return ElementFault(name, "comes from another place than its own");
      }
      const std::int64_t bytes =
          std::min(wanted.bytes - done, segment->begin + segment->bytes - at);
      segment->expected += bytes;
      done += bytes;
      ++segment;
    }
    return absl::OkStatus();
  }

  // The element on the rank that `segment` comes from; no bytes if it is not
  // there.
  [[nodiscard]] Extent SourceExtent(const Name& name,
                                    const Segment& segment) const {
    const auto rank = static_cast<std::size_t>(segment.source_rank);
    const RankTensor& source = sources_[rank];
    if (!source.place.held() || !source.HasHead(name.head)) return {};
    const Locator from = At(rank);
    if (from.BlockOf(name.token) == kNullBlock) return {};
    const std::int32_t head = name.head - source.first_head;
    return name.is_scales ? from.Scales(name.token, head)
                          : from.Vector(name.token, head);
  }

  // Whether a rank with the element has given it back, as windows allow.
  [[nodiscard]] bool IsGivenUp(const Name& name) const {
    if (!peers_.model[name.layer].has_window()) return false;
    for (std::size_t rank = 0; rank < sources_.size(); ++rank) {
      const RankTensor& source = sources_[rank];
      if (source.place.held() && source.HasHead(name.head) &&
          At(rank).BlockOf(name.token) == kNullBlock) {
        return true;
      }
    }
    return false;
  }

  [[nodiscard]] Locator At(std::size_t source_rank) const {
    const RankTensor& source = sources_[source_rank];
    return {
        source,
        TablesOf(range_.source,
                 source_rank)[static_cast<std::size_t>(source.place.group)]};
  }

  const KvTransferPeers& peers_;
  const KvResolvedPeers& resolved_;
  const KvTransferRange& range_;
  std::size_t rank_;
  std::vector<std::vector<Segment>>& segments_;  // [arena] of the rank
  std::vector<RankTensor> sources_;  // [rank], of the tensor under way
};

}  // namespace

absl::Status CheckKvCopies(const KvTransferPeers& peers,
                           const KvTransferRange& range,
                           std::span<const KvCopy> copies) {
  const absl::StatusOr<KvResolvedPeers> resolved = ResolvePeers(peers);
  if (!resolved.ok()) return resolved.status();
  if (absl::Status status = CheckRange(range, ShapesOf(resolved->source),
                                       ShapesOf(resolved->destination));
      !status.ok()) {
    return status;
  }
  absl::StatusOr<Segments> segments = SegmentsOf(*resolved, copies);
  if (!segments.ok()) return segments.status();
  for (std::size_t rank = 0; rank < resolved->destination.size(); ++rank) {
    RankChecker checker(peers, *resolved, range, rank, (*segments)[rank]);
    if (absl::Status status = checker.Check(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace pagedkv
