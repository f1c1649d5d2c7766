// SPDX-License-Identifier: Apache-2.0
#include "allocator/kv_transfer_peers.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"

namespace pagedkv {
namespace {

constexpr std::int64_t kMaxBytes = std::int64_t{1} << 62;

absl::Status Prefixed(const std::string& where, const absl::Status& status) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: %s", where, std::string(status.message())));
}

std::string RankName(const char* side, std::size_t rank) {
  return absl::StrFormat("%s rank %d", side, rank);
}

// Names the model's layers where the client does not.
absl::StatusOr<std::vector<std::vector<std::int32_t>>> LayersOf(
    const KvTransferRank& rank, const std::vector<KvLayer>& model) {
  const std::size_t num_groups = rank.layout.num_groups();
  if (!rank.layers.empty()) {
    bool fits = rank.layers.size() == num_groups;
    for (std::size_t g = 0; fits && g < num_groups; ++g) {
      fits =
          rank.layers[g].size() == rank.layout.num_layers(static_cast<int>(g));
    }
    if (fits) return rank.layers;
    return absl::InvalidArgumentError(
        "`layers` has not the groups and numbers of layers of the layout");
  }
  std::vector<std::int32_t> stored;
  for (std::size_t i = 0; i < model.size(); ++i) {
    if (model[i].stores_kv()) stored.push_back(static_cast<std::int32_t>(i));
  }
  std::size_t num_layers = 0;
  for (std::size_t g = 0; g < num_groups; ++g) {
    num_layers += rank.layout.num_layers(static_cast<int>(g));
  }
  if (num_layers != stored.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the layout has %d layers, the model keeps keys and values in %d: name "
        "those of this rank in `layers`",
        num_layers, stored.size()));
  }
  std::vector<std::vector<std::int32_t>> layers;
  auto next = stored.begin();
  for (std::size_t g = 0; g < num_groups; ++g) {
    const auto end = next + static_cast<std::ptrdiff_t>(
                                rank.layout.num_layers(static_cast<int>(g)));
    layers.emplace_back(next, end);
    next = end;
  }
  return layers;
}

absl::StatusOr<std::vector<KvLayerPlace>> PlacesOf(
    const std::vector<std::vector<std::int32_t>>& layers,
    const std::vector<KvLayer>& model) {
  std::vector<KvLayerPlace> places(model.size());
  for (std::size_t g = 0; g < layers.size(); ++g) {
    for (std::size_t l = 0; l < layers[g].size(); ++l) {
      const std::int32_t id = layers[g][l];
      if (id < 0 || static_cast<std::size_t>(id) >= model.size()) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "layer %d is not one of the model's %d", id, model.size()));
      }
      KvLayerPlace& place = places[static_cast<std::size_t>(id)];
      if (!model[static_cast<std::size_t>(id)].stores_kv() || place.held()) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "layer %d %s", id,
            place.held() ? "is named twice in `layers`"
                         : "of the model stores no keys and values"));
      }
      place = {static_cast<std::int32_t>(g), static_cast<std::int32_t>(l)};
    }
  }
  return places;
}

// One for each arena: of `rank`, or those of a `BlockStorage`.
absl::StatusOr<std::vector<std::int64_t>> StridesOf(
    const KvTransferRank& rank) {
  const BlockStorageLayout& storage = rank.layout.storage_layout();
  if (storage.num_blocks < BlockCount(1)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the layout is for %d blocks; give as many as the pool has",
        storage.num_blocks.value()));
  }
  std::vector<std::int64_t> strides;
  for (const GroupLayout& group : storage.groups) {
    strides.resize(std::max(strides.size(), group.layers.size()));
    for (std::size_t k = 0; k < group.layers.size(); ++k) {
      strides[k] =
          std::max(strides[k], group.layers[k].bytes_per_block.value());
    }
  }
  if (!rank.block_strides.empty()) {
    if (rank.block_strides.size() != strides.size()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%d block strides for %d arenas; give one for each",
                          rank.block_strides.size(), strides.size()));
    }
    for (std::size_t k = 0; k < strides.size(); ++k) {
      const std::int64_t stride = rank.block_strides[k].value();
      if (stride < strides[k]) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "the block stride of arena %d is %d, a block has %d bytes", k,
            stride, strides[k]));
      }
      strides[k] = stride;
    }
  }
  for (std::size_t k = 0; k < strides.size(); ++k) {
    if (strides[k] > kMaxBytes / storage.num_blocks.value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("arena %d exceeds 2^62 bytes", k));
    }
  }
  return strides;
}

// Whether the layout of `rank` is that of its shard.
absl::Status CheckTensors(const KvResolvedRank& rank,
                          const std::vector<KvLayer>& model) {
  for (std::size_t i = 0; i < model.size(); ++i) {
    const KvLayerPlace& place = rank.places[i];
    if (!place.held()) continue;
    for (const KvRole role : kKvRoles) {
      const KvTensor& whole = TensorOf(model[i], role);
      const KvTensor part = rank.View(place, role).tensor;
      if (whole.heads == 0 && part.heads == 0) continue;
      const auto error = [&](const std::string& problem) {
        return absl::InvalidArgumentError(
            absl::StrFormat("layer %d, %s: %s", i, RoleName(role), problem));
      };
      if (whole.heads < 1) {
        return error(absl::StrFormat("%d heads, the model has %d", part.heads,
                                     whole.heads));
      }
      const std::int32_t heads = HeadsOf(rank.shard, whole.heads).count;
      if (heads == 0) {
        return error(
            absl::StrFormat("%d KV heads cannot be split over %d ranks: one "
                            "number must be a multiple of the other",
                            whole.heads, rank.shard.tensor_parallel));
      }
      if (part.heads != heads) {
        return error(absl::StrFormat(
            "%d heads, but %d over %d ranks are %d: create the layout from "
            "KvGeometry::Shard",
            part.heads, whole.heads, rank.shard.tensor_parallel, heads));
      }
      if (part.head_size != whole.head_size) {
        return error(absl::StrFormat("head size %d, the model has %d",
                                     part.head_size, whole.head_size));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<KvResolvedRank> Resolve(const KvTransferRank& rank,
                                       const std::vector<KvLayer>& model) {
  const KvShard& shard = rank.shard;
  if (shard.tensor_parallel < 1 || shard.rank < 0 ||
      shard.rank >= shard.tensor_parallel) {
    return absl::InvalidArgumentError(
        absl::StrFormat("there is no shard %d of %d: ranks count from 0",
                        shard.rank, shard.tensor_parallel));
  }
  KvResolvedRank resolved{.shard = shard, .layout = &rank.layout};
  absl::StatusOr<std::vector<std::vector<std::int32_t>>> layers =
      LayersOf(rank, model);
  if (!layers.ok()) return layers.status();
  resolved.layers = *std::move(layers);
  absl::StatusOr<std::vector<KvLayerPlace>> places =
      PlacesOf(resolved.layers, model);
  if (!places.ok()) return places.status();
  resolved.places = *std::move(places);
  absl::StatusOr<std::vector<std::int64_t>> strides = StridesOf(rank);
  if (!strides.ok()) return strides.status();
  resolved.block_strides = *std::move(strides);
  if (absl::Status status = CheckTensors(resolved, model); !status.ok()) {
    return status;
  }
  return resolved;
}

absl::StatusOr<std::vector<KvResolvedRank>> ResolveSide(
    const std::vector<KvTransferRank>& ranks, const std::vector<KvLayer>& model,
    const char* side) {
  if (ranks.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: no ranks; give at least one", side));
  }
  std::vector<KvResolvedRank> resolved;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    absl::StatusOr<KvResolvedRank> rank = Resolve(ranks[i], model);
    if (!rank.ok()) return Prefixed(RankName(side, i), rank.status());
    resolved.push_back(*std::move(rank));
  }
  return resolved;
}

absl::Status CheckTable(std::span<const BlockId> table, BlockSize block_size,
                        BlockCount num_blocks, TokenCount first,
                        TokenCount end) {
  const std::int64_t needed = block_size.CoveringBlocks(end).value();
  if (std::ssize(table) < needed) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the table has %d blocks, %d tokens in blocks of %d need %d",
        table.size(), end.value(), block_size.value(), needed));
  }
  for (std::int64_t i = block_size.FullBlocks(first).value(); i < needed; ++i) {
    const BlockId block = table[static_cast<std::size_t>(i)];
    if (block < kNullBlock || block.value() >= num_blocks.value()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("entry %d of the table is block %d, the pool has %d",
                          i, block.value(), num_blocks.value()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTables(std::span<const KvTables> tables,
                         std::span<const KvTableShape> shapes, TokenCount first,
                         TokenCount end, const char* side) {
  if (tables.size() != 1 && tables.size() != shapes.size()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: tables of %d ranks; give those of 1, for all, or of %d", side,
        tables.size(), shapes.size()));
  }
  for (std::size_t r = 0; r < shapes.size(); ++r) {
    const KvTables& groups = TablesOf(tables, r);
    const std::vector<BlockSize>& block_sizes = shapes[r].block_sizes;
    if (groups.size() != block_sizes.size()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: tables of %d groups, its layout has %d", RankName(side, r),
          groups.size(), block_sizes.size()));
    }
    for (std::size_t g = 0; g < groups.size(); ++g) {
      if (absl::Status status = CheckTable(groups[g], block_sizes[g],
                                           shapes[r].num_blocks, first, end);
          !status.ok()) {
        return Prefixed(absl::StrFormat("%s, group %d", RankName(side, r), g),
                        status);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

KvTensorView KvResolvedRank::View(const KvLayerPlace& place,
                                  KvRole role) const {
  KvTensorView view = layout->View(nullptr, place.group, place.layer, role);
  if (view.tensor.heads == 0) return view;  // has no arena
  view.block_stride =
      block_strides[static_cast<std::size_t>(ArenaOf(place, role))];
  return view;
}

std::vector<KvTableShape> ShapesOf(const std::vector<KvResolvedRank>& ranks) {
  std::vector<KvTableShape> shapes;
  for (const KvResolvedRank& rank : ranks) {
    const BlockStorageLayout& storage = rank.layout->storage_layout();
    KvTableShape shape{.num_blocks = storage.num_blocks};
    for (const GroupLayout& group : storage.groups) {
      shape.block_sizes.push_back(group.block_size);
    }
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

absl::StatusOr<KvResolvedPeers> ResolvePeers(const KvTransferPeers& peers) {
  KvResolvedPeers resolved;
  absl::StatusOr<std::vector<KvResolvedRank>> ranks =
      ResolveSide(peers.source, peers.model, "source");
  if (!ranks.ok()) return ranks.status();
  resolved.source = *std::move(ranks);
  ranks = ResolveSide(peers.destination, peers.model, "destination");
  if (!ranks.ok()) return ranks.status();
  resolved.destination = *std::move(ranks);
  return resolved;
}

KvHeadShare HeadsOf(const KvShard& shard, std::int32_t heads) {
  if (heads % shard.tensor_parallel == 0) {
    const std::int32_t count = heads / shard.tensor_parallel;
    return {.first = shard.rank * count, .count = count};
  }
  if (shard.tensor_parallel % heads != 0) return {};
  const std::int32_t replicas = shard.tensor_parallel / heads;
  return {.first = shard.rank / replicas,
          .count = 1,
          .replicas = replicas,
          .replica = shard.rank % replicas};
}

absl::Status CheckRange(const KvTransferRange& range,
                        std::span<const KvTableShape> source,
                        std::span<const KvTableShape> destination) {
  constexpr TokenCount kMaxTokens(std::int64_t{1} << 40);
  if (range.first < TokenCount(0) || range.num_tokens < TokenCount(0) ||
      range.first > kMaxTokens || range.num_tokens > kMaxTokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d tokens from token %d on are no range: give numbers from 0 to 2^40",
        range.num_tokens.value(), range.first.value()));
  }
  const TokenCount end = range.first + range.num_tokens;
  if (absl::Status status =
          CheckTables(range.source, source, range.first, end, "source");
      !status.ok()) {
    return status;
  }
  return CheckTables(range.destination, destination, range.first, end,
                     "destination");
}

}  // namespace pagedkv
