// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/builtin_workload.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "sim/trace/number.h"
#include "sim/workload/arrivals.h"
#include "sim/workload/builtin_tables.h"
#include "sim/workload/random.h"

namespace pagedkv::sim {
namespace {

constexpr std::uint64_t kLengthStream = 1;
constexpr std::uint64_t kReuseStream = 2;
constexpr std::int64_t kMaxRequests = 100'000'000;
constexpr TokenCount kNoLimit{std::int64_t{1} << 30};

constexpr PrefixReuse kMooncakeReuse = {
    .block = BlockSize(512),
    .continued = kMooncakeContinued,
    .continued_prompt = QuantileTable(kMooncakeContinuedPrompt),
    .reused = QuantileTable(kMooncakeReused),
    .distance = QuantileTable(kMooncakeDistance)};

constexpr std::array<BuiltinWorkload, 5> kWorkloads = {{
    {.name = "sharegpt",
     .source = "Kwon et al., SOSP 2023, Fig. 11, at the rate of Fig. 13 for "
               "one hour; shapes assumed",
     .num_requests = 7'200,
     .rate = 2.0,
     .prompt = QuantileTable(kShareGptPrompt),
     .output = QuantileTable(kShareGptOutput),
     .max_total = TokenCount(2048),
     .reuse = nullptr},
    {.name = "alpaca",
     .source = "Kwon et al., SOSP 2023, Fig. 11, at the rate of Fig. 13 for a "
               "quarter of an hour; shapes assumed",
     .num_requests = 27'000,
     .rate = 30.0,
     .prompt = QuantileTable(kAlpacaPrompt),
     .output = QuantileTable(kAlpacaOutput),
     .max_total = TokenCount(2048),
     .reuse = nullptr},
    {.name = "azure-conv-2023",
     .source = "Azure LLM inference trace 2023, conversation (CC-BY 4.0; Patel "
               "et al., ISCA 2024): quantiles",
     .num_requests = 19'366,
     .rate = 5.530,
     .prompt = QuantileTable(kAzureConvPrompt),
     .output = QuantileTable(kAzureConvOutput),
     .max_total = kNoLimit,
     .reuse = nullptr},
    {.name = "azure-code-2023",
     .source = "Azure LLM inference trace 2023, code (CC-BY 4.0; Patel et al., "
               "ISCA 2024): quantiles, some chosen to meet the means",
     .num_requests = 8'819,
     .rate = 2.566,
     .prompt = QuantileTable(kAzureCodePrompt),
     .output = QuantileTable(kAzureCodeOutput),
     .max_total = kNoLimit,
     .reuse = nullptr},
    {.name = "mooncake-conversation",
     .source = "Mooncake conversation trace (Apache-2.0; Qin et al., FAST "
               "2025): quantiles and reuse of prefixes",
     .num_requests = 12'031,
     .rate = 3.401,
     .prompt = QuantileTable(kMooncakeNewPrompt),
     .output = QuantileTable(kMooncakeOutput),
     .max_total = kNoLimit,
     .reuse = &kMooncakeReuse},
}};

constexpr bool TablesAreValid() {
  for (const BuiltinWorkload& workload : kWorkloads) {
    if (!workload.prompt.IsValid() || !workload.output.IsValid()) return false;
    if (workload.reuse == nullptr) continue;
    if (!workload.reuse->continued_prompt.IsValid() ||
        !workload.reuse->reused.IsValid() ||
        !workload.reuse->distance.IsValid()) {
      return false;
    }
  }
  return true;
}
static_assert(TablesAreValid());

/// Draws block ids, and the prompts of requests that go on from others.
class PrefixGenerator {
 public:
  PrefixGenerator(const PrefixReuse& reuse, std::uint64_t seed)
      : reuse_(reuse), random_(seed, kReuseStream) {}

  /// Completes the last of `requests`, whose own lengths are drawn.
  void Complete(std::span<TraceRequest> requests) {
    TraceRequest& request = requests.back();
    // Drawn whether or not they are needed: one request never shifts the next.
    const std::int64_t choice =
        (std::int64_t{random_.Word()} * QuantileTable::kWhole) >> 32;
    const std::int32_t prompt = reuse_.continued_prompt.At(random_.Word());
    const std::int64_t reused = reuse_.reused.At(random_.Word());
    const std::int32_t distance = reuse_.distance.At(random_.Word());

    const bool goes_on = choice < reuse_.continued && requests.size() > 1;
    if (goes_on) request.prompt_tokens = prompt;
    const std::size_t blocks =
        ToSize(reuse_.block.CoveringBlocks(TokenCount(request.prompt_tokens)));
    request.block_ids.reserve(blocks);
    if (goes_on) {
      const std::size_t wanted = std::max<std::size_t>(
          1, blocks * static_cast<std::size_t>(reused) / QuantileTable::kWhole);
      const TraceRequest& earlier =
          requests[TakeEarlier(requests.first(requests.size() - 1),
                               static_cast<std::size_t>(distance), wanted)];
      const std::size_t shared =
          std::min({wanted, FullBlocks(earlier), FullBlocks(request)});
      std::copy_n(earlier.block_ids.begin(), shared,
                  std::back_inserter(request.block_ids));
    } else {
      request.block_ids.push_back(0);
    }
    while (request.block_ids.size() < blocks) {
      request.block_ids.push_back(next_id_++);
    }
  }

 private:
  static std::size_t ToSize(BlockCount blocks) {
    return static_cast<std::size_t>(blocks.value());
  }

  /// Those that prompts can share: all but a partial last one.
  [[nodiscard]] std::size_t FullBlocks(const TraceRequest& request) const {
    return ToSize(reuse_.block.FullBlocks(TokenCount(request.prompt_tokens)));
  }

  /// The request nearest to `distance` before the end of `requests`, within
  /// half and three times of it, that has `blocks` full blocks and that none
  /// goes on from yet, as the latest turn of a conversation; else the longest
  /// such one there, else the one at the distance.
  std::size_t TakeEarlier(std::span<const TraceRequest> requests,
                          std::size_t distance, std::size_t blocks) {
    continued_.resize(requests.size());
    distance = std::clamp<std::size_t>(distance, 1, requests.size());
    const std::size_t start = requests.size() - distance;
    std::size_t best = start;
    std::size_t most = 0;
    const auto consider = [&](std::size_t at) {
      if (continued_[at] || most >= blocks) return;
      if (const std::size_t full = FullBlocks(requests[at]); full > most) {
        best = at;
        most = full;
      }
    };
    for (std::size_t i = 0; i <= 2 * distance && most < blocks; ++i) {
      if (i <= distance / 2) consider(start + i);
      if (i <= start) consider(start - i);
    }
    continued_[best] = true;
    return best;
  }

  const PrefixReuse& reuse_;
  Random random_;
  std::vector<bool> continued_;  // by an earlier request's index
  std::uint64_t next_id_ = 1;    // 0 is the block that all share
};

}  // namespace

std::span<const BuiltinWorkload> BuiltinWorkload::All() { return kWorkloads; }

absl::StatusOr<const BuiltinWorkload*> BuiltinWorkload::Find(
    std::string_view name) {
  std::string known;
  for (const BuiltinWorkload& workload : kWorkloads) {
    if (workload.name == name) return &workload;
    absl::StrAppend(&known, known.empty() ? "" : ", ", workload.name.data());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown workload ", Quote(name), "; known are ", known));
}

absl::StatusOr<std::vector<TraceRequest>> BuiltinWorkload::Generate(
    std::int64_t count, double rate_per_s, std::uint64_t seed) const {
  if (count < 1 || count > kMaxRequests) {
    return absl::InvalidArgumentError(
        absl::StrCat("requests: expected 1 to ", kMaxRequests, " for workload ",
                     name.data(), ", found ", count));
  }
  std::vector<TraceRequest> requests;
  requests.reserve(static_cast<std::size_t>(count));
  Random random(seed, kLengthStream);
  std::optional<PrefixGenerator> prefixes;
  if (reuse != nullptr) prefixes.emplace(*reuse, seed);
  for (std::int64_t id = 0; id < count; ++id) {
    TraceRequest& request = requests.emplace_back();
    request.id = id;
    do {
      request.prompt_tokens = prompt.At(random.Word());
      request.output_tokens = output.At(random.Word());
    } while (TokenCount(request.prompt_tokens) +
                 TokenCount(request.output_tokens) >
             max_total);
    if (prefixes.has_value()) prefixes->Complete(requests);
  }
  if (absl::Status set = SetPoissonArrivals(rate_per_s, seed, requests);
      !set.ok()) {
    return set;
  }
  return requests;
}

}  // namespace pagedkv::sim
