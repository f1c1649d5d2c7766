// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calc.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "sim/catalogue/model_catalogue.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

absl::StatusOr<std::int64_t> Multiply(std::int64_t a, std::int64_t b,
                                      const char* what) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    return absl::OutOfRangeError(
        absl::StrFormat("%s does not fit 63 bits", what));
  }
  return product;
}

absl::StatusOr<CalcSize> SizeOf(const KvGeometry& geometry, TokenCount length,
                                std::int64_t batch) {
  CalcSize size;
  size.token = geometry.bytes_per_token();
  size.block = geometry.bytes_per_block();

  std::vector<KvLayer> layers = geometry.layers();
  for (KvLayer& layer : layers) {
    if (layer.has_window()) layer.kind = KvLayerKind::kFull;
  }
  const absl::StatusOr<KvGeometry> unwindowed =
      KvGeometry::Create(std::move(layers), geometry.block_size());
  if (!unwindowed.ok()) return unwindowed.status();

  const struct {
    absl::StatusOr<Bytes> bytes;
    Bytes CalcSize::* sequence;
    Bytes CalcSize::* total;
  } kinds[] = {
      {geometry.BytesAtLength(length), &CalcSize::sequence, &CalcSize::total},
      {geometry.BlockBytesAtLength(length), &CalcSize::sequence_blocks,
       &CalcSize::total_blocks},
      {unwindowed->BytesAtLength(length), &CalcSize::sequence_unwindowed,
       &CalcSize::total_unwindowed},
  };
  for (const auto& [bytes, sequence, total] : kinds) {
    if (!bytes.ok()) return bytes.status();
    const absl::StatusOr<std::int64_t> all =
        Multiply(bytes->value(), batch, "the size of --batch sequences");
    if (!all.ok()) return all.status();
    size.*sequence = *bytes;
    size.*total = Bytes(*all);
  }
  return size;
}

absl::StatusOr<CalcSize> SizeOf(std::vector<KvLayer> layers,
                                const CalcResult& result) {
  const absl::StatusOr<KvGeometry> geometry =
      KvGeometry::Create(std::move(layers), result.block_size);
  if (!geometry.ok()) return geometry.status();
  return SizeOf(*geometry, result.seq_len, result.batch);
}

absl::StatusOr<ModelSpec> ReadModel(const CalcOptions& options) {
  const int ways = (options.model.empty() ? 0 : 1) +
                   (options.config.empty() ? 0 : 1) +
                   (options.layers == 0 ? 0 : 1);
  if (ways != 1) {
    return absl::InvalidArgumentError(
        "say which model by one of --model, --config and --layers");
  }
  if (!options.model.empty()) return FindModel(options.model);
  if (!options.config.empty()) return ReadModelConfig(options.config);

  const std::int32_t kv_heads =
      options.kv_heads > 0 ? options.kv_heads : options.heads;
  const std::int32_t heads = options.heads > 0 ? options.heads : kv_heads;
  if (options.layers < 1 || options.layers > kMaxModelLayers) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--layers must be from 1 to %d", kMaxModelLayers));
  }
  for (const std::int32_t size : {heads, kv_heads, options.head_dim}) {
    if (size >= 1 && size <= kMaxModelSize) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("--layers needs --head-dim and --heads or --kv-heads, "
                        "each from 1 to %d",
                        kMaxModelSize));
  }
  if (heads % kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--kv-heads (%d) must divide --heads (%d)", kv_heads, heads));
  }
  ModelSpec model;
  model.name = "custom";
  model.source = "the command line";
  model.query_heads = heads;
  model.key_head_size = model.value_head_size = options.head_dim;
  KvLayer layer;
  layer.key = layer.value = {.heads = kv_heads, .head_size = options.head_dim};
  model.layers.assign(static_cast<std::size_t>(options.layers), layer);
  return model;
}

/// The format of `dtype` with the scales that the options ask for.
absl::StatusOr<KvFormat> FormatOf(KvDtype dtype, const CalcOptions& options) {
  KvFormat format = KvFormat::For(dtype);
  std::string scheme = options.quant_scheme;
  if (options.quant_group < 0) {
    return absl::InvalidArgumentError("--quant-group must be positive");
  }
  if (scheme.empty()) {
    if (options.quant_group == 0) return format;
    scheme = "group";
  }
  if (KvDtypeBits(dtype) > 8) return format;  // Has no scales.
  // fp8 is symmetric: where it has scales, it has no zero points.
  const bool is_integer = IsInteger(dtype);
  format = {.dtype = dtype,
            .group = options.quant_group,
            .scale_bits = 16,
            .zero_point_bits = is_integer ? 16 : 0};
  if (scheme == "tensor") {
    format.scheme = ScaleScheme::kTensor;
  } else if (scheme == "token") {
    format.scheme = ScaleScheme::kToken;
  } else if (scheme == "channel") {
    format.scheme = ScaleScheme::kChannel;
  } else if (scheme == "group") {
    format.scheme = ScaleScheme::kGroup;
    if (format.group == 0) {
      return absl::InvalidArgumentError(
          "--quant-scheme group needs --quant-group, in elements");
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrFormat("unknown --quant-scheme '%s': use one of tensor, "
                        "token, channel, group",
                        scheme));
  }
  if (format.group > 0 && format.scheme != ScaleScheme::kGroup &&
      format.scheme != ScaleScheme::kChannel) {
    return absl::InvalidArgumentError(
        "--quant-group goes with --quant-scheme group or channel");
  }
  return format;
}

/// The model's layers with K and V stored as asked.
absl::StatusOr<std::vector<KvLayer>> StoredLayers(const ModelSpec& model,
                                                  const CalcOptions& options) {
  std::vector<KvLayer> layers = model.layers;
  bool has_scales = false;
  const struct {
    const std::string& dtype;
    KvTensor KvLayer::* tensor;
  } parts[] = {
      {options.dtype, &KvLayer::key},
      {options.value_dtype.empty() ? options.dtype : options.value_dtype,
       &KvLayer::value},
  };
  for (const auto& [name, tensor] : parts) {
    if (name.empty()) continue;
    const absl::StatusOr<KvDtype> dtype = ParseKvDtype(name);
    if (!dtype.ok()) return dtype.status();
    const absl::StatusOr<KvFormat> format = FormatOf(*dtype, options);
    if (!format.ok()) return format.status();
    has_scales = has_scales || KvDtypeBits(*dtype) <= 8;
    for (KvLayer& layer : layers) (layer.*tensor).format = *format;
  }
  if ((!options.quant_scheme.empty() || options.quant_group != 0) &&
      !has_scales) {
    return absl::InvalidArgumentError(
        "--quant-scheme and --quant-group need --dtype fp8, fp8_e5m2, int8, "
        "int4 or int2");
  }
  return layers;
}

/// Padded where it must be: the answer shows what that costs.
absl::StatusOr<KvCachePlan> PlanOf(const KvGeometry& geometry,
                                   Bytes available) {
  return PlanKvCache(geometry, {.available = available, .pad_pages = true});
}

/// The groups of `geometry`; none if all its layers are in one.
absl::StatusOr<std::optional<CalcGroups>> GroupsOf(const KvGeometry& geometry,
                                                   TokenCount length) {
  absl::StatusOr<KvCachePlan> plan = PlanOf(geometry, Bytes(0));
  if (!plan.ok()) return plan.status();
  if (plan->groups.size() < 2) return std::nullopt;
  CalcGroups groups;
  groups.plan = *std::move(plan);
  for (const KvCacheGroup& group : groups.plan.groups) {
    const absl::StatusOr<KvCacheUse> use =
        GroupUseAtLength(geometry, groups.plan, group, length);
    if (!use.ok()) return use.status();
    groups.uses.push_back(*use);
  }
  const absl::StatusOr<KvCacheUse> all =
      PlanUseAtLength(geometry, groups.plan, length);
  if (!all.ok()) return all.status();
  groups.all = *all;
  const absl::StatusOr<KvCacheUse> uniform =
      UniformUseAtLength(geometry, length);
  if (!uniform.ok()) return uniform.status();
  groups.uniform = *uniform;
  return groups;
}

AttentionKind KindOf(const ModelSpec& model, const KvLayer& layer) {
  if (layer.latent) return AttentionKind::kMla;
  if (layer.key.heads == model.query_heads) return AttentionKind::kMha;
  return layer.key.heads == 1 ? AttentionKind::kMqa : AttentionKind::kGqa;
}

/// K and V of one layer of `model` if its attention were of `kind`.
std::pair<KvTensor, KvTensor> TensorsFor(AttentionKind kind,
                                         const ModelSpec& model) {
  const std::int32_t heads = model.query_heads;
  const auto with_heads = [&](std::int32_t kv_heads) {
    return std::pair(
        KvTensor{.heads = kv_heads, .head_size = model.key_head_size},
        KvTensor{.heads = kv_heads, .head_size = model.value_head_size});
  };
  switch (kind) {
    case AttentionKind::kMha:
      return with_heads(heads);
    case AttentionKind::kMqa:
      return with_heads(1);
    case AttentionKind::kGqa: {
      // 8 groups, as in the models with published GQA, where 8 divides.
      std::int32_t groups = std::min(8, heads);
      while (heads % groups != 0) --groups;
      return with_heads(groups);
    }
    case AttentionKind::kMla:
      break;
  }
  // DeepSeek-V2 (arXiv 2405.04434), table 1: a latent of 4 heads' size and a
  // rotary part of half a head.
  return {
      KvTensor{.heads = 1, .head_size = 4 * model.key_head_size},
      KvTensor{.heads = 1, .head_size = std::max(1, model.key_head_size / 2)}};
}

absl::Status CompareAttentions(const KvLayer& own, CalcResult& result) {
  for (const AttentionKind kind : {AttentionKind::kMha, AttentionKind::kGqa,
                                   AttentionKind::kMqa, AttentionKind::kMla}) {
    CalcAttention other{.kind = kind, .key = own.key, .value = own.value};
    std::vector<KvLayer> layers = result.layers;
    if (kind != result.attention) {
      std::tie(other.key, other.value) = TensorsFor(kind, result.model);
      // A latent's two parts are not K and V: their formats do not carry over.
      const bool latent = own.latent || kind == AttentionKind::kMla;
      other.key.format = own.key.format;
      other.value.format = latent ? own.key.format : own.value.format;
      for (KvLayer& layer : layers) {
        layer.latent = kind == AttentionKind::kMla;
        layer.key = other.key;
        layer.value = other.value;
      }
    }
    const absl::StatusOr<CalcSize> size = SizeOf(std::move(layers), result);
    if (!size.ok()) return size.status();
    other.size = *size;
    result.attentions.push_back(other);
  }
  return absl::OkStatus();
}

/// Blocks that a sequence takes at most, over all groups.
absl::StatusOr<BlockCount> SequenceBlocks(const KvCachePlan& plan,
                                          TokenCount length) {
  BlockCount sum{0};
  for (const KvCacheGroup& group : plan.groups) {
    const absl::StatusOr<BlockCount> blocks =
        GroupBlocksAtLength(group, length);
    if (!blocks.ok()) return blocks.status();
    sum += *blocks;
  }
  return sum;
}

/// Tokens that each group of the plan could have in its share of the blocks.
absl::StatusOr<std::int64_t> GroupSlots(const KvCachePlan& plan,
                                        BlockCount blocks) {
  BlockSize smallest = plan.groups.front().block_size;
  for (const KvCacheGroup& group : plan.groups) {
    if (group.block_size.value() < smallest.value()) {
      smallest = group.block_size;
    }
  }
  const auto num_groups = static_cast<std::int64_t>(plan.groups.size());
  // Elements may be smaller than a byte: more slots than bytes.
  return Multiply(blocks.value() / num_groups, smallest.value(),
                  "the number of slots");
}

/// What `memory` bytes on each rank hold. Every rank has as many blocks as the
/// one that can hold the fewest.
absl::StatusOr<CalcCapacity> CapacityOf(const std::vector<KvGeometry>& stages,
                                        TokenCount length, Bytes memory) {
  std::vector<KvCachePlan> plans;
  for (const KvGeometry& stage : stages) {
    absl::StatusOr<KvCachePlan> plan = PlanOf(stage, memory);
    if (!plan.ok()) return plan.status();
    if (!plan->groups.empty()) plans.push_back(*std::move(plan));
  }
  CalcCapacity capacity;
  capacity.slots = stages.front().NumSlots(memory);
  for (const KvGeometry& stage : stages) {
    capacity.slots = std::min(capacity.slots, stage.NumSlots(memory));
  }
  capacity.blocks = plans.front().num_blocks;
  for (const KvCachePlan& plan : plans) {
    capacity.blocks = std::min(capacity.blocks, plan.num_blocks);
  }
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const absl::StatusOr<BlockCount> blocks = SequenceBlocks(plans[i], length);
    if (!blocks.ok()) return blocks.status();
    const absl::StatusOr<std::int64_t> slots =
        GroupSlots(plans[i], capacity.blocks);
    if (!slots.ok()) return slots.status();
    const std::int64_t batch = capacity.blocks.value() / blocks->value();
    capacity.max_batch = i == 0 ? batch : std::min(capacity.max_batch, batch);
    capacity.block_slots =
        i == 0 ? TokenCount(*slots)
               : std::min(capacity.block_slots, TokenCount(*slots));
    // At most `memory`, and so no overflow.
    capacity.pool = std::max(
        capacity.pool, plans[i].bytes_per_block * capacity.blocks.value());
  }
  return capacity;
}

/// Bytes on each rank that hold `blocks`.
absl::StatusOr<Bytes> MemoryOf(const std::vector<KvGeometry>& stages,
                               std::int64_t blocks) {
  Bytes largest{0};
  for (const KvGeometry& stage : stages) {
    const absl::StatusOr<KvCachePlan> plan = PlanOf(stage, Bytes(0));
    if (!plan.ok()) return plan.status();
    largest = std::max(largest, plan->bytes_per_block);
  }
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(largest.value(), blocks, &bytes)) {
    return absl::OutOfRangeError(
        "the bytes of the pool do not fit 63 bits: ask for fewer --num-blocks");
  }
  return Bytes(bytes);
}

absl::StatusOr<CalcFit> Fit(const std::vector<KvGeometry>& stages,
                            const CalcResult& result, Bytes kv_memory) {
  const absl::StatusOr<CalcCapacity> capacity =
      CapacityOf(stages, result.seq_len, kv_memory);
  if (!capacity.ok()) return capacity.status();
  CalcFit fit;
  static_cast<CalcCapacity&>(fit) = *capacity;
  fit.kv_memory = kv_memory;
  return fit;
}

absl::Status CompareDtypes(const CalcOptions& options, CalcResult& result) {
  for (const KvDtype dtype : kKvDtypes) {
    const absl::StatusOr<KvFormat> format = FormatOf(dtype, options);
    if (!format.ok()) return format.status();
    const absl::StatusOr<KvGeometry> geometry = KvGeometry::Create(
        WithFormat(result.layers, *format), result.block_size);
    if (!geometry.ok()) return geometry.status();
    const absl::StatusOr<CalcSize> size =
        SizeOf(*geometry, result.seq_len, result.batch);
    if (!size.ok()) return size.status();
    CalcDtype other{*format, *size, std::nullopt};
    if (result.fits.size() == 1) {
      const absl::StatusOr<std::vector<KvGeometry>> stages =
          geometry->Shard(result.tensor_parallel, result.pipeline_parallel);
      if (!stages.ok()) return stages.status();
      const absl::StatusOr<CalcCapacity> capacity =
          CapacityOf(*stages, result.seq_len, result.fits.front().kv_memory);
      if (!capacity.ok()) return capacity.status();
      other.capacity = *capacity;
    }
    result.dtypes.push_back(other);
  }
  return absl::OkStatus();
}

absl::StatusOr<CalcFit> FitGpu(const GpuSpec& gpu, Bytes all_weights,
                               Bytes activations,
                               const std::vector<KvGeometry>& stages,
                               const CalcResult& result) {
  const std::int64_t ranks =
      std::int64_t{result.tensor_parallel} * result.pipeline_parallel;
  const Bytes weights(all_weights.value() / ranks +
                      (all_weights.value() % ranks != 0 ? 1 : 0));
  const absl::StatusOr<Bytes> kv_memory =
      KvMemory({.total = gpu.memory,
                .utilization = result.gpu_memory_utilization,
                .weights = weights,
                .activations = activations});
  if (!kv_memory.ok()) return kv_memory.status();
  absl::StatusOr<CalcFit> fit = Fit(stages, result, *kv_memory);
  if (!fit.ok()) return fit;
  fit->gpu = gpu;
  fit->weights = weights;
  fit->activations = activations;
  return fit;
}

absl::StatusOr<Bytes> BytesOption(const char* name, const std::string& text,
                                  Bytes fallback) {
  if (text.empty()) return fallback;
  absl::StatusOr<Bytes> bytes = ParseBytes(text);
  if (bytes.ok()) return bytes;
  return absl::InvalidArgumentError(
      absl::StrFormat("%s: %s", name, std::string(bytes.status().message())));
}

absl::Status AddFits(const CalcOptions& options,
                     const std::vector<KvGeometry>& stages,
                     CalcResult& result) {
  if (!options.memory.empty() || options.num_blocks > 0) {
    const absl::StatusOr<Bytes> memory =
        options.num_blocks > 0
            ? MemoryOf(stages, options.num_blocks)
            : BytesOption("--memory", options.memory, Bytes(0));
    if (!memory.ok()) return memory.status();
    absl::StatusOr<CalcFit> fit = Fit(stages, result, *memory);
    if (!fit.ok()) return fit.status();
    result.fits.push_back(*std::move(fit));
    return absl::OkStatus();
  }
  const absl::StatusOr<Bytes> weights =
      BytesOption("--weights", options.weights, result.model.weights);
  if (!weights.ok()) return weights.status();
  const absl::StatusOr<Bytes> activations =
      BytesOption("--activations", options.activations, Bytes(0));
  if (!activations.ok()) return activations.status();

  std::vector<GpuSpec> gpus;
  if (!options.gpu.empty()) {
    absl::StatusOr<GpuSpec> gpu = FindGpu(options.gpu);
    if (!gpu.ok()) return gpu.status();
    gpus.push_back(*std::move(gpu));
  } else {
    absl::StatusOr<std::vector<GpuSpec>> all = KnownGpus();
    if (!all.ok()) return all.status();
    gpus = *std::move(all);
  }
  if (options.weights.empty() && *weights == Bytes(0)) {
    if (options.gpu.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "--gpu needs --weights: the size of this model's weights is not known");
  }
  for (const GpuSpec& gpu : gpus) {
    absl::StatusOr<CalcFit> fit =
        FitGpu(gpu, *weights, *activations, stages, result);
    if (!fit.ok()) return fit.status();
    result.fits.push_back(*std::move(fit));
  }
  return absl::OkStatus();
}

}  // namespace

std::string_view AttentionName(AttentionKind kind) {
  switch (kind) {
    case AttentionKind::kMha:
      return "mha";
    case AttentionKind::kGqa:
      return "gqa";
    case AttentionKind::kMqa:
      return "mqa";
    case AttentionKind::kMla:
      return "mla";
  }
  return "unknown";
}

absl::StatusOr<CalcResult> Calculate(const CalcOptions& options) {
  CalcResult result;
  absl::StatusOr<ModelSpec> model = ReadModel(options);
  if (!model.ok()) return model.status();
  result.model = *std::move(model);

  result.seq_len = options.seq_len == 0 ? result.model.max_seq_len
                                        : TokenCount(options.seq_len);
  result.batch = options.batch;
  result.block_size = BlockSize(options.block_size);
  result.tensor_parallel = options.tensor_parallel;
  result.pipeline_parallel = options.pipeline_parallel;
  result.gpu_memory_utilization = options.gpu_memory_utilization;
  if (result.seq_len == TokenCount(0)) {
    return absl::InvalidArgumentError(
        "give --seq-len: the model does not state its maximum length");
  }
  if (result.seq_len < TokenCount(1) || result.batch < 1) {
    return absl::InvalidArgumentError("--seq-len and --batch must be positive");
  }

  absl::StatusOr<std::vector<KvLayer>> layers =
      StoredLayers(result.model, options);
  if (!layers.ok()) return layers.status();
  result.layers = *std::move(layers);
  const auto own = std::find_if(result.layers.begin(), result.layers.end(),
                                std::mem_fn(&KvLayer::stores_kv));
  if (own == result.layers.end()) {
    return absl::InvalidArgumentError(
        "no layer of this model keeps keys and values");
  }
  result.attention = KindOf(result.model, *own);

  const absl::StatusOr<KvGeometry> geometry =
      KvGeometry::Create(result.layers, result.block_size);
  if (!geometry.ok()) return geometry.status();
  const absl::StatusOr<CalcSize> size =
      SizeOf(*geometry, result.seq_len, result.batch);
  if (!size.ok()) return size.status();
  result.size = *size;
  absl::StatusOr<std::optional<CalcGroups>> groups =
      GroupsOf(*geometry, result.seq_len);
  if (!groups.ok()) return groups.status();
  result.groups = *std::move(groups);

  const absl::StatusOr<std::vector<KvGeometry>> stages =
      geometry->Shard(options.tensor_parallel, options.pipeline_parallel);
  if (!stages.ok()) return stages.status();
  for (const KvGeometry& stage : *stages) {
    const absl::StatusOr<CalcSize> rank =
        SizeOf(stage, result.seq_len, result.batch);
    if (!rank.ok()) return rank.status();
    result.stages.push_back(
        {static_cast<std::int64_t>(stage.layers().size()), *rank});
  }

  for (const absl::Status& status :
       {AddFits(options, *stages, result), CompareAttentions(*own, result),
        CompareDtypes(options, result)}) {
    if (!status.ok()) return status;
  }

  // n(n+1)/2, halving the even factor first.
  const std::int64_t n = result.seq_len.value();
  const absl::StatusOr<std::int64_t> triangle =
      n % 2 == 0 ? Multiply(n / 2, n + 1, "n(n+1)/2 of --seq-len")
                 : Multiply(n, n / 2 + 1, "n(n+1)/2 of --seq-len");
  if (!triangle.ok()) return triangle.status();
  result.projections_without_cache = *triangle;
  result.projections_with_cache = n;
  return result;
}

}  // namespace pagedkv::sim
