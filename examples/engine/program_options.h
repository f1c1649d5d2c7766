// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_PROGRAM_OPTIONS_H_
#define EXAMPLES_ENGINE_PROGRAM_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "examples/engine/answers.h"
#include "examples/engine/engine.h"

namespace pagedkv::engine {

/// The command line.
struct ProgramOptions {
  std::string model;
  std::optional<std::uint64_t> tiny;
  std::vector<std::string> prompts;
  std::optional<std::string> prompts_file;
  std::int32_t max_tokens = 64;
  std::int32_t num_samples = 1;
  bool chat = false;
  bool special_tokens = false;
  std::string system =
      "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

  EngineOptions engine;
  std::int32_t block_size = 16;
  std::int64_t num_blocks = 256;
  bool preemption_by_swap = false;
  std::optional<std::int64_t> num_swap_blocks;
  std::string kv_dtype = "fp32";
  std::int64_t max_sequence_tokens = 1024;
  std::int64_t max_num_batched_tokens = 512;
  std::int32_t num_threads = 0;

  Answers::Options answers;
  std::optional<std::string> logits_file;
  std::optional<std::string> trace_file;
  std::optional<std::string> memory_file;
};

/// Adds the options to `app`, which fills `options` when it parses.
void AddOptions(CLI::App& app, ProgramOptions& options);
/// After parsing: what options say together, and what follows from them.
/// InvalidArgument, naming the option.
absl::Status CheckOptions(ProgramOptions& options);

/// As on the command line.
[[nodiscard]] std::string_view CacheName(CacheKind kind);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_PROGRAM_OPTIONS_H_
