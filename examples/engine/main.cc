// SPDX-License-Identifier: Apache-2.0
// The example engine's command line: reads a model and prompts, answers them by
// continuous batching, and says what memory that took.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "examples/engine/answers.h"
#include "examples/engine/engine.h"
#include "examples/engine/llama_model.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/mapped_file.h"
#include "examples/engine/memory_log.h"
#include "examples/engine/prompts.h"
#include "examples/engine/thread_pool.h"
#include "examples/engine/tokenizer.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/prefix_cache.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

constexpr int kExitBadInput = 2;

struct ProgramOptions {
  std::string model;
  std::optional<std::uint64_t> tiny;
  std::vector<std::string> prompts;
  std::optional<std::string> prompts_file;
  std::int32_t max_tokens = 64;
  std::int32_t num_samples = 1;
  bool chat = false;
  std::string system =
      "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

  EngineOptions engine;
  std::int32_t block_size = 16;
  std::int64_t num_blocks = 256;
  std::int64_t max_sequence_tokens = 1024;
  std::int64_t max_num_batched_tokens = 512;
  std::int32_t num_threads = 0;

  Answers::Options answers;
  std::optional<std::string> logits_file;
  std::optional<std::string> trace_file;
  std::optional<std::string> memory_file;
};

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
  static const Names<bool> kOnOff = {{"on", true}, {"off", false}};
  AddChoice(app, "--prefix-cache", options.engine.prefix_cache, kOnOff,
            "Prompts with the same beginning share its blocks (default: off)");
  app.get_option("--prefix-cache")->group(memory);
  app.add_option("--threads", options.num_threads,
                 "That compute; the answers do not depend on it (default: as "
                 "many as there are processors)")
      ->check(WholeNumber(1, 1024))
      ->group(memory);

  const std::string output = "Output";
  static const Names<OutputFormat> kFormats = {{"text", OutputFormat::kText},
                                               {"jsonl", OutputFormat::kJsonl}};
  AddChoice(app, "--format", options.answers.format, kFormats,
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

absl::StatusOr<std::vector<Prompt>> ReadPrompts(const ProgramOptions& options) {
  std::vector<Prompt> prompts;
  for (const std::string& text : options.prompts) {
    prompts.push_back({.id = absl::StrCat(prompts.size()),
                       .text = text,
                       .max_tokens = options.max_tokens});
  }
  if (!options.prompts_file) return prompts;
  const absl::StatusOr<std::string> text = ReadFile(*options.prompts_file);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<Prompt>> more = ParsePrompts(
      *text, *options.prompts_file, options.max_tokens, prompts.size());
  if (!more.ok()) return more.status();
  for (Prompt& prompt : *more) prompts.push_back(std::move(prompt));
  if (prompts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(*options.prompts_file, ": has no prompt"));
  }
  return prompts;
}

absl::StatusOr<LlamaWeights> LoadWeights(const ProgramOptions& options) {
  if (options.tiny) return LlamaWeights::MakeTiny(*options.tiny);
  return LlamaWeights::Load(options.model);
}

absl::StatusOr<Tokenizer> LoadTokenizer(const ProgramOptions& options) {
  if (options.tiny) return Tokenizer::Bytes();
  const std::string path = options.model + "/tokenizer.json";
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  return Tokenizer::Parse(*text, path);
}

absl::Status WriteFile(const std::string& path, std::string_view text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (out) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": cannot be written"));
}

// The requests as the simulator reads them: all there from the start, with the
// lengths that the answers had. A block of the trace is a token, so that it
// says what two requests have in common.
std::string Trace(const std::vector<EngineRequest>& requests,
                  const std::map<Answers::Key, Answer>& answers) {
  std::string trace;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const std::vector<TokenId>& prompt = requests[i].prompt;
    const std::vector<TokenId>& output =
        answers.at({static_cast<std::int64_t>(i), 0}).tokens;
    absl::StrAppendFormat(
        &trace,
        "{\"timestamp\": 0, \"input_length\": %d, \"output_length\": %d, "
        "\"block_tokens\": 1, \"hash_ids\": [%s], \"output_hash_ids\": [%s]}\n",
        prompt.size(), output.size(), absl::StrJoin(prompt, ", "),
        absl::StrJoin(output, ", "));
  }
  return trace;
}

std::string MiB(double bytes) {
  return absl::StrFormat("%.1f MiB", bytes / (1 << 20));
}

// What the run took, for people.
std::string Report(const ProgramOptions& options, const Engine& engine,
                   std::int64_t num_tokens, double seconds) {
  const MemorySummary memory = Summarize(engine.memory_log().Rows());
  const auto per_token = static_cast<double>(engine.bytes_per_token().value());
  std::string cache;
  for (const auto& [name, kind] : CacheNames()) {
    if (kind == options.engine.cache) cache = name;
  }
  std::string report = absl::StrFormat(
      "%-10s | pool %d slots of %d bytes (%s), of which it took %s\n", cache,
      engine.capacity().value(), engine.bytes_per_token().value(),
      MiB(per_token * static_cast<double>(engine.capacity().value())),
      MiB(static_cast<double>(engine.peak_cache_bytes().value())));
  const auto line = [&](std::string_view name, std::int64_t peak, double mean) {
    absl::StrAppendFormat(
        &report, "%-10s | %-22s peak %6d slots (%s), mean %8.1f (%s)\n", cache,
        name, peak, MiB(per_token * static_cast<double>(peak)), mean,
        MiB(per_token * mean));
  };
  line("held by sequences", memory.peak_held, memory.mean_held);
  line("with keys and values", memory.peak_token, memory.mean_token);
  const double unused = memory.mean_held - memory.mean_token;
  absl::StrAppendFormat(
      &report,
      "%-10s | wasted: %.1f %% of what is held, mean over %d steps (%.1f slots "
      "to be filled later, %.1f never)\n",
      cache, memory.mean_held > 0 ? 100 * unused / memory.mean_held : 0,
      memory.num_steps, unused - memory.mean_internal, memory.mean_internal);
  absl::StrAppendFormat(
      &report,
      "%-10s | %.2f requests at a time, %d preemptions, %d tokens in %.2f s "
      "(%.1f a second, %d threads)\n",
      cache, memory.mean_running, memory.num_preemptions, num_tokens, seconds,
      static_cast<double>(num_tokens) / seconds, options.num_threads);
  if (options.engine.prefix_cache) {
    const PrefixCacheMetrics metrics = engine.manager().prefix_cache_metrics();
    absl::StrAppendFormat(
        &report, "%-10s | prefix cache: %d of %d prompt tokens were there\n",
        cache, metrics.hits, metrics.queries);
  }
  return report;
}

absl::Status Serve(ProgramOptions& options) {
  absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  const absl::StatusOr<std::vector<Prompt>> prompts = ReadPrompts(options);
  if (!prompts.ok()) return prompts.status();
  const absl::StatusOr<LlamaWeights> weights = LoadWeights(options);
  if (!weights.ok()) return weights.status();
  const absl::StatusOr<Tokenizer> tokenizer = LoadTokenizer(options);
  if (!tokenizer.ok()) return tokenizer.status();
  const std::int64_t context = weights->config().max_position_embeddings;
  if (options.max_sequence_tokens > context) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--max-seq-len %d: the model was made for %d tokens",
                        options.max_sequence_tokens, context));
  }
  if (options.chat && !tokenizer->FindSpecial("<|im_start|>")) {
    return absl::InvalidArgumentError(
        "--chat: the model has no token <|im_start|>");
  }

  ThreadPool threads(options.num_threads);
  LlamaModel model(*weights,
                   static_cast<std::int32_t>(options.max_sequence_tokens),
                   threads);
  Answers answers(options.answers, *tokenizer, *prompts,
                  prompts->size() == 1 && options.num_samples == 1, std::cout);
  const absl::StatusOr<std::unique_ptr<Engine>> engine =
      Engine::Create(options.engine, model, threads, answers);
  if (!engine.ok()) return engine.status();

  std::vector<EngineRequest> requests;
  for (const Prompt& prompt : *prompts) {
    const std::string text =
        options.chat ? ChatPrompt(options.system, prompt.text) : prompt.text;
    requests.push_back({.prompt = tokenizer->Encode(text, options.chat),
                        .max_tokens = prompt.max_tokens,
                        .num_samples = options.num_samples});
    const absl::StatusOr<std::int64_t> submitted =
        (*engine)->Submit(requests.back());
    if (!submitted.ok()) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "prompt %s: %s", prompt.id, submitted.status().message()));
    }
  }
  const auto start = std::chrono::steady_clock::now();
  status = (*engine)->Run();
  if (!status.ok()) return status;
  const std::chrono::duration<double> elapsed =
      std::chrono::steady_clock::now() - start;

  std::int64_t num_tokens = 0;
  for (const auto& [key, answer] : answers.answers()) {
    num_tokens += static_cast<std::int64_t>(answer.tokens.size());
  }
  const bool is_text = options.answers.format == OutputFormat::kText;
  (is_text ? std::cout << '\n' : std::cerr)
      << Report(options, **engine, num_tokens, elapsed.count());
  if (options.trace_file) {
    status.Update(
        WriteFile(*options.trace_file, Trace(requests, answers.answers())));
  }
  if (options.memory_file) {
    status.Update(
        WriteFile(*options.memory_file,
                  MemoryCsv((*engine)->memory_log().Rows(),
                            (*engine)->capacity(), (*engine)->tail())));
  }
  if (options.logits_file) {
    status.Update(answers.WriteLogits(*options.logits_file));
  }
  if (status.ok() && !std::cout.flush()) {
    status = absl::UnavailableError("standard output cannot be written");
  }
  return status;
}

int ReportBadInput(std::string_view message) {
  std::string line(message);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; },
      ' ');
  std::cerr << "engine: " << line << '\n';
  return kExitBadInput;
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Answers prompts with a Llama, by continuous batching on pagedkv's "
      "scheduler and paged memory.",
      "engine");
  ProgramOptions options;
  AddOptions(app, options);
  try {
    app.parse(argc, argv);
    const absl::Status served = Serve(options);
    if (served.ok()) return 0;
    return ReportBadInput(std::string(served.message()));
  } catch (const CLI::ParseError& error) {
    // CLI11 reports by exceptions: help too, with code 0.
    if (error.get_exit_code() == 0) return app.exit(error);
    return ReportBadInput(error.what());
  } catch (const std::exception& error) {  // of the standard library: memory
    return ReportBadInput(error.what());
  }
}

}  // namespace
}  // namespace pagedkv::engine

int main(int argc, char** argv) { return pagedkv::engine::Main(argc, argv); }
