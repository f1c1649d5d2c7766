// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/sim_plan.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

#include "pagedkv/kv_geometry.h"
#include "pagedkv/types.h"
#include "sim/catalogue/gpu_catalogue.h"
#include "sim/catalogue/model_catalogue.h"
#include "sim/catalogue/model_config.h"
#include "sim/cli/units.h"
#include "sim/report/decimal.h"

namespace pagedkv::sim {
namespace {

absl::Status Error(const std::string& message) {
  return absl::InvalidArgumentError(message);
}

/// `status` with the option that it is about in front.
absl::Status InOption(std::string_view option, const absl::Status& status) {
  return absl::Status(
      status.code(),
      absl::StrFormat("%s: %s", option, std::string(status.message())));
}

/// Options of which some may not be given together, or only with others.
struct Given {
  std::string_view name;
  bool given;
};

std::vector<std::string_view> NamesGiven(std::initializer_list<Given> options) {
  std::vector<std::string_view> names;
  for (const Given& option : options) {
    if (option.given) names.push_back(option.name);
  }
  return names;
}

/// An error for the first option that is given.
absl::Status Refuse(std::initializer_list<Given> options,
                    std::string_view reason) {
  const std::vector<std::string_view> names = NamesGiven(options);
  if (names.empty()) return absl::OkStatus();
  return Error(absl::StrFormat("%s %s", names.front(), reason));
}

absl::Status AtMostOne(std::initializer_list<Given> options) {
  const std::vector<std::string_view> names = NamesGiven(options);
  if (names.size() <= 1) return absl::OkStatus();
  return Error(absl::StrFormat("%s and %s contradict each other: give one",
                               names[0], names[1]));
}

/// Limits of counts from the command line: far beyond any sensible one, and
/// small enough that sums and products of a few stay within 63 bits.
constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;

/// With it, 10^8 steps stay within 63 bits of nanoseconds.
constexpr std::int64_t kMaxStepNs = 60'000'000'000;

absl::Status CheckRange(std::string_view option, std::int64_t value,
                        std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return Error(absl::StrFormat("%s must be from %d to %s", option, least,
                               Grouped(most)));
}

absl::Status CheckCounts(const SimOptions& options) {
  const struct {
    std::string_view option;
    std::optional<std::int64_t> value;
    std::int64_t most;
  } counts[] = {
      {"--requests", options.requests, kMaxCount},
      {"--kv-bytes-per-token", options.kv_bytes_per_token, kMaxCount},
      {"--max-seq-len", options.max_seq_len, kMaxSequenceTokens.value()},
      {"--num-blocks", options.num_blocks, kMaxCount},
      {"--block-size", options.block_size, kMaxSequenceTokens.value()},
      {"--max-num-seqs", options.max_num_seqs, kMaxCount},
      {"--max-num-batched-tokens", options.max_num_batched_tokens, kMaxCount},
  };
  for (const auto& [option, value, most] : counts) {
    if (!value) continue;
    absl::Status status = CheckRange(option, *value, 1, most);
    if (!status.ok()) return status;
  }
  return CheckRange("--seed", options.seed, 0, kMaxCount);
}

absl::StatusOr<std::vector<Policy>> ParsePolicies(const std::string& list) {
  std::vector<Policy> policies;
  for (const auto piece : absl::StrSplit(list, ',')) {
    const std::string id(piece);
    absl::StatusOr<Policy> policy = Policy::Parse(id);
    if (!policy.ok()) return InOption("--policies", policy.status());
    if (std::find(policies.begin(), policies.end(), *policy) !=
        policies.end()) {
      return Error(
          absl::StrFormat("--policies: '%s' is given more than once", id));
    }
    policies.push_back(*policy);
  }
  return policies;
}

absl::StatusOr<WorkloadOptions> PlanWorkload(const SimOptions& options) {
  if (options.trace.has_value() == options.workload.has_value()) {
    return Error("give either --trace FILE or --workload NAME");
  }
  if (!options.trace) {
    absl::Status refused = Refuse({{"--skip-malformed", options.skip_malformed},
                                   {"--strict", options.strict},
                                   {"--sort", options.sort}},
                                  "is for a --trace");
    if (!refused.ok()) return refused;
  }
  if (options.rate && !(std::isfinite(*options.rate) && *options.rate > 0)) {
    return Error("--rate must be a positive number of requests per second");
  }
  WorkloadOptions workload;
  workload.trace = options.trace.value_or("");
  workload.workload = options.workload.value_or("");
  workload.requests = options.requests.value_or(0);
  workload.rate = options.rate.value_or(0);
  workload.seed = static_cast<std::uint64_t>(options.seed);
  workload.skip_malformed = options.skip_malformed;
  workload.strict = options.strict;
  workload.sort = options.sort;
  return workload;
}

/// Clock, limits and watermark; pool and length come later.
absl::StatusOr<SimulationOptions> PlanSimulation(
    const SimOptions& options, const std::vector<Policy>& policies) {
  SimulationOptions simulation;
  simulation.demand = options.demand;
  simulation.saturate = options.saturate;
  if (options.clock == "iteration") {
    simulation.clock = ClockKind::kIteration;
    absl::Status refused =
        Refuse({{"--step-time", options.step_time.has_value()}},
               "needs --clock fixed: the iteration clock counts steps");
    if (!refused.ok()) return refused;
  } else if (options.clock == "fixed") {
    simulation.clock = ClockKind::kFixed;
    if (!options.step_time) {
      return Error("--clock fixed needs --step-time, for example 20ms");
    }
    const absl::StatusOr<std::int64_t> step_ns =
        ParseDurationNs(*options.step_time);
    if (!step_ns.ok()) return InOption("--step-time", step_ns.status());
    if (*step_ns < 1 || *step_ns > kMaxStepNs) {
      return Error("--step-time must be from 1ns to 1min");
    }
    simulation.step_ns = *step_ns;
  } else if (options.clock == "model") {
    return Error("--clock model is not available yet: use iteration or fixed");
  } else {
    return Error(absl::StrFormat("unknown --clock '%s': use iteration or fixed",
                                 options.clock));
  }
  const bool saturated =
      options.saturate || simulation.clock == ClockKind::kIteration;
  if (saturated && options.demand) {
    return Error(
        "--demand needs arrival times: give --clock fixed with --step-time, "
        "and no --saturate");
  }
  if (saturated && options.rate) {
    return Error(
        "--rate sets arrival times, which --saturate and --clock iteration "
        "ignore: give --clock fixed with --step-time");
  }
  if (options.demand) {
    absl::Status refused =
        Refuse({{"--max-num-seqs", options.max_num_seqs.has_value()},
                {"--max-num-batched-tokens",
                 options.max_num_batched_tokens.has_value()},
                {"--watermark", options.watermark.has_value()},
                {"--window saturated", options.window == "saturated"}},
               "contradicts --demand, where no request ever waits");
    if (!refused.ok()) return refused;
  }
  if (options.max_num_seqs) {
    simulation.max_num_seqs = *options.max_num_seqs;
  }
  if (options.max_num_batched_tokens) {
    simulation.max_num_batched_tokens =
        TokenCount(*options.max_num_batched_tokens);
  }
  if (options.watermark) {
    if (!(*options.watermark >= 0 && *options.watermark < 1)) {
      return Error("--watermark must be a share from 0 to below 1");
    }
    if (std::none_of(policies.begin(), policies.end(), [](const Policy& each) {
          return each.kind == PolicyKind::kPaged;
        })) {
      return Error("--watermark needs a paged policy in --policies");
    }
    simulation.watermark = *options.watermark;
  }
  if (options.prefix_cache == "on") {
    return Error("--prefix-cache on is not available yet: use off");
  }
  if (options.prefix_cache != "off") {
    return Error(absl::StrFormat("unknown --prefix-cache '%s': use on or off",
                                 options.prefix_cache));
  }
  return simulation;
}

absl::StatusOr<Weight> ParseWeight(const std::string& text) {
  for (const Weight weight : {Weight::kTime, Weight::kIteration}) {
    if (text == WeightName(weight)) return weight;
  }
  return Error(
      absl::StrFormat("unknown --weight '%s': use time or iteration", text));
}

absl::StatusOr<WindowKind> ParseWindow(const std::string& text) {
  for (const WindowKind window :
       {WindowKind::kAll, WindowKind::kBusy, WindowKind::kSaturated}) {
    if (text == WindowName(window)) return window;
  }
  return Error(absl::StrFormat(
      "unknown --window '%s': use all, busy or saturated", text));
}

/// The model with the memory that its cache takes.
struct ModelPlan {
  ReportModel report;
  /// What each rank of each pipeline stage holds; empty if only the bytes per
  /// token are known, or not even they.
  std::vector<KvGeometry> stages;
  std::int64_t num_ranks = 1;
  Bytes weights{0};  ///< of the whole model; 0: not known
};

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
    std::optional<KvFormat> format;
    if (options.dtype) {
      const absl::StatusOr<KvDtype> dtype = ParseKvDtype(*options.dtype);
      if (!dtype.ok()) return InOption("--dtype", dtype.status());
      format = KvFormat::For(*dtype);
    }
    const absl::StatusOr<KvGeometry> geometry =
        spec.Geometry(block_size, format);
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
      return Error(
          absl::StrFormat("model %s stores no KV per token", spec.name));
    }
    plan.report.name = spec.name;
    plan.report.kv_bytes_per_token = bytes_per_token;
    plan.report.max_sequence_tokens = spec.max_seq_len;
    plan.report.max_is_models_own = true;
    plan.stages = *std::move(stages);
    plan.num_ranks = std::int64_t{tensor_parallel} * pipeline_parallel;
    plan.weights = spec.weights;
  }
  if (options.max_seq_len) {
    plan.report.max_sequence_tokens = TokenCount(*options.max_seq_len);
    plan.report.max_is_models_own = false;
  }
  if (plan.report.max_sequence_tokens.value() == 0) {
    return Error(
        "give --max-seq-len, or a --model or --config that states its "
        "context length");
  }
  return plan;
}

/// Slots of `budget` bytes on each rank.
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
    return Error(absl::StrFormat(
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
    return Error(absl::StrFormat(
        "--gpu %s: model %s leaves no memory for KV: weights take %s of %s "
        "GiB on each of %d GPUs (--tp or --pp spread it over more)",
        gpu->name, model.report.name, FormatGib(memory.weights),
        FormatGib(memory.total), model.num_ranks));
  }
  return budget;
}

absl::StatusOr<ReportPool> PlanPool(const SimOptions& options,
                                    const ModelPlan& model,
                                    BlockSize block_size) {
  const std::initializer_list<Given> ways = {
      {"--memory", options.memory.has_value()},
      {"--num-blocks", options.num_blocks.has_value()},
      {"--gpu", options.gpu.has_value()},
      {"--demand", options.demand}};
  absl::Status status = AtMostOne(ways);
  if (!status.ok()) return status;
  if (NamesGiven(ways).empty()) {
    return Error(
        "give the pool by --memory SIZE, --num-blocks N, --gpu NAME or "
        "--demand");
  }
  if (!options.gpu) {
    status = Refuse({{"--gpu-memory-utilization",
                      options.gpu_memory_utilization.has_value()},
                     {"--weights", options.weights.has_value()},
                     {"--activations", options.activations.has_value()}},
                    "needs --gpu");
    if (!status.ok()) return status;
  }
  if (!options.num_blocks) {
    status = Refuse({{"--block-size", options.block_size.has_value()}},
                    "needs --num-blocks: policies name their own");
    if (!status.ok()) return status;
  }
  ReportPool pool;
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
      return Error(
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
    return Error(
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
    return Error(absl::StrFormat(
        "%s: the %s B on each GPU hold no token (%s B in all)", option,
        Grouped(budget->value()), Grouped(token_bytes->value())));
  }
  if (__builtin_mul_overflow(budget->value(), model.num_ranks, &bytes)) {
    return Error(absl::StrFormat("%s: the bytes of %d GPUs do not fit 63 bits",
                                 option, model.num_ranks));
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

/// The block size that --num-blocks counts in, and that scales shared between
/// tokens are laid out for.
absl::StatusOr<BlockSize> PoolBlockSize(const SimOptions& options,
                                        const std::vector<Policy>& policies) {
  if (options.block_size) {
    return BlockSize(*options.block_size);
  }
  for (const Policy& policy : policies) {
    if (policy.kind == PolicyKind::kPaged) return policy.block_size;
  }
  return Policy().block_size;
}

}  // namespace

absl::StatusOr<SimPlan> MakeSimPlan(const SimOptions& options) {
  if (absl::Status status = CheckCounts(options); !status.ok()) return status;
  SimPlan plan;
  absl::StatusOr<std::vector<Policy>> policies =
      ParsePolicies(options.policies);
  if (!policies.ok()) return policies.status();
  plan.policies = *std::move(policies);

  absl::StatusOr<WorkloadOptions> workload = PlanWorkload(options);
  if (!workload.ok()) return workload.status();
  plan.workload = *std::move(workload);

  absl::StatusOr<SimulationOptions> simulation =
      PlanSimulation(options, plan.policies);
  if (!simulation.ok()) return simulation.status();
  plan.simulation = *std::move(simulation);

  const absl::StatusOr<Weight> weight = ParseWeight(options.weight);
  if (!weight.ok()) return weight.status();
  plan.weight = *weight;
  const bool saturated = plan.simulation.saturate ||
                         plan.simulation.clock == ClockKind::kIteration;
  plan.window = saturated ? WindowKind::kSaturated : WindowKind::kBusy;
  if (options.window) {
    const absl::StatusOr<WindowKind> window = ParseWindow(*options.window);
    if (!window.ok()) return window.status();
    plan.window = *window;
  }

  const absl::StatusOr<BlockSize> block_size =
      PoolBlockSize(options, plan.policies);
  if (!block_size.ok()) return block_size.status();
  absl::StatusOr<ModelPlan> model = PlanModel(options, *block_size);
  if (!model.ok()) return model.status();
  absl::StatusOr<ReportPool> pool = PlanPool(options, *model, *block_size);
  if (!pool.ok()) return pool.status();
  plan.model = std::move(model->report);
  plan.pool = *std::move(pool);
  plan.simulation.max_sequence_tokens = plan.model.max_sequence_tokens;
  plan.simulation.capacity = plan.pool.slots.value_or(TokenCount(0));
  plan.workload.max_sequence_tokens = plan.model.max_sequence_tokens.value();
  return plan;
}

}  // namespace pagedkv::sim
