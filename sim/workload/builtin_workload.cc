// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/builtin_workload.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

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
constexpr std::uint64_t kKindStream = 3;
constexpr std::int64_t kMaxRequests = 100'000'000;
constexpr TokenCount kNoLimit{std::int64_t{1} << 30};

constexpr PrefixReuse kMooncakeReuse = {
    .block = BlockSize(512),
    .continued = kMooncakeContinued,
    .continued_prompt = QuantileTable(kMooncakeContinuedPrompt),
    .reused = QuantileTable(kMooncakeReused),
    .distance = QuantileTable(kMooncakeDistance)};

constexpr std::int64_t kAzureWeekRequests =
    kAzureCode2024Requests + kAzureConv2024Requests;
constexpr OtherRequests kAzureWeekCode = {
    .share = static_cast<std::uint32_t>((kAzureCode2024Requests << 32) /
                                        kAzureWeekRequests),
    .prompt = QuantileTable(kAzureCode2024Prompt),
    .output = QuantileTable(kAzureCode2024Output)};

constexpr std::array<BuiltinWorkload, 8> kWorkloads = {{
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
    {.name = "azure-conv-2024",
     .source = "Azure LLM inference trace 2024, conversation (CC-BY 4.0): "
               "mean, median, 99th percentile, maximum and rate of a week; "
               "the quantiles between chosen to meet the means",
     .num_requests = kAzureConv2024Requests,
     .rate = 45.1,
     .prompt = QuantileTable(kAzureConv2024Prompt),
     .output = QuantileTable(kAzureConv2024Output),
     .max_total = kNoLimit,
     .reuse = nullptr},
    {.name = "azure-code-2024",
     .source = "Azure LLM inference trace 2024, code (CC-BY 4.0): mean, "
               "median, 99th percentile, maximum and rate of a week; the "
               "quantiles between chosen to meet the means",
     .num_requests = kAzureCode2024Requests,
     .rate = 27.8,
     .prompt = QuantileTable(kAzureCode2024Prompt),
     .output = QuantileTable(kAzureCode2024Output),
     .max_total = kNoLimit,
     .reuse = nullptr},
    {.name = "azure-week-2024",
     .source = "azure-conv-2024 and azure-code-2024 merged, whose weeks differ",
     .num_requests = kAzureWeekRequests,
     .rate = 72.9,
     .prompt = QuantileTable(kAzureConv2024Prompt),
     .output = QuantileTable(kAzureConv2024Output),
     .max_total = kNoLimit,
     .reuse = nullptr,
     .others = &kAzureWeekCode},
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
    if (workload.others != nullptr && (!workload.others->prompt.IsValid() ||
                                       !workload.others->output.IsValid())) {
      return false;
    }
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
      : reuse_(reuse),
        random_(seed, kReuseStream),
        kept_(3 * static_cast<std::size_t>(reuse.distance.max())) {}

  /// Completes the next request, whose own lengths are drawn.
  void Complete(TraceRequest& request) {
    // Drawn whether or not they are needed: one request never shifts the next.
    const std::int64_t choice =
        (std::int64_t{random_.Word()} * QuantileTable::kWhole) >> 32;
    const std::int32_t prompt = reuse_.continued_prompt.At(random_.Word());
    const std::int64_t reused = reuse_.reused.At(random_.Word());
    const std::int32_t distance = reuse_.distance.At(random_.Word());

    const bool goes_on = choice < reuse_.continued && !earlier_.empty();
    if (goes_on) request.prompt_tokens = prompt;
    const TokenCount tokens(request.prompt_tokens);
    const std::size_t blocks = ToSize(reuse_.block.CoveringBlocks(tokens));
    // Those that prompts can share: all but a partial last one.
    const std::size_t full = ToSize(reuse_.block.FullBlocks(tokens));
    request.block_ids.reserve(blocks);
    if (goes_on) {
      const std::size_t wanted = std::max<std::size_t>(
          1, blocks * static_cast<std::size_t>(reused) / QuantileTable::kWhole);
      const Prompt& before =
          TakeEarlier(static_cast<std::size_t>(distance), wanted);
      std::copy_n(before.full_blocks.begin(),
                  std::min({wanted, before.full_blocks.size(), full}),
                  std::back_inserter(request.block_ids));
    } else {
      request.block_ids.push_back(0);
    }
    while (request.block_ids.size() < blocks) {
      request.block_ids.push_back(next_id_++);
    }
    if (earlier_.size() == kept_) earlier_.pop_front();
    earlier_.push_back(
        {.full_blocks = {
             request.block_ids.begin(),
             request.block_ids.begin() + static_cast<std::ptrdiff_t>(full)}});
  }

 private:
  struct Prompt {
    std::vector<std::uint64_t> full_blocks;
    bool continued = false;  // a later request goes on from it
  };

  static std::size_t ToSize(BlockCount blocks) {
    return static_cast<std::size_t>(blocks.value());
  }

  /// The prompt nearest to `distance` before the next one, within half and
  /// three times of it, that has `blocks` full blocks and that none goes on
  /// from yet, as the latest turn of a conversation; else the longest such one
  /// there, else the one at the distance.
  Prompt& TakeEarlier(std::size_t distance, std::size_t blocks) {
    distance = std::clamp<std::size_t>(distance, 1, earlier_.size());
    const std::size_t start = earlier_.size() - distance;
    std::size_t best = start;
    std::size_t most = 0;
    const auto consider = [&](std::size_t at) {
      if (earlier_[at].continued || most >= blocks) return;
      if (const std::size_t full = earlier_[at].full_blocks.size();
          full > most) {
        best = at;
        most = full;
      }
    };
    for (std::size_t i = 0; i <= 2 * distance && most < blocks; ++i) {
      if (i <= distance / 2) consider(start + i);
      if (i <= start) consider(start - i);
    }
    earlier_[best].continued = true;
    return earlier_[best];
  }

  const PrefixReuse& reuse_;
  Random random_;
  std::size_t kept_;            // as many as `TakeEarlier` looks at
  std::deque<Prompt> earlier_;  // the last `kept_` ones
  std::uint64_t next_id_ = 1;   // 0 is the block that all share
};

/// Generates a workload as it is asked for.
class BuiltinSource final : public RequestSource {
 public:
  BuiltinSource(const BuiltinWorkload& workload, std::int64_t count,
                PoissonArrivals arrivals, std::uint64_t seed)
      : workload_(workload),
        count_(count),
        arrivals_(arrivals),
        lengths_(seed, kLengthStream),
        kinds_(seed, kKindStream) {
    if (workload.reuse != nullptr) prefixes_.emplace(*workload.reuse, seed);
  }

  absl::StatusOr<bool> Next(TraceRequest& request) override {
    if (next_ == count_) return false;
    const absl::StatusOr<std::int64_t> arrival_ns = arrivals_.Next();
    if (!arrival_ns.ok()) return arrival_ns.status();
    // Nothing is left of what it was before; its memory is used again.
    request.id = next_++;
    request.arrival_ns = *arrival_ns;
    request.block_ids.clear();
    request.prompt_token_ids.clear();
    request.output_block_ids.clear();
    request.follows = -1;
    request.delay_ns = 0;
    DrawLengths(request);
    if (prefixes_.has_value()) prefixes_->Complete(request);
    return true;
  }

 private:
  void DrawLengths(TraceRequest& request) {
    const QuantileTable* prompt = &workload_.prompt;
    const QuantileTable* output = &workload_.output;
    if (workload_.others != nullptr &&
        kinds_.Word() < workload_.others->share) {
      prompt = &workload_.others->prompt;
      output = &workload_.others->output;
    }
    do {
      request.prompt_tokens = prompt->At(lengths_.Word());
      request.output_tokens = output->At(lengths_.Word());
    } while (TokenCount(request.prompt_tokens) +
                 TokenCount(request.output_tokens) >
             workload_.max_total);
  }

  const BuiltinWorkload& workload_;
  std::int64_t count_;
  std::int64_t next_ = 0;
  PoissonArrivals arrivals_;
  Random lengths_;
  Random kinds_;
  std::optional<PrefixGenerator> prefixes_;
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

absl::StatusOr<std::unique_ptr<RequestSource>> BuiltinWorkload::Open(
    std::int64_t count, double rate_per_s, std::uint64_t seed) const {
  if (count < 1 || count > kMaxRequests) {
    return absl::InvalidArgumentError(
        absl::StrCat("requests: expected 1 to ", kMaxRequests, " for workload ",
                     name.data(), ", found ", count));
  }
  absl::StatusOr<PoissonArrivals> arrivals =
      PoissonArrivals::Create(rate_per_s, seed);
  if (!arrivals.ok()) return arrivals.status();
  return std::make_unique<BuiltinSource>(*this, count, *arrivals, seed);
}

absl::StatusOr<std::vector<TraceRequest>> BuiltinWorkload::Generate(
    std::int64_t count, double rate_per_s, std::uint64_t seed) const {
  const absl::StatusOr<std::unique_ptr<RequestSource>> source =
      Open(count, rate_per_s, seed);
  if (!source.ok()) return source.status();
  std::vector<TraceRequest> requests(static_cast<std::size_t>(count));
  for (TraceRequest& request : requests) {
    const absl::StatusOr<bool> more = (*source)->Next(request);
    if (!more.ok()) return more.status();
  }
  return requests;
}

}  // namespace pagedkv::sim
