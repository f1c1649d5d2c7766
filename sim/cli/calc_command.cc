// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calc_command.h"

#include <map>
#include <memory>
#include <string>

#include "sim/cli/calc.h"
#include "sim/cli/calc_report.h"

namespace pagedkv::sim {
namespace {

const std::map<std::string, CalcFormat>& Formats() {
  static const auto& formats =
      *new std::map<std::string, CalcFormat>{{"table", CalcFormat::kTable},
                                             {"json", CalcFormat::kJson},
                                             {"csv", CalcFormat::kCsv},
                                             {"md", CalcFormat::kMarkdown}};
  return formats;
}

}  // namespace

void AddCalcCommand(CLI::App& app, int& exit_code) {
  CLI::App* calc = app.add_subcommand(
      "calc", "Bytes of a model's KV cache, and what fits on a GPU");
  struct State {
    CalcOptions options;
    std::string format = "table";
  };
  const auto state = std::make_shared<State>();
  CalcOptions& options = state->options;

  const std::string model_group = "Model (one of --model, --config, --layers)";
  calc->add_option("--model", options.model, "A model of the catalogue")
      ->group(model_group);
  calc->add_option("--config", options.config, "A config.json of Hugging Face")
      ->group(model_group);
  CLI::Option* layers =
      calc->add_option("--layers", options.layers, "Number of layers")
          ->group(model_group);
  calc->add_option("--heads", options.heads, "Query heads")
      ->needs(layers)
      ->group(model_group);
  calc->add_option("--kv-heads", options.kv_heads, "KV heads")
      ->needs(layers)
      ->group(model_group);
  calc->add_option("--head-dim", options.head_dim, "Elements per head")
      ->needs(layers)
      ->group(model_group);

  const std::string load_group = "Load";
  calc->add_option("--seq-len", options.seq_len,
                   "Tokens per sequence (default: the model's maximum)")
      ->check(PositiveInteger())
      ->group(load_group);
  calc->add_option("--batch", options.batch, "Sequences")
      ->check(PositiveInteger())
      ->capture_default_str()
      ->group(load_group);

  const std::string storage_group = "Storage";
  calc->add_option(
          "--dtype", options.dtype,
          "fp32, fp16, bf16, fp8, fp8_e5m2, int8, int4 or int2 (default: the "
          "model's)")
      ->group(storage_group);
  calc->add_option("--value-dtype", options.value_dtype,
                   "Of V, or of a latent's rotary part, where it differs")
      ->group(storage_group);
  calc->add_option("--quant-scheme", options.quant_scheme,
                   "What shares a scale: tensor, token, channel or group "
                   "(default: tensor for fp8, token for integers)")
      ->group(storage_group);
  calc->add_option("--quant-group", options.quant_group,
                   "Elements per group, or tokens per channel's scale")
      ->check(PositiveInteger())
      ->group(storage_group);
  calc->add_option("--block-size", options.block_size, "Tokens per block")
      ->check(PositiveInteger())
      ->capture_default_str()
      ->group(storage_group);

  const std::string memory_group = "Memory";
  CLI::Option* memory =
      calc->add_option("--memory", options.memory,
                       "For KV on each GPU, such as 12GiB or 24GB")
          ->group(memory_group);
  CLI::Option* num_blocks = calc->add_option("--num-blocks", options.num_blocks,
                                             "Blocks of the pool on each GPU")
                                ->check(PositiveInteger())
                                ->excludes(memory)
                                ->group(memory_group);
  calc->add_option("--gpu", options.gpu,
                   "A GPU of the catalogue (default: all of them)")
      ->excludes(memory)
      ->excludes(num_blocks)
      ->group(memory_group);
  calc->add_option("--gpu-memory-utilization", options.gpu_memory_utilization,
                   "Share of a GPU's memory to use")
      ->excludes(memory)
      ->excludes(num_blocks)
      ->capture_default_str()
      ->group(memory_group);
  calc->add_option("--weights", options.weights,
                   "Of the whole model (default: those of the checkpoint)")
      ->excludes(memory)
      ->excludes(num_blocks)
      ->group(memory_group);
  calc->add_option("--activations", options.activations,
                   "On each GPU, with all else but weights and KV (default: 0)")
      ->excludes(memory)
      ->excludes(num_blocks)
      ->group(memory_group);
  calc->add_option("--tp", options.tensor_parallel, "Tensor-parallel ranks")
      ->check(PositiveInteger())
      ->capture_default_str()
      ->group(memory_group);
  calc->add_option("--pp", options.pipeline_parallel, "Pipeline stages")
      ->check(PositiveInteger())
      ->capture_default_str()
      ->group(memory_group);

  calc->add_option("--format", state->format, "How to print the answer")
      ->check(CLI::IsMember(Formats()))
      ->capture_default_str();

  calc->callback([state, &exit_code] {
    const absl::StatusOr<CalcResult> result = Calculate(state->options);
    if (!result.ok()) {
      exit_code = ReportBadInput(result.status());
      return;
    }
    exit_code = Print(RenderCalc(*result, Formats().at(state->format)));
  });
}

}  // namespace pagedkv::sim
