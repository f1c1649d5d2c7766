// SPDX-License-Identifier: Apache-2.0
#include "sim/study/pool_plan.h"

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "pagedkv/kv_cache_plan.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/catalogue/gpu_catalogue.h"
#include "sim/catalogue/model_catalogue.h"
#include "sim/catalogue/model_config.h"
#include "sim/report/decimal.h"
#include "sim/study/option_checks.h"
#include "sim/study/step_time_plan.h"
#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

absl::StatusOr<std::optional<ModelSpec>> FindModelSpec(
    const SimOptions& options) {
  absl::Status status = AtMostOne(
      {{"--model", options.model.has_value()},
       {"--config", options.config.has_value()},
       {"--kv-bytes-per-token", options.kv_bytes_per_token.has_value()}});
  if (!status.ok()) return status;
  if (options.model) {
    absl::StatusOr<ModelSpec> model = FindModel(*options.model);
    if (!model.ok()) return InOption("--model", model.status());
    return *std::move(model);
  }
  if (options.config) {
    absl::StatusOr<ModelSpec> model = ReadModelConfig(*options.config);
    if (!model.ok()) return InOption("--config", model.status());
    return *std::move(model);
  }
  status = Refuse({{"--dtype", options.dtype.has_value()},
                   {"--tp", options.tensor_parallel.has_value()},
                   {"--pp", options.pipeline_parallel.has_value()}},
                  "needs --model or --config");
  if (!status.ok()) return status;
  return std::optional<ModelSpec>();
}

absl::StatusOr<Bytes> ParseSize(std::string_view option,
                                const std::string& text) {
  absl::StatusOr<Bytes> bytes = ParseBytes(text);
  if (!bytes.ok()) return InOption(option, bytes.status());
  return bytes;
}

absl::StatusOr<Bytes> GpuBudget(const SimOptions& options,
                                const ModelPlan& model) {
  const absl::StatusOr<GpuSpec> gpu = FindGpu(*options.gpu);
  if (!gpu.ok()) return InOption("--gpu", gpu.status());
  GpuMemory memory;
  memory.total = gpu->memory;
  memory.utilization =
      options.gpu_memory_utilization.value_or(kDefaultGpuMemoryUtilization);
  Bytes weights = model.weights;
  if (options.weights) {
    const absl::StatusOr<Bytes> given =
        ParseSize("--weights", *options.weights);
    if (!given.ok()) return given;
    weights = *given;
  } else if (weights.value() == 0) {
    return OptionError(absl::StrFormat(
        "--gpu: the weights of model %s are not known: give --weights SIZE",
        model.report.name));
  }
  memory.weights =
      Bytes((weights.value() + model.num_ranks - 1) / model.num_ranks);
  if (options.activations) {
    const absl::StatusOr<Bytes> given =
        ParseSize("--activations", *options.activations);
    if (!given.ok()) return given;
    memory.activations = *given;
  }
  absl::StatusOr<Bytes> budget = KvMemory(memory);
  if (!budget.ok()) return InOption("--gpu", budget.status());
  if (budget->value() <= 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "--gpu %s: model %s leaves no memory for KV: weights take %s of %s "
        "GiB on each of %d GPUs (--tp or --pp spread it over more)",
        gpu->name, model.report.name, FormatGib(memory.weights),
        FormatGib(memory.total), model.num_ranks));
  }
  return budget;
}

}  // namespace

TokenCount SlotsOf(const ModelPlan& model, Bytes budget) {
  if (model.stages.empty()) {
    return TokenCount(budget.value() /
                      model.report.kv_bytes_per_token->value());
  }
  TokenCount slots = model.stages.front().NumSlots(budget);
  for (const KvGeometry& stage : model.stages) {
    slots = std::min(slots, stage.NumSlots(budget));
  }
  return slots;
}

absl::StatusOr<std::optional<KvFormat>> PlanKvFormat(
    const SimOptions& options) {
  if (!options.dtype) return std::optional<KvFormat>();
  const absl::StatusOr<KvDtype> dtype = ParseKvDtype(*options.dtype);
  if (!dtype.ok()) return InOption("--dtype", dtype.status());
  return KvFormat::For(*dtype);
}

absl::StatusOr<ModelPlan> PlanModel(const SimOptions& options,
                                    BlockSize block_size) {
  const absl::StatusOr<std::optional<ModelSpec>> found = FindModelSpec(options);
  if (!found.ok()) return found.status();
  ModelPlan plan;
  plan.report.name = "unspecified";
  if (options.kv_bytes_per_token) {
    plan.report.name = "custom";
    plan.report.kv_bytes_per_token = Bytes(*options.kv_bytes_per_token);
  }
  if (found->has_value()) {
    const ModelSpec& spec = **found;
    const absl::StatusOr<std::optional<KvFormat>> format =
        PlanKvFormat(options);
    if (!format.ok()) return format.status();
    const absl::StatusOr<KvGeometry> geometry =
        spec.Geometry(block_size, *format);
    if (!geometry.ok()) return geometry.status();
    const std::int32_t tensor_parallel = options.tensor_parallel.value_or(1);
    const std::int32_t pipeline_parallel =
        options.pipeline_parallel.value_or(1);
    absl::StatusOr<std::vector<KvGeometry>> stages =
        geometry->Shard(tensor_parallel, pipeline_parallel);
    if (!stages.ok()) return stages.status();

    Bytes bytes_per_token{0};  // over all ranks, copies included
    for (const KvGeometry& stage : *stages) {
      bytes_per_token += stage.bytes_per_token() * tensor_parallel;
    }
    if (bytes_per_token.value() == 0) {
      return OptionError(
          absl::StrFormat("model %s stores no KV per token", spec.name));
    }
    plan.report.name = spec.name;
    plan.report.kv_bytes_per_token = bytes_per_token;
    plan.report.max_sequence_tokens = spec.max_seq_len;
    plan.report.max_is_models_own = true;
    // Padded where it must be: the report shows what that costs.
    absl::StatusOr<KvCachePlan> groups =
        PlanKvCache(*geometry, {.pad_pages = true});
    if (!groups.ok()) return groups.status();
    if (groups->groups.size() > 1) {
      plan.hybrid = HybridCache{*geometry, *std::move(groups)};
    }
    plan.stages = *std::move(stages);
    plan.num_ranks = std::int64_t{tensor_parallel} * pipeline_parallel;
    plan.weights = spec.weights;
    plan.spec = spec;
  }
  if (options.max_seq_len) {
    plan.report.max_sequence_tokens = TokenCount(*options.max_seq_len);
    plan.report.max_is_models_own = false;
  }
  if (plan.report.max_sequence_tokens.value() == 0) {
    return OptionError(
        "give --max-seq-len, or a --model or --config that states its "
        "context length");
  }
  return plan;
}

absl::StatusOr<ReportPool> PlanPool(const SimOptions& options,
                                    const ModelPlan& model,
                                    BlockSize block_size) {
  const bool gpu_is_for_time =
      options.step_time_preset == kRooflinePreset &&
      (options.memory || options.num_blocks || options.demand);
  const bool gpu_is_pool = options.gpu && !gpu_is_for_time;
  const std::initializer_list<GivenOption> ways = {
      {"--memory", options.memory.has_value()},
      {"--num-blocks", options.num_blocks.has_value()},
      {"--gpu", gpu_is_pool},
      {"--demand", options.demand}};
  absl::Status status = AtMostOne(ways);
  if (!status.ok()) return status;
  if (NamesGiven(ways).empty()) {
    return OptionError(
        "give the pool by --memory SIZE, --num-blocks N, --gpu NAME or "
        "--demand");
  }
  if (!gpu_is_pool) {
    status = Refuse({{"--gpu-memory-utilization",
                      options.gpu_memory_utilization.has_value()},
                     {"--weights", options.weights && !gpu_is_for_time},
                     {"--activations", options.activations.has_value()}},
                    options.gpu ? "needs a pool from --gpu" : "needs --gpu");
    if (!status.ok()) return status;
  }
  if (!options.num_blocks) {
    status = Refuse({{"--block-size", options.block_size.has_value()}},
                    "needs --num-blocks: policies name their own");
    if (!status.ok()) return status;
  }
  ReportPool pool;
  pool.num_gpus = model.num_ranks;
  if (options.demand) {
    pool.source = "demand";
    return pool;
  }
  const std::optional<Bytes>& token_bytes = model.report.kv_bytes_per_token;
  if (options.num_blocks) {
    std::int64_t slots = 0;
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(*options.num_blocks, block_size.value(),
                               &slots) ||
        __builtin_mul_overflow(slots, token_bytes.value_or(Bytes(1)).value(),
                               &bytes)) {
      return OptionError(
          absl::StrFormat("--num-blocks %d: their bytes do not fit 63 bits",
                          *options.num_blocks));
    }
    pool.slots = TokenCount(slots);
    if (token_bytes) pool.bytes = Bytes(bytes);
    pool.source = "explicit";
    pool.description =
        absl::StrFormat("--num-blocks %s of %d tokens",
                        Grouped(*options.num_blocks), block_size.value());
    return pool;
  }
  if (!token_bytes) {
    return OptionError(
        absl::StrFormat("%s needs --model, --config or --kv-bytes-per-token",
                        options.memory ? "--memory" : "--gpu"));
  }
  const absl::StatusOr<Bytes> budget =
      options.memory ? ParseSize("--memory", *options.memory)
                     : GpuBudget(options, model);
  if (!budget.ok()) return budget.status();
  const TokenCount slots = SlotsOf(model, *budget);
  std::int64_t bytes = 0;
  const char* option = options.memory ? "--memory" : "--gpu";
  if (slots.value() < 1) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "%s: the %s B on each GPU hold no token (%s B in all)", option,
        Grouped(budget->value()), Grouped(token_bytes->value())));
  }
  if (__builtin_mul_overflow(budget->value(), model.num_ranks, &bytes)) {
    return OptionError(
        absl::StrFormat("%s: the bytes of %d GPUs do not fit 63 bits", option,
                        model.num_ranks));
  }
  pool.slots = slots;
  pool.bytes = Bytes(bytes);
  pool.source = options.memory ? "explicit" : "gpu";
  pool.description =
      options.memory ? "--memory " + *options.memory : "--gpu " + *options.gpu;
  if (model.num_ranks > 1) {
    pool.description += absl::StrFormat(" on each of %d GPUs", model.num_ranks);
  }
  return pool;
}

}  // namespace pagedkv::sim
