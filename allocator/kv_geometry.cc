// SPDX-License-Identifier: Apache-2.0
#include "pagedkv/kv_geometry.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"

#include "allocator/checked.h"

namespace pagedkv {
namespace {

bool IsQuantized(KvDtype dtype) { return KvDtypeBits(dtype) <= 8; }

/// Bytes of `tokens` tokens of `tensor`: the formula of the class comment.
Checked TensorBytes(const KvTensor& tensor, std::int64_t tokens,
                    BlockSize block_size) {
  const KvFormat& format = tensor.format;
  const Checked vectors = Checked(tensor.heads) * tokens;
  Checked scales = 0;
  switch (format.scheme) {
    case ScaleScheme::kTensor:
      break;
    case ScaleScheme::kToken:
      scales = vectors;
      break;
    case ScaleScheme::kChannel: {
      const std::int32_t run =
          format.group > 0 ? format.group : block_size.value();
      scales =
          Checked(tensor.heads) * tensor.head_size * CeilDivide(tokens, run);
      break;
    }
    case ScaleScheme::kGroup:
      scales = vectors * CeilDivide(tensor.head_size, format.group);
      break;
  }
  const Checked bits =
      vectors * tensor.head_size * KvDtypeBits(format.dtype) +
      scales * (std::int64_t{format.scale_bits} + format.zero_point_bits);
  return bits.DividedUp(8);
}

Checked LayerBytes(const KvLayer& layer, std::int64_t tokens,
                   BlockSize block_size) {
  if (!layer.stores_kv()) return 0;
  return TensorBytes(layer.key, tokens, block_size) +
         TensorBytes(layer.value, tokens, block_size);
}

/// The most bytes that `layer` keeps, to the token, on the way to `length`.
Checked BytesKept(const KvLayer& layer, TokenCount length,
                  BlockSize block_size) {
  if (length == TokenCount(0)) return 0;
  TokenCount kept = length;
  switch (layer.kind) {
    case KvLayerKind::kStateSpace:
      return layer.state.value();
    case KvLayerKind::kCross:
      kept = layer.encoder_tokens;
      break;
    case KvLayerKind::kSlidingWindow:
    case KvLayerKind::kChunked:
      kept = std::min(length, layer.window);
      break;
    case KvLayerKind::kFull:
    case KvLayerKind::kShared:
    case KvLayerKind::kStateless:
      break;
  }
  return LayerBytes(layer, kept.value(), block_size);
}

absl::Status CheckTensor(const KvTensor& tensor, BlockSize block_size,
                         std::size_t layer, const char* name) {
  const auto error = [&](const char* problem) {
    return absl::InvalidArgumentError(
        absl::StrFormat("layer %d, %s: %s", layer, name, problem));
  };
  const KvFormat& format = tensor.format;
  if (tensor.heads < 1) return error("the number of heads must be positive");
  if (tensor.head_size < 1) return error("the head size must be positive");
  if (format.scale_bits < 0 || format.zero_point_bits < 0) {
    return error("bits of a scale or zero point must not be negative");
  }
  if (!IsQuantized(format.dtype) && format.scheme != ScaleScheme::kTensor) {
    return error("only fp8, int8, int4 and int2 have scales");
  }
  switch (format.scheme) {
    case ScaleScheme::kTensor:
    case ScaleScheme::kToken:
      if (format.group != 0) {
        return error("a group needs the scheme `group` or `channel`");
      }
      break;
    case ScaleScheme::kChannel:
      if (format.group < 0 ||
          (format.group > 0 && block_size.value() % format.group != 0)) {
        return error(
            "a group of tokens per channel must divide the block size");
      }
      break;
    case ScaleScheme::kGroup:
      if (format.group < 1) return error("the group size must be positive");
      break;
  }
  return absl::OkStatus();
}

absl::Status CheckLayer(const std::vector<KvLayer>& layers, std::size_t index,
                        BlockSize block_size) {
  const KvLayer& layer = layers[index];
  const auto error = [&](const char* problem) {
    return absl::InvalidArgumentError(
        absl::StrFormat("layer %d: %s", index, problem));
  };
  if (layer.kind == KvLayerKind::kStateless) return absl::OkStatus();
  if (layer.kind == KvLayerKind::kStateSpace) {
    if (layer.state < Bytes(1)) return error("the state must have bytes");
    return absl::OkStatus();
  }
  if (layer.kind == KvLayerKind::kShared) {
    if (layer.shared_with < 0 ||
        static_cast<std::size_t>(layer.shared_with) >= index) {
      return error("shares the KV of a layer that is not before it");
    }
    const auto source = static_cast<std::size_t>(layer.shared_with);
    if (!layers[source].stores_kv()) {
      return error("shares the KV of a layer that stores none itself");
    }
    return absl::OkStatus();
  }
  if (layer.has_window() && layer.window < TokenCount(1)) {
    return error("the window must be positive");
  }
  if (layer.kind == KvLayerKind::kCross &&
      layer.encoder_tokens < TokenCount(1)) {
    return error("the number of encoder tokens must be positive");
  }
  if (layer.latent && (layer.key.heads != 1 || layer.value.heads > 1)) {
    return error("a latent is one vector for all heads");
  }
  if (absl::Status status = CheckTensor(layer.key, block_size, index, "key");
      !status.ok()) {
    return status;
  }
  if (layer.value.heads == 0 && layer.value.head_size == 0) {
    return absl::OkStatus();
  }
  return CheckTensor(layer.value, block_size, index, "value");
}

/// Heads of one rank; 0 if `heads` and `ranks` do not divide one another.
std::int32_t HeadsPerRank(std::int32_t heads, std::int32_t ranks) {
  if (heads % ranks == 0) return heads / ranks;
  return ranks % heads == 0 ? 1 : 0;
}

absl::Status SplitHeads(std::int32_t ranks, KvTensor& tensor) {
  if (tensor.heads == 0) return absl::OkStatus();
  const std::int32_t heads = HeadsPerRank(tensor.heads, ranks);
  if (heads == 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d KV heads cannot be split over %d ranks: one number must be a "
        "multiple of the other",
        tensor.heads, ranks));
  }
  tensor.heads = heads;
  return absl::OkStatus();
}

/// The layers [begin, end) as a stage of their own. Of several layers that
/// share a layer outside the stage, the first stands in for it.
std::vector<KvLayer> StageLayers(const std::vector<KvLayer>& layers,
                                 std::size_t begin, std::size_t end) {
  std::vector<KvLayer> stage;
  std::vector<std::optional<std::int32_t>> place(end);
  for (std::size_t i = begin; i < end; ++i) {
    KvLayer layer = layers[i];
    const auto here = static_cast<std::int32_t>(i - begin);
    if (layer.kind == KvLayerKind::kShared) {
      const auto source = static_cast<std::size_t>(layer.shared_with);
      if (place[source]) {
        layer.shared_with = *place[source];
      } else {
        layer = layers[source];
        place[source] = here;
      }
    } else {
      place[i] = here;
    }
    stage.push_back(layer);
  }
  return stage;
}

}  // namespace

BlockCount PeakBlocks(const KvLayer& layer, TokenCount length,
                      BlockSize block_size) {
  if (length == TokenCount(0) || !layer.takes_memory()) return BlockCount(0);
  if (layer.kind == KvLayerKind::kStateSpace) return BlockCount(1);
  const std::int64_t tokens = block_size.value();
  if (layer.kind == KvLayerKind::kCross) {
    return BlockCount(CeilDivide(layer.encoder_tokens.value(), tokens));
  }
  const std::int64_t all = CeilDivide(length.value(), tokens);
  if (!layer.has_window()) return BlockCount(all);
  // A sliding window may begin in any slot of a block, a chunk only in
  // multiples of what its size and the block's have in common; the worst is
  // the last of these slots.
  const std::int64_t window = layer.window.value();
  const std::int64_t step =
      layer.kind == KvLayerKind::kChunked ? std::gcd(window, tokens) : 1;
  return BlockCount(std::min(all, CeilDivide(window - step, tokens) + 1));
}

std::string_view KvDtypeName(KvDtype dtype) {
  switch (dtype) {
    case KvDtype::kFp32:
      return "fp32";
    case KvDtype::kFp16:
      return "fp16";
    case KvDtype::kBf16:
      return "bf16";
    case KvDtype::kFp8:
      return "fp8";
    case KvDtype::kFp8E5m2:
      return "fp8_e5m2";
    case KvDtype::kInt8:
      return "int8";
    case KvDtype::kInt4:
      return "int4";
    case KvDtype::kInt2:
      return "int2";
  }
  return "unknown";
}

absl::StatusOr<KvDtype> ParseKvDtype(std::string_view name) {
  std::string known;
  for (const KvDtype dtype : kKvDtypes) {
    if (KvDtypeName(dtype) == name) return dtype;
    if (!known.empty()) known += ", ";
    known += KvDtypeName(dtype);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("unknown dtype '%s': use one of %s", name, known));
}

KvFormat KvFormat::For(KvDtype dtype) {
  if (IsInteger(dtype)) {
    return {.dtype = dtype,
            .scheme = ScaleScheme::kToken,
            .scale_bits = 16,
            .zero_point_bits = 16};
  }
  return {.dtype = dtype};
}

absl::StatusOr<KvGeometry> KvGeometry::Create(std::vector<KvLayer> layers,
                                              BlockSize block_size) {
  if (block_size.value() < 1) {
    return absl::InvalidArgumentError("the block size must be positive");
  }
  if (layers.empty()) {
    return absl::InvalidArgumentError("a model needs at least one layer");
  }
  KvGeometry geometry(std::move(layers), block_size);
  Checked bytes = 0;
  for (std::size_t i = 0; i < geometry.layers_.size(); ++i) {
    if (absl::Status status = CheckLayer(geometry.layers_, i, block_size);
        !status.ok()) {
      return status;
    }
    const KvLayer& layer = geometry.layers_[i];
    const Checked kv = LayerBytes(layer, block_size.value(), block_size);
    bytes = bytes + kv;
    const absl::StatusOr<Bytes> page =
        layer.kind == KvLayerKind::kStateSpace
            ? layer.state
            : kv.ToBytes("the bytes of a block of one layer");
    if (!page.ok()) return page.status();
    geometry.pages_.push_back(*page);
  }
  const absl::StatusOr<Bytes> total = bytes.ToBytes("the bytes of a block");
  if (!total.ok()) return total.status();
  geometry.bytes_per_block_ = *total;
  return geometry;
}

Bytes KvGeometry::bytes_per_token() const {
  return Bytes(CeilDivide(bytes_per_block_.value(), block_size_.value()));
}

absl::StatusOr<Bytes> KvGeometry::PoolBytes(BlockCount blocks) const {
  if (blocks < BlockCount(0)) {
    return absl::InvalidArgumentError("a pool has no negative size");
  }
  return (Checked(bytes_per_block_.value()) * blocks.value())
      .ToBytes("the bytes of the pool");
}

BlockCount KvGeometry::NumBlocks(Bytes budget) const {
  if (bytes_per_block_ == Bytes(0)) {
    return BlockCount(std::numeric_limits<BlockCount::rep>::max());
  }
  return BlockCount(std::max<std::int64_t>(budget.value(), 0) /
                    bytes_per_block_.value());
}

TokenCount KvGeometry::NumSlots(Bytes budget) const {
  if (bytes_per_block_ == Bytes(0)) {
    return TokenCount(std::numeric_limits<TokenCount::rep>::max());
  }
  return TokenCount(std::max<std::int64_t>(budget.value(), 0) /
                    bytes_per_token().value());
}

absl::StatusOr<Bytes> KvGeometry::BytesAtLength(TokenCount length) const {
  if (length < TokenCount(0)) {
    return absl::InvalidArgumentError("a length must not be negative");
  }
  Checked bytes = 0;
  for (const KvLayer& layer : layers_) {
    bytes = bytes + BytesKept(layer, length, block_size_);
  }
  return bytes.ToBytes("the bytes of a sequence");
}

absl::StatusOr<Bytes> KvGeometry::BlockBytesAtLength(TokenCount length) const {
  if (length < TokenCount(0)) {
    return absl::InvalidArgumentError("a length must not be negative");
  }
  Checked bytes = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    bytes = bytes + Checked(pages_[i].value()) *
                        PeakBlocks(layers_[i], length, block_size_).value();
  }
  return bytes.ToBytes("the bytes of a sequence");
}

absl::StatusOr<Bytes> KvGeometry::LayerBlockBytesAtLength(
    std::size_t layer, TokenCount length) const {
  if (length < TokenCount(0)) {
    return absl::InvalidArgumentError("a length must not be negative");
  }
  return (Checked(pages_[layer].value()) *
          PeakBlocks(layers_[layer], length, block_size_).value())
      .ToBytes("the bytes of a sequence");
}

absl::StatusOr<std::vector<KvGeometry>> KvGeometry::Shard(
    std::int32_t tensor_parallel, std::int32_t pipeline_parallel) const {
  const std::size_t num_layers = layers_.size();
  if (tensor_parallel < 1 || pipeline_parallel < 1) {
    return absl::InvalidArgumentError("a number of ranks must be positive");
  }
  const auto num_stages = static_cast<std::size_t>(pipeline_parallel);
  if (num_stages > num_layers) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d layers do not fill %d stages", num_layers, num_stages));
  }
  std::vector<KvGeometry> stages;
  std::size_t begin = 0;
  for (std::size_t stage = 0; stage < num_stages; ++stage) {
    const std::size_t end = begin + num_layers / num_stages +
                            (stage < num_layers % num_stages ? 1 : 0);
    std::vector<KvLayer> layers = StageLayers(layers_, begin, end);
    for (KvLayer& layer : layers) {
      if (layer.kind == KvLayerKind::kStateSpace) {
        layer.state = Bytes(CeilDivide(layer.state.value(), tensor_parallel));
      }
      if (layer.latent || !layer.stores_kv()) continue;
      for (KvTensor* tensor : {&layer.key, &layer.value}) {
        if (absl::Status status = SplitHeads(tensor_parallel, *tensor);
            !status.ok()) {
          return status;
        }
      }
    }
    absl::StatusOr<KvGeometry> geometry =
        Create(std::move(layers), block_size_);
    if (!geometry.ok()) return geometry.status();
    stages.push_back(*std::move(geometry));
    begin = end;
  }
  return stages;
}

absl::StatusOr<Bytes> KvMemory(const GpuMemory& gpu) {
  if (gpu.total < Bytes(0) || gpu.weights < Bytes(0) ||
      gpu.activations < Bytes(0)) {
    return absl::InvalidArgumentError("a size in bytes must not be negative");
  }
  if (!(gpu.utilization > 0.0 && gpu.utilization <= 1.0)) {
    return absl::InvalidArgumentError(
        "the share of GPU memory to use must be above 0 and at most 1");
  }
  // A double holds every size up to 2^53 bytes exactly.
  if (gpu.total > Bytes(std::int64_t{1} << 53)) {
    return absl::OutOfRangeError("a GPU has at most 2^53 bytes");
  }
  const Bytes usable(static_cast<std::int64_t>(
      std::floor(static_cast<double>(gpu.total.value()) * gpu.utilization)));
  const Checked others = Checked(gpu.weights.value()) + gpu.activations.value();
  const absl::StatusOr<Bytes> used = others.ToBytes("weights and activations");
  if (!used.ok()) return used.status();
  return usable - *used;
}

}  // namespace pagedkv
