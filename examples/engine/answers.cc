// SPDX-License-Identifier: Apache-2.0
#include "examples/engine/answers.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "examples/engine/safetensors.h"
#include "nlohmann/json.hpp"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

using nlohmann::ordered_json;

void Answers::OnToken(std::int64_t request, std::int32_t sample,
                      std::span<const float> logits, TokenId token) {
  const Key key(request, sample);
  Answer& answer = answers_[key];
  answer.tokens.push_back(token);
  const std::string piece = answer.stream.Append(tokenizer_.Decode(token));
  answer.text += piece;
  if (options_.keep_logits) {
    std::vector<float>& kept = logits_[key];
    kept.insert(kept.end(), logits.begin(), logits.end());
  }
  if (options_.format == OutputFormat::kText) {
    if (is_alone_) out_ << piece << std::flush;
  } else if (options_.stream) {
    out_ << ordered_json(
                {{"id", prompts_[static_cast<std::size_t>(request)].id},
                 {"sample", sample},
                 {"token", token},
                 {"piece", piece}})
                .dump()
         << '\n'
         << std::flush;
  }
}

void Answers::OnEnd(std::int64_t request, std::int32_t sample,
                    FinishReason reason) {
  Answer& answer = answers_[Key(request, sample)];
  const std::string rest = answer.stream.Finish();
  answer.text += rest;
  const Prompt& prompt = prompts_[static_cast<std::size_t>(request)];
  if (options_.format == OutputFormat::kJsonl) {
    out_ << ordered_json({{"id", prompt.id},
                          {"sample", sample},
                          {"text", answer.text},
                          {"tokens", answer.tokens},
                          {"finish_reason",
                           reason == FinishReason::kStop ? "stop" : "length"}})
                .dump()
         << '\n'
         << std::flush;
  } else if (is_alone_) {
    out_ << rest << '\n' << std::flush;
  } else {
    out_ << '[' << prompt.id;
    if (sample > 0) out_ << '/' << sample;
    out_ << "] " << answer.text << '\n' << std::flush;
  }
}

absl::Status Answers::WriteLogits(const std::string& path) const {
  std::map<std::string, FloatTensor> tensors;
  for (const auto& [key, logits] : logits_) {
    const auto num_tokens =
        static_cast<std::int64_t>(answers_.at(key).tokens.size());
    tensors[absl::StrCat(prompts_[static_cast<std::size_t>(key.first)].id, "/",
                         key.second)] = {
        .shape = {num_tokens,
                  static_cast<std::int64_t>(logits.size()) / num_tokens},
        .values = logits};
  }
  return WriteSafetensors(path, tensors);
}

}  // namespace pagedkv::engine
