// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_ANSWERS_H_
#define EXAMPLES_ENGINE_ANSWERS_H_

#include <cstdint>
#include <map>
#include <ostream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "examples/engine/engine.h"
#include "examples/engine/prompts.h"
#include "examples/engine/tokenizer.h"
#include "examples/engine/utf8.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

enum class OutputFormat : std::uint8_t { kText, kJsonl };

/// One answer, as far as it is there.
struct Answer {
  std::vector<TokenId> tokens;
  std::string text;
  Utf8Stream stream;
};

/// Keeps what the engine says, and prints it: a lone answer piece by piece, of
/// several each when it ends. With `stream`, JSON lines have a line for each
/// token as well.
class Answers : public EngineObserver {
 public:
  using Key = std::pair<std::int64_t, std::int32_t>;  // request, sample

  struct Options {
    OutputFormat format = OutputFormat::kText;
    bool stream = false;
    bool keep_logits = false;
  };
  /// `prompts`, by the number of the request, and `out` must outlive it.
  Answers(const Options& options, const Tokenizer& tokenizer,
          const std::vector<Prompt>& prompts, bool is_alone, std::ostream& out)
      : options_(options),
        tokenizer_(tokenizer),
        prompts_(prompts),
        is_alone_(is_alone),
        out_(out) {}

  void OnToken(std::int64_t request, std::int32_t sample,
               std::span<const float> logits, TokenId token) override;
  void OnEnd(std::int64_t request, std::int32_t sample,
             FinishReason reason) override;

  [[nodiscard]] const std::map<Key, Answer>& answers() const {
    return answers_;
  }
  /// Writes the logits of each answer, [tokens, vocab_size], as a safetensors
  /// file with tensors "<id>/<sample>". An error names the file.
  absl::Status WriteLogits(const std::string& path) const;

 private:
  Options options_;
  const Tokenizer& tokenizer_;
  const std::vector<Prompt>& prompts_;
  bool is_alone_;
  std::ostream& out_;
  std::map<Key, Answer> answers_;
  std::map<Key, std::vector<float>> logits_;
};

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_ANSWERS_H_
