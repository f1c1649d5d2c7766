// SPDX-License-Identifier: Apache-2.0
#include "sim/study/catalogue_match.h"

#include <algorithm>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

#include "sim/catalogue/model_catalogue.h"
#include "sim/clock/roofline.h"

namespace pagedkv::sim {
namespace {

/// Lower case, in words.
std::vector<std::string> WordsOf(std::string_view text) {
  return absl::StrSplit(absl::AsciiStrToLower(std::string(text)),
                        absl::ByAnyChar("- _/"), absl::SkipEmpty());
}

bool HasAllWords(const std::vector<std::string>& words,
                 const std::vector<std::string>& wanted) {
  return std::all_of(
      wanted.begin(), wanted.end(), [&](const std::string& word) {
        return absl::EndsWith(word, "gb") ||
               std::find(words.begin(), words.end(), word) != words.end();
      });
}

}  // namespace

std::optional<ModelSpec> MatchModel(std::string_view name) {
  std::string base = absl::AsciiStrToLower(
      std::string(name.substr(name.find_last_of('/') + 1)));
  for (;;) {
    absl::StatusOr<ModelSpec> model = FindModel(base);
    if (model.ok()) return *std::move(model);
    const std::size_t last = base.find_last_of('-');
    if (last == std::string::npos) return std::nullopt;
    const std::string suffix = base.substr(last + 1);
    const std::vector<std::string> tuned = {"instruct", "chat", "hf",  "it",
                                            "base",     "pt",   "v0.1"};
    if (std::find(tuned.begin(), tuned.end(), suffix) == tuned.end()) {
      return std::nullopt;
    }
    base.resize(last);
  }
}

std::optional<GpuSpec> MatchGpu(std::string_view device_name, Bytes memory) {
  const absl::StatusOr<std::vector<GpuSpec>> known = KnownGpus();
  if (!known.ok()) return std::nullopt;
  const std::vector<std::string> words = WordsOf(device_name);
  std::optional<GpuSpec> best;
  const auto distance = [&](const GpuSpec& gpu) {
    return std::max(gpu.memory, memory) - std::min(gpu.memory, memory);
  };
  for (const GpuSpec& gpu : *known) {
    if (!HasAllWords(words, WordsOf(gpu.name))) continue;
    if (!best || distance(gpu) < distance(*best)) best = gpu;
  }
  return best;
}

std::optional<StepTime> MatchingRoofline(const HardwareNames& names) {
  const std::optional<ModelSpec> model = MatchModel(names.model);
  const std::optional<GpuSpec> gpu = MatchGpu(names.gpu, names.gpu_memory);
  if (!model || !gpu) return std::nullopt;
  RooflineOptions options;
  options.tensor_parallel = names.tensor_parallel;
  options.pipeline_parallel = names.pipeline_parallel;
  absl::StatusOr<StepTime> time = Roofline(*model, *gpu, options);
  if (!time.ok()) return std::nullopt;
  return *std::move(time);
}

}  // namespace pagedkv::sim
