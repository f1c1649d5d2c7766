// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a whole KvCacheManager with its prefix cache on. Two
// things follow them:
//
// A naive reference (prefix_cache_reference.h), where the decisions are
// defined: after each operation tables, free order, references, keys, hits,
// refusals and evicted blocks must be equal. Not with an eviction policy, whose
// choices have their own tests, nor with partial reuse, where any block that
// agrees will do.
//
// A fake device, always: it does the copies, then writes each token of the step
// to the slot that the manager names. After each step every sequence must find
// its own tokens, under its own keys and weights, wherever it will look, and
// every cached block what it is cached as. State-space layers read their state
// before any is written. Where no reference follows, this and `CheckInvariants`
// are what holds, and, where nothing but eviction takes content away, that no
// parent is evicted before its children.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iostream>
#include <map>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_cache_manager.h"
#include "tests/block_table/prefix_cache_reference.h"
#include "tests/support/kv_cache_groups.h"

namespace pagedkv {
namespace {

constexpr std::uint64_t kSeed = 20261125;

struct Workload {
  std::string name;
  std::vector<KvCacheGroupOptions> groups;
  int num_blocks = 40;
  int max_tokens = 48;
  int operations = 25'000;
  int vocabulary = 2;
  std::int64_t max_in_flight = 0;
  double watermark = 0.0;
  bool is_exact = true;
  bool only_evictions = false;  // nothing else takes content from the cache
  PrefixCacheOptions cache = {};

  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.name;
  }
};

struct Live {
  ContentKeys keys;
  std::vector<TokenId> tokens;  // known; the first `computed` were appended
  ReferenceSequence reference;  // without tables where nothing is exact
  std::int64_t written = 0;     // tokens that the fake device holds
  int appends_in_step = 0;
  int weights = 0;
  int encoder = 0;
  bool is_encoded = false;

  [[nodiscard]] std::int64_t computed() const { return reference.computed; }
  [[nodiscard]] bool is_pending() const { return written < computed(); }
};

class PrefixCacheModelTest : public testing::TestWithParam<Workload> {
 protected:
  PrefixCacheModelTest()
      : workload_(GetParam()),
        manager_(*KvCacheManager::Create(Options(workload_))),
        reference_(ReferenceOptionsOf(workload_)),
        memory_(static_cast<std::size_t>(workload_.num_blocks)) {
    std::int64_t most = 0;
    for (const KvCacheGroupOptions& group : workload_.groups) {
      most = std::max<std::int64_t>(most, group.block_size.value());
      // Between two appends of a step, what the first is to read may go back.
      is_append_single_ |= group.kind == AttentionKind::kSlidingWindow ||
                           group.kind == AttentionKind::kChunkedLocal ||
                           group.kind == AttentionKind::kStateSpace;
      has_states_ |= group.kind == AttentionKind::kStateSpace;
      has_cross_ |= group.kind == AttentionKind::kCross;
    }
    for (std::vector<Cell>& cells : memory_) {
      cells.resize(static_cast<std::size_t>(most));
    }
  }

  // What a slot holds.
  struct Cell {
    ContentId content = 0;
    int group = -1;
    friend bool operator==(Cell, Cell) = default;
  };

  static KvCacheManagerOptions Options(const Workload& workload) {
    KvCacheManagerOptions options;
    options.pool = {.num_blocks = BlockCount(workload.num_blocks),
                    .prefix_caching = true,
                    .watermark = workload.watermark};
    options.groups = workload.groups;
    options.max_sequence_tokens = TokenCount(workload.max_tokens);
    options.max_sequences = kMaxSequences;
    options.max_in_flight_tokens = TokenCount(workload.max_in_flight);
    options.prefix_cache = workload.cache;
    options.prefix_cache.max_pinned_blocks = BlockCount(kMaxPinned);
    return options;
  }
  static ReferenceOptions ReferenceOptionsOf(const Workload& workload) {
    return {.groups = workload.groups,
            .num_blocks = workload.num_blocks,
            .watermark = workload.watermark,
            .max_tokens = workload.max_tokens,
            .max_in_flight = workload.max_in_flight,
            .unit = workload.cache.hash_block_size,
            .vllm_compatible = workload.cache.vllm_compatible,
            .deduplicate = workload.cache.deduplicate};
  }

  std::int64_t Below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n));
  }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }
  template <typename... Parts>
  void Log(const Parts&... parts) {
    std::ostringstream line;
    (line << ... << parts);
    log_.push_back(line.str());
    if (log_.size() > 40) log_.pop_front();
  }
  SequenceId AnyLive() {
    auto it = live_.begin();
    std::advance(it, Below(std::ssize(live_)));
    return it->first;
  }
  Live& Get(SequenceId id) { return live_.at(id); }

  // Content.

  ContentKeys AnyKeys() {
    ContentKeys keys;
    if (OneIn(2)) return keys;
    if (OneIn(3)) keys.adapter = OneIn(2) ? "a" : "b";
    if (OneIn(3)) keys.salts = {{OneIn(2) ? "a" : "s", TokenCount(0)}};
    if (OneIn(3)) keys.salts.push_back({"t", TokenCount(Below(12))});
    if (OneIn(3)) {
      const std::int64_t offset = Below(8);
      keys.items = {{"cat", TokenCount(offset), TokenCount(5)}};
      if (OneIn(2)) {
        keys.items.push_back({"dog", TokenCount(offset + 5), TokenCount(3)});
      }
    }
    if (OneIn(4)) {
      keys.embedding_bytes_per_token = 2;
      keys.prompt_embeddings.resize(
          static_cast<std::size_t>(2 * (1 + Below(8))));
      keys.prompt_embeddings.back() = static_cast<std::byte>(Below(2));
    }
    return keys;
  }
  void Lengthen(std::vector<TokenId>& tokens, std::int64_t length) {
    while (std::ssize(tokens) < length) {
      tokens.push_back(static_cast<TokenId>(Below(workload_.vocabulary)));
    }
  }
  // Often the beginning of something that was there before.
  void AnyContent(std::vector<TokenId>& tokens, ContentKeys& keys) {
    keys = AnyKeys();
    if (!recent_.empty() && !OneIn(4)) {
      const auto& [old_tokens, old_keys] =
          recent_[static_cast<std::size_t>(Below(std::ssize(recent_)))];
      const std::int64_t length =
          OneIn(3) ? std::ssize(old_tokens) : Below(std::ssize(old_tokens) + 1);
      tokens.assign(old_tokens.begin(), old_tokens.begin() + length);
      if (!OneIn(6)) keys = old_keys;
    }
    const std::int64_t most = workload_.max_tokens;
    Lengthen(tokens, std::min(most, std::ssize(tokens) + 1 + Below(6)));
  }
  void RefreshContents(Live& live) {
    live.reference.contents = strings_.Prefixes(
        live.tokens, live.keys, reference_.unit(), live.weights);
  }

  // Operations.

  void Add() {
    SequenceOptions options;
    Live live;
    AnyContent(live.tokens, options.keys);
    live.keys = options.keys;
    live.weights = weights_;
    options.num_prompt_tokens = TokenCount(std::ssize(live.tokens));
    options.tenant = static_cast<std::int32_t>(Below(4));
    if (has_cross_) {
      live.encoder = ++num_encoders_;
      options.num_encoder_tokens = TokenCount(Below(7));
    }
    if (OneIn(4)) {
      options.retention = {
          {.begin = TokenCount(Below(8)),
           .end = TokenCount(8 + Below(20)),
           .priority = static_cast<std::int32_t>(Below(101)),
           .duration_ns = OneIn(2) ? Below(50)
                                   : std::numeric_limits<std::int64_t>::max()}};
    }
    const auto id = manager_.AddSequence(options);
    if (std::ssize(live_) == kMaxSequences) {
      ASSERT_EQ(id.status().code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    ASSERT_TRUE(id.ok()) << id.status();
    Log("add ", *id, ", ", live.tokens.size(), " tokens");
    live.reference = reference_.Add(options.num_prompt_tokens.value(),
                                    options.num_encoder_tokens.value());
    RefreshContents(live);
    recent_.emplace_back(live.tokens, live.keys);
    if (recent_.size() > 24) recent_.pop_front();
    live_.emplace(*id, std::move(live));
  }

  void CompareHit(const PrefixMatch& match, const ReferenceHit& hit) {
    ASSERT_EQ(match.num_tokens.value(), hit.length);
    for (std::size_t g = 0; g < workload_.groups.size(); ++g) {
      ASSERT_EQ(match.blocks[g].size(), hit.tables[g].size()) << "group " << g;
      for (std::size_t i = 0; i < hit.tables[g].size(); ++i) {
        ASSERT_EQ(match.blocks[g][i].value(), hit.tables[g][i])
            << "group " << g << ", index " << i;
      }
    }
  }

  void Append() {
    const SequenceId id = AnyLive();
    Live& live = Get(id);
    if (live.appends_in_step > 0 && (is_append_single_ || OneIn(2))) EndStep();
    PrefixMatch match;
    ReferenceHit hit;
    const PrefixMatch* used = nullptr;
    if (HoldsNothing(id) && !OneIn(5)) {
      FindMatch(id, live, match, hit);
      if (HasFatalFailure()) return;
      used = &match;
      match_ever_ |= match.num_tokens > TokenCount(0);
    }
    const std::int64_t found = used == nullptr ? 0 : match.num_tokens.value();
    const std::int64_t room = workload_.max_tokens - live.computed() - found;
    std::int64_t count =
        OneIn(2) ? Below(3) : Below(std::min<std::int64_t>(room, 14) + 1);
    if (workload_.max_in_flight > 0) {
      count = std::min(count, workload_.max_in_flight);
    }
    count = std::min(count, room);
    const bool is_nothing = count == 0 && found == 0;
    const std::int64_t after = live.computed() + found + count;
    Lengthen(live.tokens, after);
    RefreshContents(live);
    AppendOptions options;
    options.match = used;
    if (OneIn(5) || is_nothing) options.lookahead = TokenCount(Below(7));
    // An append of nothing may do nothing, and that is all that is said of it.
    if (is_nothing && (after + options.lookahead.value() <= live.computed() ||
                       after == workload_.max_tokens)) {
      return;
    }
    if (OneIn(5)) options.must_fit = TokenCount(Below(workload_.max_tokens));
    if (OneIn(5)) options.keep_watermark = true;
    const std::int64_t told =
        OneIn(6) ? (OneIn(2) ? 0 : Below(after + 1)) : std::ssize(live.tokens);
    options.tokens = std::span<const TokenId>(live.tokens)
                         .first(static_cast<std::size_t>(told));
    const bool is_plain = used == nullptr && !options.keep_watermark &&
                          options.lookahead == TokenCount(0) &&
                          options.must_fit == TokenCount(0);
    const absl::StatusOr<bool> granted =
        !is_plain   ? manager_.TryAppend(id, TokenCount(count), options)
        : told == 0 ? manager_.TryAppend(id, TokenCount(count))
                    : manager_.TryAppend(id, TokenCount(count), options.tokens);
    ASSERT_TRUE(granted.ok()) << granted.status();
    Log("append ", id, " ", live.computed(), " + ", found, " found (",
        match.partial_tokens, " partial) + ", count, ", lookahead ",
        options.lookahead, ", must fit ", options.must_fit, ", watermark ",
        options.keep_watermark, ", told ", told, ": ",
        *granted ? "granted" : "refused");
    if (workload_.is_exact) {
      const bool expected =
          reference_.TryAppend(live.reference, count, options.lookahead.value(),
                               options.must_fit.value(), options.keep_watermark,
                               told, used == nullptr ? nullptr : &hit);
      ASSERT_EQ(*granted, expected);
    } else if (*granted) {
      live.reference.computed = after;
    }
    if (!*granted) return;
    if (found > 0) {
      live.written = found;
      was_shared_in_step_ = true;
    }
    if (count > 0) ++live.appends_in_step;
  }

  bool HoldsNothing(SequenceId id) const {
    for (int g = 0; g < manager_.num_groups(); ++g) {
      if (manager_.group_options(g).kind != AttentionKind::kCross &&
          !manager_.block_table(id, g).empty()) {
        return false;
      }
    }
    return true;
  }

  void FindMatch(SequenceId id, const Live& live, PrefixMatch& match,
                 ReferenceHit& hit) {
    if (live.reference.shares && OneIn(4)) {
      manager_.Match(live.tokens, live.keys, match);
    } else {
      ASSERT_TRUE(manager_.Match(id, live.tokens, match).ok());
    }
    ASSERT_LT(match.num_tokens.value(), std::ssize(live.tokens));
    if (!live.reference.shares) {
      ASSERT_EQ(match.num_tokens, TokenCount(0));
      hit.tables.resize(workload_.groups.size());
      return;
    }
    if (!workload_.is_exact) return;
    hit = reference_.Match(live.reference.contents);
    CompareHit(match, hit);
  }

  // Whether what a sequence cut to `n` tokens looks at is still there.
  bool CanCut(SequenceId id, const Live& live, std::int64_t n) {
    if (n == 0 || n == live.computed()) return true;
    for (int g = 0; g < manager_.num_groups(); ++g) {
      const KvCacheGroupOptions& group = manager_.group_options(g);
      const std::int64_t size = group.block_size.value();
      if (group.kind == AttentionKind::kCross) continue;
      for (std::int64_t p = FirstVisible(group, n); p < n; ++p) {
        if (manager_.block_table(id, g)[static_cast<std::size_t>(p / size)] ==
            kNullBlock) {
          return false;
        }
      }
      if (n % size != 0 &&
          manager_.block_table(id, g)[static_cast<std::size_t>(n / size)] ==
              kNullBlock) {
        return false;
      }
    }
    return true;
  }

  void Cut() {
    const SequenceId id = AnyLive();
    Live& live = Get(id);
    if (live.is_pending()) EndStep();
    std::int64_t n =
        OneIn(6) ? 0 : live.computed() - Below(live.computed() + 1);
    if (OneIn(2)) n = std::max(n, live.computed() - 4);
    // A state cannot be computed backwards.
    if (has_states_ && CanCut(id, live, n) && n != live.computed()) n = 0;
    const bool keep = OneIn(2);
    const bool expected = CanCut(id, live, n);
    const absl::Status status = keep ? manager_.Rewind(id, TokenCount(n))
                                     : manager_.Truncate(id, TokenCount(n));
    Log(keep ? "rewind " : "truncate ", id, " ", live.computed(), " to ", n,
        ": ", status.ok());
    if (!expected) {
      ASSERT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    ForgetTail(live, n);
    if (!workload_.is_exact) return;
    reference_.Truncate(live.reference, n, keep);
  }

  void ForgetTail(Live& live, std::int64_t n) {
    live.reference.computed = n;
    live.written = std::min(live.written, n);
    if (OneIn(2)) {
      live.tokens.resize(static_cast<std::size_t>(n));
      Lengthen(live.tokens, n + 1);
      RefreshContents(live);
    }
  }

  // A sequence loses its place in the step.
  void Retract() {
    const SequenceId id = AnyLive();
    Live& live = Get(id);
    if (was_shared_in_step_ || live.appends_in_step != 1 ||
        !live.is_pending()) {
      return;
    }
    Log("retract ", id, " ", live.computed(), " to ", live.written);
    ASSERT_TRUE(manager_.Retract(id, TokenCount(live.written)).ok());
    if (workload_.is_exact) reference_.Retract(live.reference, live.written);
    live.reference.computed = live.written;
    if (OneIn(2)) Release(id);
  }

  void Fork() {
    const SequenceId id = AnyLive();
    EndStep();
    if (HasFatalFailure()) return;
    const auto fork = manager_.Fork(id);
    if (std::ssize(live_) == kMaxSequences) {
      ASSERT_EQ(fork.status().code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    ASSERT_TRUE(fork.ok()) << fork.status();
    Log("fork ", id, " as ", *fork);
    Live child = Get(id);
    if (workload_.is_exact) {
      child.reference = reference_.Fork(child.reference);
    }
    if (OneIn(2)) {
      child.tokens.resize(static_cast<std::size_t>(child.computed()));
      Lengthen(child.tokens, child.computed() + 1);
      RefreshContents(child);
    }
    live_.emplace(*fork, std::move(child));
  }

  void ReleaseAny() {
    const SequenceId id = AnyLive();
    if (Get(id).is_pending()) EndStep();
    if (!HasFatalFailure()) Release(id);
  }
  void Release(SequenceId id) {
    Log("release ", id);
    ASSERT_TRUE(manager_.Release(id).ok());
    Live& live = Get(id);
    if (workload_.is_exact) reference_.Release(live.reference);
    recent_.emplace_back(live.tokens, live.keys);
    if (recent_.size() > 24) recent_.pop_front();
    live_.erase(id);
    pinned_.erase(id);
  }

  void Evict() {
    std::vector<BlockId> blocks;
    std::vector<int> ids;
    for (std::int64_t i = Below(4); i >= 0; --i) {
      ids.push_back(1 + static_cast<int>(Below(workload_.num_blocks - 1)));
      blocks.emplace_back(ids.back());
    }
    Log("evict ", ids.size(), " blocks from ", blocks[0]);
    ASSERT_TRUE(manager_.Evict(blocks).ok());
    if (workload_.is_exact) reference_.Evict(ids);
    const BlockId outside(workload_.num_blocks);
    ASSERT_EQ(manager_.Evict({{blocks[0], outside}}).code(),
              absl::StatusCode::kInvalidArgument);
  }

  void Reset() {
    const bool is_idle = manager_.pool().num_used() == BlockCount(0);
    Log("reset: ", is_idle);
    ASSERT_EQ(manager_.ResetPrefixCache(), is_idle);
    if (is_idle) reference_.DropAllKeys();
    if (is_idle) {
      ASSERT_EQ(manager_.num_cached_keys(), 0);
    }
  }

  void ChangeWeights() {
    EndStep();
    if (HasFatalFailure()) return;
    Log("weights change");
    manager_.InvalidatePrefixCache("weights " + std::to_string(++weights_));
    reference_.DropAllKeys();
    for (auto& [id, live] : live_) live.reference.shares = false;
    ASSERT_EQ(manager_.num_cached_keys(), 0);
  }

  void Pin() {
    Live live;
    SequenceOptions options;
    AnyContent(live.tokens, live.keys);
    options.keys = live.keys;
    live.weights = weights_;
    RefreshContents(live);
    PrefixMatch match;
    manager_.Match(live.tokens, live.keys, match);
    std::int64_t blocks = 0;
    for (const auto& table : match.blocks) {
      blocks += std::count_if(table.begin(), table.end(),
                              [](BlockId id) { return id != kNullBlock; });
    }
    const std::int64_t found =
        (match.num_tokens - match.partial_tokens).value();
    const auto id = manager_.Pin(live.tokens, options);
    Log("pin ", found, " tokens, ", blocks, " blocks: ", id.status());
    if (std::ssize(live_) == kMaxSequences ||
        (found > 0 && num_pinned() + blocks > kMaxPinned)) {
      ASSERT_EQ(id.status().code(), absl::StatusCode::kResourceExhausted);
      return;
    }
    if (found == 0) {
      ASSERT_EQ(id.status().code(), absl::StatusCode::kNotFound);
      return;
    }
    ASSERT_TRUE(id.ok()) << id.status();
    live.reference = reference_.Add(0, 0);
    RefreshContents(live);
    if (workload_.is_exact) {
      const ReferenceHit hit = reference_.Match(live.reference.contents);
      CompareHit(match, hit);
      ASSERT_TRUE(
          reference_.TryAppend(live.reference, 0, 0, 0, false, 0, &hit));
    }
    live.reference.computed = live.written = found;
    was_shared_in_step_ = true;
    live_.emplace(*id, std::move(live));
    pinned_[*id] = blocks;
  }
  [[nodiscard]] std::int64_t num_pinned() const {
    std::int64_t sum = 0;
    for (const auto& [id, blocks] : pinned_) sum += blocks;
    return sum;
  }

  void Misuse() {
    const SequenceId id = AnyLive();
    const Live& live = Get(id);
    PrefixMatch match;
    ASSERT_TRUE(manager_.Match(id, live.tokens, match).ok());
    if (match.num_tokens == TokenCount(0)) return;
    constexpr auto kFailed = absl::StatusCode::kFailedPrecondition;
    if (live.computed() > 0) {
      ASSERT_EQ(manager_.TryAppend(id, TokenCount(0), {.match = &match})
                    .status()
                    .code(),
                kFailed);
    }
    // Whatever ends may have been what the match names.
    if (std::ssize(live_) == kMaxSequences) return;
    const SequenceId passing = *manager_.AddSequence();
    ASSERT_TRUE(manager_.Release(passing).ok());
    const SequenceId late = *manager_.AddSequence();
    ASSERT_EQ(manager_.TryAppend(late, TokenCount(1), {.match = &match})
                  .status()
                  .code(),
              kFailed);
    ASSERT_EQ(manager_.num_tokens(late), TokenCount(0));
    ASSERT_TRUE(manager_.Release(late).ok());
  }

  void Hint() {
    now_ += Below(20);
    manager_.SetTime(now_);
    if (live_.empty()) return;
    PrefixMatch match;
    const SequenceId id = AnyLive();
    ASSERT_TRUE(manager_.Match(id, Get(id).tokens, match).ok());
    for (const std::vector<BlockId>& blocks : match.blocks) {
      manager_.Expect(blocks, OneIn(2));
    }
  }

  // The fake device.

  static std::int64_t FirstVisible(const KvCacheGroupOptions& group,
                                   std::int64_t position) {
    const std::int64_t window = group.window.value();
    switch (group.kind) {
      case AttentionKind::kSlidingWindow:
        return std::max<std::int64_t>(0, position - window + 1);
      case AttentionKind::kChunkedLocal:
        return position / window * window;
      case AttentionKind::kStateSpace:
        return std::max<std::int64_t>(0, position - 1);
      default:
        return 0;
    }
  }
  Cell& At(BlockId block, std::int64_t offset) {
    return memory_[static_cast<std::size_t>(block.value())]
                  [static_cast<std::size_t>(offset)];
  }
  BlockId BlockOf(SequenceId id, int g, std::int64_t position) {
    return manager_.block_table(
        id,
        g)[static_cast<std::size_t>(position / manager_.block_size(g).value())];
  }

  void EndStep() {
    Log("end of step");
    for (const BlockCopy& copy : manager_.copies()) {
      const bool is_state =
          manager_.group_options(copy.group).kind == AttentionKind::kStateSpace;
      const std::int64_t slots = is_state ? 1 : copy.num_tokens;
      for (std::int64_t i = 0; i < slots; ++i) {
        At(copy.destination, i) = At(copy.source, i);
      }
    }
    manager_.ClearCopies();
    manager_.ClearDirty();
    reference_.EndStep();
    for (int g = 0; g < manager_.num_groups(); ++g) {
      switch (manager_.group_options(g).kind) {
        case AttentionKind::kStateSpace:
          AdvanceStates(g);
          break;
        case AttentionKind::kCross:
          Encode(g);
          break;
        default:
          WriteTokens(g);
      }
      if (HasFatalFailure()) return;
    }
    for (auto& [id, live] : live_) {
      for (int g = 0; g < manager_.num_groups(); ++g) ReadBack(id, live, g);
      if (HasFatalFailure()) return;
      live.written = live.computed();
      live.appends_in_step = 0;
    }
    was_shared_in_step_ = false;
    CheckCachedContent();
  }

  void WriteTokens(int g) {
    const std::int64_t size = manager_.block_size(g).value();
    std::map<std::pair<BlockId, std::int64_t>, Cell> written;
    for (auto& [id, live] : live_) {
      const auto count =
          static_cast<std::size_t>(live.computed() - live.written);
      std::vector<std::int64_t> slots(count);
      if (count == 0) continue;
      manager_.FillSlotMapping(id, static_cast<std::int32_t>(live.written),
                               slots, g);
      for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t position =
            live.written + static_cast<std::int64_t>(i);
        const BlockId block(static_cast<std::int32_t>(slots[i] / size));
        ASSERT_EQ(block, BlockOf(id, g, position));
        ASSERT_NE(block, kNullBlock)
            << id << " has no slot for token " << position << ", group " << g;
        const Cell cell = {
            live.reference.contents[static_cast<std::size_t>(position)], g};
        const auto [it, is_new] =
            written.emplace(std::pair(block, slots[i] % size), cell);
        ASSERT_TRUE(is_new || it->second == cell)
            << block << " offset " << slots[i] % size << " gets two tokens";
        At(block, slots[i] % size) = cell;
      }
    }
  }

  void AdvanceStates(int g) {
    for (auto& [id, live] : live_) {
      if (!live.is_pending() || live.written == 0) continue;
      ExpectState(id, live, g, live.written);
      if (HasFatalFailure()) return;
    }
    for (auto& [id, live] : live_) {
      if (!live.is_pending()) continue;
      const BlockId block = BlockOf(id, g, live.computed() - 1);
      ASSERT_NE(block, kNullBlock)
          << id << " has no block for its state, group " << g;
      At(block, 0) = {
          live.reference
              .contents[static_cast<std::size_t>(live.computed() - 1)],
          g};
    }
  }
  void ExpectState(SequenceId id, const Live& live, int g, std::int64_t after) {
    const BlockId block = BlockOf(id, g, after - 1);
    ASSERT_NE(block, kNullBlock) << id << ", group " << g;
    const Cell expected = {
        live.reference.contents[static_cast<std::size_t>(after - 1)], g};
    ASSERT_EQ(At(block, 0), expected)
        << id << " finds the state after "
        << strings_.depth(At(block, 0).content) << " tokens of group "
        << At(block, 0).group << " in " << block << ", not its own after "
        << after << " of group " << g;
  }

  void Encode(int g) {
    for (auto& [id, live] : live_) {
      if (live.computed() == 0 || std::exchange(live.is_encoded, true)) {
        continue;
      }
      ASSERT_EQ(std::ssize(manager_.block_table(id, g)),
                manager_.block_size(g)
                    .CoveringBlocks(TokenCount(live.reference.num_encoder))
                    .value());
      for (std::int64_t i = 0; i < live.reference.num_encoder; ++i) {
        At(BlockOf(id, g, i), i % manager_.block_size(g).value()) = {
            -live.encoder, g};
      }
    }
  }

  void ReadBack(SequenceId id, const Live& live, int g) {
    const KvCacheGroupOptions& group = manager_.group_options(g);
    const std::int64_t size = group.block_size.value();
    if (group.kind == AttentionKind::kCross) {
      for (std::int64_t i = 0;
           live.computed() > 0 && i < live.reference.num_encoder; ++i) {
        const Cell expected = {-live.encoder, g};
        ASSERT_EQ(At(BlockOf(id, g, i), i % size), expected);
      }
      return;
    }
    if (group.kind == AttentionKind::kStateSpace) {
      if (live.computed() > 0) ExpectState(id, live, g, live.computed());
      return;
    }
    const std::int64_t first = FirstVisible(group, live.written);
    for (std::int64_t p = 0; p < live.computed(); ++p) {
      if (p < first && p >= group.num_sink_tokens.value()) continue;
      const BlockId block = BlockOf(id, g, p);
      const Cell found = At(block, p % size);
      const Cell expected = {
          live.reference.contents[static_cast<std::size_t>(p)], g};
      ASSERT_NE(block, kNullBlock) << id << ", token " << p << ", group " << g;
      ASSERT_EQ(found, expected)
          << id << " finds token " << strings_.depth(std::max(found.content, 0))
          << " of group " << found.group << " in " << block
          << ", not its own token " << p + 1 << " of group " << g;
    }
  }

  // Each cached block holds what it is cached as, whoever finds it next.
  void CheckCachedContent() {
    std::set<std::pair<ContentId, int>> cached;
    for (int i = 1; i < workload_.num_blocks; ++i) {
      const BlockId block(i);
      const auto content = manager_.cached_content(block);
      if (!content.has_value()) continue;
      const KvCacheGroupOptions& group = manager_.group_options(content->group);
      const bool is_state = group.kind == AttentionKind::kStateSpace;
      const std::int64_t slots = is_state ? 1
                                          : (content->num_tokens.value() - 1) %
                                                    group.block_size.value() +
                                                1;
      const Cell last = At(block, slots - 1);
      ASSERT_EQ(last.group, content->group) << block;
      ASSERT_EQ(strings_.depth(last.content), content->num_tokens.value())
          << block << " of group " << content->group;
      for (std::int64_t s = 1; s < slots; ++s) {
        ASSERT_EQ(At(block, s - 1).content,
                  strings_.parent(At(block, s).content))
            << block << " offset " << s;
      }
      cached.emplace(last.content, content->group);
    }
    if (workload_.only_evictions) CheckParents(cached);
  }

  void CheckParents(const std::set<std::pair<ContentId, int>>& cached) {
    for (const auto& [content, g] : cached) {
      const KvCacheGroupOptions& group = manager_.group_options(g);
      if (group.kind != AttentionKind::kFull &&
          group.kind != AttentionKind::kLatent) {
        continue;
      }
      ContentId parent = content;
      for (int i = 0; i < group.block_size.value(); ++i) {
        parent = strings_.parent(parent);
      }
      ASSERT_TRUE(parent == 0 || cached.contains({parent, g}))
          << "of group " << g << ", tokens up to " << strings_.depth(content)
          << " are cached, and those before them no more";
    }
  }

  // Comparison.

  void Compare() {
    const absl::Status invariants = manager_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
    ASSERT_EQ(manager_.num_sequences(), std::ssize(live_));
    ASSERT_EQ(manager_.num_pinned_blocks().value(), num_pinned());
    for (const auto& [id, live] : live_) {
      ASSERT_EQ(manager_.num_tokens(id).value(), live.computed()) << id;
    }
    CompareEvents();
    if (!workload_.is_exact || HasFatalFailure()) return;
    for (const auto& [id, live] : live_) {
      for (int g = 0; g < manager_.num_groups(); ++g) {
        const std::span<const BlockId> table = manager_.block_table(id, g);
        const auto& expected =
            live.reference.tables[static_cast<std::size_t>(g)];
        ASSERT_TRUE(std::equal(table.begin(), table.end(), expected.begin(),
                               expected.end(),
                               [](BlockId a, int b) { return a.value() == b; }))
            << id << ", group " << g << ": " << Text(table) << ", not "
            << testing::PrintToString(expected);
      }
    }
    const std::vector<BlockId> free = manager_.pool().FreeBlocks();
    ASSERT_TRUE(std::equal(free.begin(), free.end(), reference_.free().begin(),
                           reference_.free().end(),
                           [](BlockId a, int b) { return a.value() == b; }))
        << "free: " << Text(free) << ", not "
        << testing::PrintToString(reference_.free());
    ASSERT_EQ(manager_.num_cached_keys(), reference_.num_keys());
    for (int i = 1; i < workload_.num_blocks; ++i) {
      const auto content = manager_.cached_content(BlockId(i));
      const auto [group, num_tokens] = reference_.content(i);
      ASSERT_EQ(content.has_value() ? content->group : -1, group)
          << "block " << i;
      ASSERT_EQ(content.has_value() ? content->num_tokens.value() : 0,
                num_tokens)
          << "block " << i;
      ASSERT_EQ(manager_.pool().ref_count(BlockId(i)), reference_.ref(i));
    }
  }

  void CompareEvents() {
    const KvEventBatch batch = manager_.TakeEvents();
    const std::vector<int> expected = reference_.TakeEvicted();
    if (!workload_.cache.events || !workload_.is_exact) return;
    std::vector<int> evicted;
    for (const KvEvent& event : batch.events) {
      const auto* removed = std::get_if<BlocksRemoved>(&event);
      if (removed == nullptr || removed->reason != RemovalReason::kCapacity) {
        continue;
      }
      ASSERT_EQ(removed->blocks.size(), 1u);
      const int block = removed->blocks[0].value();
      // One event for each key of a block.
      if (evicted.empty() || evicted.back() != block) evicted.push_back(block);
    }
    ASSERT_EQ(evicted, expected);
  }

  static std::string Text(std::span<const BlockId> blocks) {
    std::vector<int> ids;
    for (const BlockId block : blocks) ids.push_back(block.value());
    return testing::PrintToString(ids);
  }

  void Run(int operation) {
    if (operation == 0 || live_.empty()) return Add();
    switch (operation) {
      case 1:
        return Append();
      case 2:
        return EndStep();
      case 3:
        return ReleaseAny();
      case 4:
        return Fork();
      case 5:
        return Retract();
      case 6:
        return Pin();
      case 7:
        return Misuse();
      case 8:
        return Hint();
      case 9:
        return Reset();
      case 10:
        return workload_.only_evictions ? EndStep() : Cut();
      case 11:
        return workload_.only_evictions ? EndStep() : Evict();
      default:
        return workload_.only_evictions ? EndStep() : ChangeWeights();
    }
  }

  static constexpr std::int64_t kMaxSequences = 10;
  static constexpr std::int64_t kMaxPinned = 6;

  Workload workload_;
  std::mt19937_64 random_{kSeed};
  KvCacheManager manager_;
  ReferenceManager reference_;
  ContentStrings strings_;
  std::map<SequenceId, Live> live_;
  std::map<SequenceId, std::int64_t> pinned_;  // blocks
  std::deque<std::pair<std::vector<TokenId>, ContentKeys>> recent_;
  std::vector<std::vector<Cell>> memory_;  // [blocks][slots]
  std::deque<std::string> log_;
  bool is_append_single_ = false;
  bool has_states_ = false;
  bool has_cross_ = false;
  bool was_shared_in_step_ = false;  // a match was adopted
  bool match_ever_ = false;
  int weights_ = 0;
  int num_encoders_ = 0;
  std::int64_t now_ = -1000;
};

TEST_P(PrefixCacheModelTest, NobodyIsHandedABlockOfOtherContent) {
  std::discrete_distribution<int> operations;
  for (int i = 0; i < workload_.operations; ++i) {
    if (i % 500 == 0) {
      // In the order of `Run`.
      std::vector<double> weights = {2.5, 12,  4,    2.5, 0.8, 1,   0.5,
                                     0.3, 0.3, 0.05, 1.2, 0.3, 0.04};
      for (double& weight : weights) {
        weight *= std::uniform_real_distribution<>(0.2, 1.0)(random_);
      }
      operations = {weights.begin(), weights.end()};
    }
    Run(operations(random_));
    if (!HasFatalFailure()) Compare();
    if (HasFatalFailure()) {
      std::cout << "seed " << kSeed << ", operation " << i << ", the last:\n";
      for (const std::string& line : log_) std::cout << "  " << line << '\n';
      return;
    }
  }
  EndStep();
  while (!live_.empty() && !HasFatalFailure()) Release(live_.begin()->first);
  EXPECT_EQ(manager_.pool().num_used(), BlockCount(0));
  EXPECT_TRUE(manager_.ResetPrefixCache());
  const absl::Status invariants = manager_.CheckInvariants();
  EXPECT_TRUE(invariants.ok()) << invariants;
  EXPECT_TRUE(match_ever_);
}

std::string Named(const testing::TestParamInfo<Workload>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Groups, PrefixCacheModelTest,
    testing::Values(
        Workload{.name = "Full", .groups = {Full(2)}, .num_blocks = 48},
        Workload{.name = "FullOfOneToken",
                 .groups = {Full(1)},
                 .num_blocks = 64,
                 .max_tokens = 24},
        Workload{.name = "FullOfThreeTokens",
                 .groups = {Full(3)},
                 .num_blocks = 24,
                 .watermark = 0.1},
        Workload{.name = "FullInUnitsOfTwo",
                 .groups = {Full(4)},
                 .num_blocks = 24,
                 .cache = {.hash_block_size = 2}},
        Workload{.name = "Latent", .groups = {Latent(4)}, .num_blocks = 24},
        Workload{.name = "SlidingOnly", .groups = {Sliding(2, 5)}},
        Workload{.name = "SlidingInFlight",
                 .groups = {Sliding(2, 7)},
                 .num_blocks = 24,
                 .max_in_flight = 6,
                 .watermark = 0.1},
        Workload{.name = "SlidingWithSinks", .groups = {Sliding(2, 5, 3)}},
        Workload{.name = "TwoSliding",
                 .groups = {Sliding(2, 4), Sliding(2, 9)}},
        Workload{.name = "FullAndSliding",
                 .groups = {Full(2), Sliding(2, 5)},
                 .num_blocks = 56},
        Workload{.name = "FullAndSlidingOfOtherSize",
                 .groups = {Full(4), Sliding(2, 6)},
                 .num_blocks = 48,
                 .max_in_flight = 8},
        Workload{.name = "FullAndMaskedSliding",
                 .groups = {Full(8), Sliding(2, 4)},
                 .num_blocks = 48},
        Workload{.name = "SlidingAndLargerFull",
                 .groups = {Sliding(4, 6, 2), Full(6)},
                 .num_blocks = 48},
        Workload{.name = "SlidingFullSliding",
                 .groups = {Sliding(2, 4), Full(4), Sliding(4, 10)},
                 .num_blocks = 64},
        Workload{.name = "EqualGroups",
                 .groups = {Full(2), Full(2), Sliding(2, 3), Sliding(2, 3)},
                 .num_blocks = 64},
        Workload{.name = "FullAndLatent",
                 .groups = {Full(4), Latent(6)},
                 .num_blocks = 48}),
    Named);

INSTANTIATE_TEST_SUITE_P(
    OtherKinds, PrefixCacheModelTest,
    testing::Values(
        // Where nothing keeps all, a hit may end in blocks that nobody has, at
        // a depth that only the index knows.
        Workload{
            .name = "Chunked", .groups = {Chunked(2, 8)}, .is_exact = false},
        Workload{.name = "ChunkedAndFull",
                 .groups = {Chunked(2, 6), Full(2)},
                 .num_blocks = 56},
        Workload{.name = "ChunkedAndLargerFull",
                 .groups = {Chunked(2, 6), Full(4)},
                 .num_blocks = 56,
                 .max_in_flight = 8},
        Workload{.name = "ChunksThatDivideBlocks",
                 .groups = {Full(4), Chunked(4, 6)},
                 .num_blocks = 48,
                 .max_in_flight = 8},
        Workload{.name = "FullAndState",
                 .groups = {Full(2), State(4)},
                 .num_blocks = 56},
        Workload{.name = "StateOnly", .groups = {State(3)}, .num_blocks = 24},
        Workload{.name = "StateAndLargerFull",
                 .groups = {State(2), Full(4), Sliding(2, 5)},
                 .num_blocks = 64},
        Workload{.name = "FullAndCross",
                 .groups = {Full(2), Cross(4)},
                 .num_blocks = 56},
        Workload{.name = "CrossAndFull",
                 .groups = {Cross(4), Full(2)},
                 .num_blocks = 56}),
    Named);

INSTANTIATE_TEST_SUITE_P(
    Switches, PrefixCacheModelTest,
    testing::Values(
        Workload{.name = "AsUpstream",
                 .groups = {Full(2)},
                 .cache = {.vllm_compatible = true}},
        Workload{.name = "AsUpstreamWithTails",
                 .groups = {Full(8), Sliding(2, 6)},
                 .num_blocks = 48,
                 .cache = {.vllm_compatible = true}},
        Workload{.name = "AsUpstreamWithTailsOfTwo",
                 .groups = {Full(4), Full(6)},
                 .num_blocks = 48,
                 .cache = {.hash_block_size = 1, .vllm_compatible = true}},
        Workload{.name = "Events",
                 .groups = {Full(4), Sliding(2, 6)},
                 .num_blocks = 48,
                 .cache = {.content_hash =
                               ContentHashOptions{
                                   .algorithm = BlockHashAlgorithm::kXxh3Cbor},
                           .events = true,
                           .vllm_compatible = true}},
        Workload{.name = "Deduplicated",
                 .groups = {Full(2)},
                 .cache = {.deduplicate = true}},
        Workload{.name = "DeduplicatedInGroups",
                 .groups = {Sliding(2, 5), Full(4)},
                 .num_blocks = 56,
                 .cache = {.deduplicate = true}},
        Workload{.name = "DeduplicatedStates",
                 .groups = {State(2), Full(2)},
                 .num_blocks = 56,
                 .cache = {.deduplicate = true}},
        Workload{.name = "PartialReuse",
                 .groups = {Full(4)},
                 .num_blocks = 24,
                 .is_exact = false,
                 .cache = {.partial_block_reuse = true}},
        Workload{.name = "PartialReuseDeduplicated",
                 .groups = {Latent(6)},
                 .num_blocks = 24,
                 .vocabulary = 3,
                 .is_exact = false,
                 .cache = {.deduplicate = true, .partial_block_reuse = true}},
        Workload{.name = "EveryEdgeCollides",
                 .groups = {Full(2), Sliding(2, 5)},
                 .num_blocks = 56,
                 .vocabulary = 3,
                 .cache = {.edge_hash_mask = 0}},
        Workload{.name = "ManyEdgesCollide",
                 .groups = {Full(2)},
                 .num_blocks = 56,
                 .vocabulary = 3,
                 .cache = {.edge_hash_mask = 3}}),
    Named);

std::vector<Workload> Policies() {
  std::vector<Workload> workloads;
  for (const std::string& policy : EvictionPolicyNames()) {
    std::string name = policy;
    std::erase(name, '-');
    PrefixCacheOptions cache;
    cache.eviction_policy = policy;
    if (policy == "lru") {  // any but the pool's own order
      cache.tenant_quotas = {{1, BlockCount(4), BlockCount(12)},
                             {2, BlockCount(0), BlockCount(6)}};
      name = "Tenants";
    }
    workloads.push_back({.name = name,
                         .groups = {Full(2)},
                         .num_blocks = 32,
                         .operations = 15'000,
                         .is_exact = false,
                         .only_evictions = true,
                         .cache = cache});
    cache.vllm_compatible = true;
    workloads.push_back({.name = name + "InGroups",
                         .groups = {Sliding(2, 5), Full(8), State(4)},
                         .num_blocks = 48,
                         .operations = 15'000,
                         .is_exact = false,
                         .cache = cache});
    workloads.push_back({.name = name + "BranchesInGroups",
                         .groups = {Full(4), Sliding(2, 5)},
                         .num_blocks = 40,
                         .operations = 15'000,
                         .is_exact = false,
                         .only_evictions = true,
                         .cache = cache});
  }
  Workload queue = {.name = "PoolOrder",
                    .groups = {Full(2)},
                    .num_blocks = 32,
                    .is_exact = false,
                    .only_evictions = true};
  workloads.push_back(queue);
  return workloads;
}

INSTANTIATE_TEST_SUITE_P(Policies, PrefixCacheModelTest,
                         testing::ValuesIn(Policies()), Named);

}  // namespace
}  // namespace pagedkv
