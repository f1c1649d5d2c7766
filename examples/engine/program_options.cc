// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/program_options.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "examples/engine/answers.h"
#include "examples/engine/engine.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

template <typename Value>
using Names = std::map<std::string, Value>;

const Names<CacheKind>& CacheNames() {
  static const Names<CacheKind> names = {{"paged", CacheKind::kPaged},
                                         {"contiguous", CacheKind::kContiguous},
                                         {"concat", CacheKind::kConcat}};
  return names;
}

// An option whose value is one of `names`.
template <typename Value>
void AddChoice(CLI::App& app, const std::string& option, Value& value,
               const Names<Value>& names, const std::string& help) {
  std::vector<std::string> known;
  for (const auto& [name, unused] : names) known.push_back(name);
  app.add_option_function<std::string>(
         option,
         [&value, &names](const std::string& name) { value = names.at(name); },
         help)
      ->check(CLI::Validator(
          [known](std::string& text) {
            if (std::find(known.begin(), known.end(), text) != known.end()) {
              return std::string();
            }
            return absl::StrFormat("'%s' is none of %s", text,
                                   absl::StrJoin(known, ", "));
          },
          absl::StrJoin(known, "|")));
}

CLI::Validator WholeNumber(std::int64_t min, std::int64_t max) {
  return CLI::Validator(
      [=](std::string& text) -> std::string {
        std::int64_t value = 0;
        if (absl::SimpleAtoi(text, &value) && value >= min && value <= max) {
          return "";
        }
        return absl::StrFormat("'%s' is no whole number from %d to %d", text,
                               min, max);
      },
      "INT");
}

}  // namespace

void AddOptions(CLI::App& app, ProgramOptions& options) {
  constexpr std::int64_t kMaxTokens = 1 << 24;
  const std::string model = "Model (one of --model, --tiny)";
  app.add_option("--model", options.model,
                 "A folder with model.safetensors, config.json and "
                 "tokenizer.json, as make_weights.py makes one")
      ->group(model);
  app.add_option("--tiny", options.tiny,
                 "A tiny model that was not trained, from this seed; its "
                 "tokens are bytes")
      ->check(WholeNumber(0, INT64_MAX))
      ->group(model);

  const std::string prompts = "Prompts (of --prompt and --prompts)";
  app.add_option("--prompt", options.prompts, "May be repeated")
      ->group(prompts);
  app.add_option("--prompts", options.prompts_file,
                 "A file of JSON lines: {\"prompt\": TEXT, \"max_tokens\": N, "
                 "\"id\": ID}")
      ->group(prompts);
  app.add_option("--max-tokens", options.max_tokens,
                 "Of each answer, where a prompt does not say (default: 64)")
      ->check(WholeNumber(1, kMaxTokens))
      ->group(prompts);
  app.add_flag("--chat", options.chat,
               "Each prompt is a message to a model that was trained to chat")
      ->group(prompts);
  app.add_option("--system", options.system,
                 "With --chat: what stands before each message")
      ->group(prompts);
  app.add_flag("--special-tokens", options.special_tokens,
               "Names such as <|im_end|> in a prompt stand for the tokens, as "
               "always with --chat")
      ->group(prompts);
  app.add_flag("--ignore-eos", options.engine.ignore_eos,
               "Go on to --max-tokens")
      ->group(prompts);
  app.add_option("--samples", options.num_samples,
                 "Answers to each prompt (default: 1)")
      ->check(WholeNumber(1, 1024))
      ->group(prompts);
  app.add_option("--temperature", options.engine.temperature,
                 "0 takes the most likely token (default: 0)")
      ->check(CLI::Range(0.0, 100.0))
      ->group(prompts);
  app.add_option("--seed", options.engine.seed, "Of what is drawn")
      ->check(WholeNumber(0, INT64_MAX))
      ->group(prompts);

  const std::string memory = "Memory and scheduling";
  AddChoice(app, "--cache", options.engine.cache, CacheNames(),
            "Where keys and values lie (default: paged)");
  app.get_option("--cache")->group(memory);
  app.add_option("--block-size", options.block_size,
                 "Tokens in a block (default: 16)")
      ->check(WholeNumber(1, 256))
      ->group(memory);
  app.add_option("--num-blocks", options.num_blocks,
                 "Of the pool, the null block included; every cache gets their "
                 "slots (default: 256)")
      ->check(WholeNumber(2, 1 << 24))
      ->group(memory);
  app.add_option("--max-seq-len", options.max_sequence_tokens,
                 "Tokens of the longest prompt with its answer, and of each "
                 "arena of a contiguous cache (default: 1024)")
      ->check(WholeNumber(2, kMaxTokens))
      ->group(memory);
  app.add_option("--max-num-seqs", options.engine.max_num_seqs,
                 "Sequences in a step (default: 16)")
      ->check(WholeNumber(1, 1024))
      ->group(memory);
  app.add_option("--max-num-batched-tokens", options.max_num_batched_tokens,
                 "Tokens in a step (default: 512)")
      ->check(WholeNumber(1, kMaxTokens))
      ->group(memory);
  app.add_option("--kv-dtype", options.kv_dtype,
                 "Of keys and values in paged memory: fp32, fp16, bf16, fp8, "
                 "int8, int4 or int2, and others that pagedkv sim knows "
                 "(default: fp32)")
      ->group(memory);
  static const Names<bool> modes = {{"recompute", false}, {"swap", true}};
  AddChoice(app, "--preemption", options.preemption_by_swap, modes,
            "What becomes of a sequence that loses its blocks (default: "
            "recompute)");
  app.get_option("--preemption")->group(memory);
  app.add_option("--num-swap-blocks", options.num_swap_blocks,
                 "With --preemption swap: of the swap space (default: as "
                 "--num-blocks)")
      ->check(WholeNumber(1, 1 << 24))
      ->group(memory);
  static const Names<ReuseHygiene> hygienes = {
      {"leave", ReuseHygiene::kLeave},
      {"zero", ReuseHygiene::kZero},
      {"poison", ReuseHygiene::kPoison}};
  AddChoice(app, "--reuse", options.engine.paged.hygiene, hygienes,
            "What becomes of a block's bytes when another sequence gets it "
            "(default: leave)");
  app.get_option("--reuse")->group(memory);
  app.add_flag("--check-slots", options.engine.paged.check_slots,
               "Stop where a slot is read that was not written")
      ->group(memory);
  static const Names<bool> on_off = {{"on", true}, {"off", false}};
  AddChoice(app, "--prefix-cache", options.engine.prefix_cache, on_off,
            "Prompts with the same beginning share its blocks (default: off)");
  app.get_option("--prefix-cache")->group(memory);
  app.add_flag("--partial-block-reuse", options.engine.partial_block_reuse,
               "With --prefix-cache on: also of prompts that differ within a "
               "block")
      ->group(memory);
  app.add_option("--threads", options.num_threads,
                 "That compute; the answers do not depend on it (default: as "
                 "many as there are processors)")
      ->check(WholeNumber(1, 1024))
      ->group(memory);

  const std::string output = "Output";
  static const Names<OutputFormat> formats = {{"text", OutputFormat::kText},
                                              {"jsonl", OutputFormat::kJsonl}};
  AddChoice(app, "--format", options.answers.format, formats,
            "Of the answers (default: text)");
  app.get_option("--format")->group(output);
  app.add_flag("--stream", options.answers.stream,
               "With --format jsonl: a line for each token, too")
      ->group(output);
  app.add_option("--logits", options.logits_file,
                 "A safetensors file for the logits of all tokens answered")
      ->group(output);
  app.add_option("--write-trace", options.trace_file,
                 "A file for the requests, which pagedkv sim --trace reads")
      ->group(output);
  app.add_option("--memory-csv", options.memory_file,
                 "A file for what the slots of the pool were, step by step")
      ->group(output);
}

absl::Status CheckOptions(ProgramOptions& options) {
  if (options.model.empty() == !options.tiny.has_value()) {
    return absl::InvalidArgumentError("give one of --model and --tiny");
  }
  if (options.prompts.empty() && !options.prompts_file) {
    return absl::InvalidArgumentError("give --prompt TEXT or --prompts FILE");
  }
  if (options.trace_file && options.num_samples > 1) {
    return absl::InvalidArgumentError(
        "--write-trace: a trace cannot say --samples");
  }
  EngineOptions& engine = options.engine;
  if (options.num_swap_blocks && !options.preemption_by_swap) {
    return absl::InvalidArgumentError(
        "--num-swap-blocks: needs --preemption swap");
  }
  if (options.preemption_by_swap) {
    engine.num_swap_blocks =
        BlockCount(options.num_swap_blocks.value_or(options.num_blocks));
  }
  const absl::StatusOr<KvDtype> dtype = ParseKvDtype(options.kv_dtype);
  if (!dtype.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-dtype: ", dtype.status().message()));
  }
  engine.kv_dtype = *dtype;
  if (engine.partial_block_reuse && !engine.prefix_cache) {
    return absl::InvalidArgumentError(
        "--partial-block-reuse: needs --prefix-cache on");
  }
  engine.block_size = BlockSize(options.block_size);
  engine.num_blocks = BlockCount(options.num_blocks);
  engine.max_sequence_tokens = TokenCount(options.max_sequence_tokens);
  engine.max_num_batched_tokens = TokenCount(options.max_num_batched_tokens);
  options.answers.keep_logits = options.logits_file.has_value();
  if (options.num_threads == 0) {
    options.num_threads =
        std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  return absl::OkStatus();
}

std::string_view CacheName(CacheKind kind) {
  for (const auto& [name, named] : CacheNames()) {
    if (named == kind) return name;
  }
  return "";
}

}  // namespace pagedkv::engine
