// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_transfer_plan.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

#include "allocator/kv_tensor_bytes.h"
#include "allocator/kv_transfer_peers.h"
#include "allocator/kv_transfer_route.h"

namespace pagedkv {
namespace {

// Places in the list of source ranks.
using Ranks = std::vector<std::int32_t>;

// Why the bytes of `source` are not those of `destination`, and what to do
// about it; nothing if they are.
std::optional<std::string> Difference(const KvTensorView& source,
                                      const KvTensorView& destination) {
  constexpr char kMend[] = "convert with GatherKv and ScatterKv";
  const KvFormat& a = source.tensor.format;
  const KvFormat& b = destination.tensor.format;
  if (a.dtype != b.dtype) {
    return absl::StrFormat("%s, the source has %s: %s", KvDtypeName(b.dtype),
                           KvDtypeName(a.dtype), kMend);
  }
  if (a.scheme != b.scheme || a.scale_bits != b.scale_bits ||
      a.zero_point_bits != b.zero_point_bits ||
      (a.scheme == ScaleScheme::kGroup && a.group != b.group)) {
    return absl::StrFormat("its scales are not those of the source: %s", kMend);
  }
  if (source.channel_run != destination.channel_run) {
    return absl::StrFormat(
        "%d tokens share the scale of a channel, at the source %d: %s",
        destination.channel_run, source.channel_run, kMend);
  }
  return std::nullopt;
}

// Makes the routes to one rank of the destination.
class RouteBuilder {
 public:
  RouteBuilder(const std::vector<KvLayer>& model, const KvResolvedPeers& peers,
               std::int32_t destination_rank, std::vector<KvRoute>& routes)
      : model_(model),
        peers_(peers),
        destination_rank_(destination_rank),
        destination_(
            peers.destination[static_cast<std::size_t>(destination_rank)]),
        routes_(routes),
        first_route_(routes.size()) {}

  absl::Status Build() {
    for (const std::vector<std::int32_t>& layers : destination_.layers) {
      if (absl::Status status = DealLayers(layers); !status.ok()) return status;
      for (const std::int32_t layer : layers) {
        for (const KvRole role : kKvRoles) {
          if (absl::Status status = AddTensor(layer, role); !status.ok()) {
            return status;
          }
        }
      }
    }
    for (std::size_t i = first_route_; i < routes_.size(); ++i) {
      FinishRoute(routes_[i]);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Error(std::int32_t layer, KvRole role,
                     const std::string& problem) const {
    return absl::InvalidArgumentError(
        absl::StrFormat("destination rank %d, layer %d, %s: %s",
                        destination_rank_, layer, RoleName(role), problem));
  }

  [[nodiscard]] const KvTensor& Tensor(std::int32_t layer, KvRole role) const {
    return TensorOf(model_[static_cast<std::size_t>(layer)], role);
  }
  static const KvLayerPlace& PlaceOf(const KvResolvedRank& rank,
                                     std::int32_t layer) {
    return rank.places[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] const KvResolvedRank& Source(std::int32_t rank) const {
    return peers_.source[static_cast<std::size_t>(rank)];
  }

  // The source ranks that have a head of a layer.
  [[nodiscard]] Ranks Holders(std::int32_t layer, KvRole role,
                              std::int32_t head) const {
    Ranks holders;
    const std::int32_t heads = Tensor(layer, role).heads;
    for (std::size_t i = 0; i < peers_.source.size(); ++i) {
      const KvResolvedRank& rank = peers_.source[i];
      if (!PlaceOf(rank, layer).held()) continue;
      const KvHeadShare share = HeadsOf(rank.shard, heads);
      if (head >= share.first && head < share.first + share.count) {
        holders.push_back(static_cast<std::int32_t>(i));
      }
    }
    return holders;
  }

  // Notes, for the layers of a group, which have heads at the same ranks.
  absl::Status DealLayers(const std::vector<std::int32_t>& layers) {
    layers_of_.clear();
    for (const std::int32_t layer : layers) {
      for (const KvRole role : kKvRoles) {
        const std::int32_t heads = Tensor(layer, role).heads;
        if (heads == 0) continue;
        const KvHeadShare share = HeadsOf(destination_.shard, heads);
        for (std::int32_t h = share.first; h < share.first + share.count; ++h) {
          const Ranks holders = Holders(layer, role, h);
          if (holders.empty()) {
            return Error(layer, role,
                         absl::StrFormat("no source rank has head %d", h));
          }
          std::vector<std::int32_t>& dealt = layers_of_[holders];
          if (dealt.empty() || dealt.back() != layer) dealt.push_back(layer);
        }
      }
    }
    return absl::OkStatus();
  }

  // One of `holders`. The (replica, layer) pairs of the destination, in order,
  // are cut into as many parts as there are holders.
  [[nodiscard]] std::int32_t Choose(const Ranks& holders, std::int32_t layer,
                                    const KvHeadShare& share) const {
    const std::vector<std::int32_t>& layers = layers_of_.at(holders);
    const auto position = static_cast<std::size_t>(
        std::find(layers.begin(), layers.end(), layer) - layers.begin());
    const std::size_t item =
        static_cast<std::size_t>(share.replica) * layers.size() + position;
    const std::size_t items =
        static_cast<std::size_t>(share.replicas) * layers.size();
    return holders[item * holders.size() / items];
  }

  absl::Status AddTensor(std::int32_t layer, KvRole role) {
    const std::int32_t heads = Tensor(layer, role).heads;
    if (heads == 0) return absl::OkStatus();
    const KvHeadShare share = HeadsOf(destination_.shard, heads);
    // Heads are taken together as long as they come from one rank, where they
    // are neighbours as well.
    std::int32_t begin = 0;
    std::int32_t rank = -1;
    for (std::int32_t i = 0; i <= share.count; ++i) {
      std::int32_t next = -1;
      if (i < share.count) {
        next = Choose(Holders(layer, role, share.first + i), layer, share);
      }
      if (i > 0 && next != rank) {
        if (absl::Status status = AddHeads(
                layer, role, rank, share.first + begin, begin, i - begin);
            !status.ok()) {
          return status;
        }
        begin = i;
      }
      rank = next;
    }
    return absl::OkStatus();
  }

  // `num_heads` heads, from `head` of the model on, which is `own_head` here.
  absl::Status AddHeads(std::int32_t layer, KvRole role,
                        std::int32_t source_rank, std::int32_t head,
                        std::int32_t own_head, std::int32_t num_heads) {
    const KvResolvedRank& source = Source(source_rank);
    const KvLayerPlace& from = PlaceOf(source, layer);
    const KvLayerPlace& to = PlaceOf(destination_, layer);
    const KvTensorView a = source.View(from, role);
    const KvTensorView b = destination_.View(to, role);
    if (const std::optional<std::string> difference = Difference(a, b)) {
      return Error(layer, role, *difference);
    }
    KvRoute& route = RouteBetween(source_rank, from.group, to.group);
    route.windowed =
        route.windowed && model_[static_cast<std::size_t>(layer)].has_window();
    KvLane& lane = LaneOf(route, source.ArenaOf(from, role),
                          destination_.ArenaOf(to, role));
    lane.source_block_stride = a.block_stride;
    lane.destination_block_stride = b.block_stride;

    const std::int32_t source_head =
        head - HeadsOf(source.shard, Tensor(layer, role).heads).first;
    lane.pieces.push_back({.source = Vectors(a, source_head),
                           .destination = Vectors(b, own_head),
                           .bytes = VectorBytes(a.tensor),
                           .heads = num_heads});
    if (const std::int64_t scales = ScalesPerVector(a.tensor); scales > 0) {
      lane.pieces.push_back({.source = Scales(a, source_head),
                             .destination = Scales(b, own_head),
                             .bytes = scales * a.scale_bytes(),
                             .heads = num_heads,
                             .tokens_per_row = std::max(a.channel_run, 1)});
      route.granularity =
          std::lcm(route.granularity, std::max(a.channel_run, 1));
    }
    return absl::OkStatus();
  }

  static std::int64_t Base(const KvTensorView& view) {
    return reinterpret_cast<std::intptr_t>(view.base);
  }
  static KvPieceSide Vectors(const KvTensorView& view, std::int32_t head) {
    return {.offset = Base(view) + head * view.head_stride,
            .row_stride = view.token_stride,
            .head_stride = view.head_stride};
  }
  static KvPieceSide Scales(const KvTensorView& view, std::int32_t head) {
    return {.offset =
                Base(view) + view.scale_offset + head * view.scale_head_stride,
            .row_stride = view.scale_token_stride,
            .head_stride = view.scale_head_stride};
  }

  KvRoute& RouteBetween(std::int32_t source_rank, std::int32_t source_group,
                        std::int32_t group) {
    for (std::size_t i = first_route_; i < routes_.size(); ++i) {
      KvRoute& route = routes_[i];
      if (route.source_rank == source_rank &&
          route.source_group == source_group &&
          route.destination_group == group) {
        return route;
      }
    }
    const auto block_size = [](const KvResolvedRank& rank, std::int32_t g) {
      return rank.layout->storage_layout()
          .groups[static_cast<std::size_t>(g)]
          .block_size.value();
    };
    return routes_.emplace_back(KvRoute{
        .source_rank = source_rank,
        .source_group = source_group,
        .destination_rank = destination_rank_,
        .destination_group = group,
        .source_block_size = block_size(Source(source_rank), source_group),
        .destination_block_size = block_size(destination_, group)});
  }

  static KvLane& LaneOf(KvRoute& route, std::int32_t source_arena,
                        std::int32_t destination_arena) {
    for (KvLane& lane : route.lanes) {
      if (lane.source_arena == source_arena &&
          lane.destination_arena == destination_arena) {
        return lane;
      }
    }
    return route.lanes.emplace_back(KvLane{
        .source_arena = source_arena, .destination_arena = destination_arena});
  }

  const std::vector<KvLayer>& model_;
  const KvResolvedPeers& peers_;
  std::int32_t destination_rank_;
  const KvResolvedRank& destination_;
  std::vector<KvRoute>& routes_;
  std::size_t first_route_;
  // Of the group under way: the layers with heads at just these ranks.
  std::map<Ranks, std::vector<std::int32_t>> layers_of_;
};

}  // namespace

struct KvTransferPlan::Parts {
  std::vector<KvTableShape> source;       // [rank]
  std::vector<KvTableShape> destination;  // [rank]
  std::vector<KvRoute> routes;
};

absl::StatusOr<KvTransferPlan> KvTransferPlan::Create(
    const KvTransferPeers& peers) {
  const absl::StatusOr<KvResolvedPeers> resolved = ResolvePeers(peers);
  if (!resolved.ok()) return resolved.status();
  auto parts = std::make_shared<Parts>();
  parts->source = ShapesOf(resolved->source);
  parts->destination = ShapesOf(resolved->destination);
  for (std::size_t i = 0; i < resolved->destination.size(); ++i) {
    RouteBuilder builder(peers.model, *resolved, static_cast<std::int32_t>(i),
                         parts->routes);
    if (absl::Status status = builder.Build(); !status.ok()) return status;
  }
  return KvTransferPlan(std::move(parts));
}

absl::Status KvTransferPlan::Copies(const KvTransferRange& range,
                                    std::vector<KvCopy>& out) const {
  if (absl::Status status =
          CheckRange(range, parts_->source, parts_->destination);
      !status.ok()) {
    return status;
  }
  const std::int64_t first = range.first.value();
  const std::int64_t end = first + range.num_tokens.value();
  const auto source_table = [&](const KvRoute& route) {
    return TablesOf(
        range.source,
        static_cast<std::size_t>(
            route.source_rank))[static_cast<std::size_t>(route.source_group)];
  };
  const auto destination_table = [&](const KvRoute& route) {
    return TablesOf(range.destination,
                    static_cast<std::size_t>(route.destination_rank))
        [static_cast<std::size_t>(route.destination_group)];
  };
  for (const KvRoute& route : parts_->routes) {
    if (absl::Status status = CheckRoute(route, source_table(route),
                                         destination_table(route), first, end);
        !status.ok()) {
      return status;
    }
  }
  out.clear();
  for (const KvRoute& route : parts_->routes) {
    AppendCopies(route, source_table(route), destination_table(route), first,
                 end, out);
  }
  return absl::OkStatus();
}

Bytes TotalBytes(std::span<const KvCopy> copies) {
  Bytes total(0);
  for (const KvCopy& copy : copies) total += Bytes(copy.bytes * copy.count);
  return total;
}

std::vector<std::byte*> ArenasOf(const BlockStorage& storage) {
  std::vector<std::byte*> arenas;
  const std::vector<GroupLayout>& groups = storage.layout().groups;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    // Arena k is that of layer k in every group.
    for (std::size_t k = arenas.size(); k < groups[g].layers.size(); ++k) {
      arenas.push_back(
          storage.arena(static_cast<int>(g), static_cast<int>(k)).base);
    }
  }
  return arenas;
}

void ExecuteKvCopies(std::span<const KvCopy> copies,
                     std::span<const KvArenas> sources,
                     std::span<const KvArenas> destinations) {
  const auto arena = [](std::span<const KvArenas> ranks, std::int32_t rank,
                        std::int32_t index) {
    return ranks[static_cast<std::size_t>(rank)]
                [static_cast<std::size_t>(index)];
  };
  for (const KvCopy& copy : copies) {
    const std::byte* from =
        arena(sources, copy.source_rank, copy.source_arena) +
        copy.source_offset;
    std::byte* to =
        arena(destinations, copy.destination_rank, copy.destination_arena) +
        copy.destination_offset;
    const auto bytes = static_cast<std::size_t>(copy.bytes);
    for (std::int64_t i = 0; i < copy.count; ++i) {
      std::memcpy(to + i * copy.destination_stride,
                  from + i * copy.source_stride, bytes);
    }
  }
}

}  // namespace pagedkv
