// SPDX-License-Identifier: Apache-2.0
#include "sim/study/paper_study.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

#include "sim/study/option_checks.h"
#include "sim/study/paper_topics.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kMaxSeeds = 1000;
constexpr std::int64_t kMaxRequests = 1'000'000;

struct Topic {
  const char* name;
  PaperChecks (*check)(const PaperOptions& options);
};

/// In the order of the paper, then what others published.
constexpr Topic kTopics[] = {
    {"fig2", CheckBatches},
    {"bytes", CheckBytesPerToken},
    {"fig3", CheckFig3},
    {"walkthroughs", CheckWalkthroughs},
    {"table1", CheckTable1},
    {"fig11", CheckMeanLengths},
    {"parallel", CheckParallelSampling},
    {"beam", CheckBeamSearch},
    {"block-size", CheckBlockSizes},
    {"closed-form", CheckClosedForms},
    {"hybrid", CheckHybridWaste},
};

absl::StatusOr<std::vector<Topic>> FindTopics(const std::string& only) {
  if (only.empty()) {
    return std::vector<Topic>(std::begin(kTopics), std::end(kTopics));
  }
  std::vector<Topic> topics;
  for (const auto piece : absl::StrSplit(only, ',')) {
    const std::string name(piece);
    const auto* const found = std::find_if(
        std::begin(kTopics), std::end(kTopics),
        [&name](const Topic& topic) { return topic.name == name; });
    if (found == std::end(kTopics)) {
      return OptionError(absl::StrFormat("unknown --only '%s': use %s", name,
                                         PaperTopicNames()));
    }
    topics.push_back(*found);
  }
  return topics;
}

}  // namespace

std::string PaperTopicNames() {
  std::string names;
  for (const Topic& topic : kTopics) {
    if (!names.empty()) names += ", ";
    names += topic.name;
  }
  return names;
}

absl::StatusOr<std::vector<PaperCheck>> RunPaperStudy(
    const PaperOptions& options) {
  absl::Status status = CheckRange("--seeds", options.seeds, 1, kMaxSeeds);
  if (!status.ok()) return status;
  status = CheckRange("--requests", options.requests, 0, kMaxRequests);
  if (!status.ok()) return status;
  const absl::StatusOr<std::vector<Topic>> topics = FindTopics(options.only);
  if (!topics.ok()) return topics.status();
  std::vector<PaperCheck> checks;
  for (const Topic& topic : *topics) {
    PaperChecks found = topic.check(options);
    if (!found.ok()) return found.status();
    std::move(found->begin(), found->end(), std::back_inserter(checks));
  }
  return checks;
}

}  // namespace pagedkv::sim
