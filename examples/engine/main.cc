// SPDX-License-Identifier: Apache-2.0
// The example engine's command line: reads a model and prompts, answers them by
// continuous batching, and says what memory that took.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/engine/answers.h"
#include "examples/engine/engine.h"
#include "examples/engine/llama_model.h"
#include "examples/engine/llama_weights.h"
#include "examples/engine/mapped_file.h"
#include "examples/engine/memory_log.h"
#include "examples/engine/program_options.h"
#include "examples/engine/prompts.h"
#include "examples/engine/report.h"
#include "examples/engine/thread_pool.h"
#include "examples/engine/tokenizer.h"

namespace pagedkv::engine {
namespace {

constexpr int kExitBadInput = 2;

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
    requests.push_back({.prompt = tokenizer->Encode(
                            text, options.chat || options.special_tokens),
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
  (is_text ? std::cout << '\n' : std::cerr) << Report(
      CacheName(options.engine.cache), **engine, num_tokens, elapsed.count());
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
