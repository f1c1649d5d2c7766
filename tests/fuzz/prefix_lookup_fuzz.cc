// SPDX-License-Identifier: Apache-2.0
//
// Input as operations on a manager with a prefix cache: whatever happens, a
// match names only blocks that hold the tokens asked for, and the invariants
// hold. Two tokens and small blocks make prefixes collide all the time.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/check.h"
#include "pagedkv/kv_cache_manager.h"
#include "tests/fuzz/fuzz_target.h"

namespace pagedkv {
namespace {

constexpr std::int32_t kBlockSize = 2;
constexpr std::size_t kMaxTokens = 48;
constexpr std::size_t kMaxLive = 6;

// The input, byte by byte; zeros after its end.
class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::uint8_t Next() {
    if (bytes_.empty()) return 0;
    const std::uint8_t byte = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return byte;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

struct Live {
  SequenceId id;
  ContentKeys keys;
  std::vector<TokenId> tokens;
};

// A manager, and what each block was last filled with.
class Machine {
 public:
  explicit Machine(std::uint8_t options)
      : manager_(*KvCacheManager::Create(
            {.pool = {.num_blocks = BlockCount(12), .prefix_caching = true},
             .groups = {{.block_size = BlockSize(kBlockSize)}},
             .max_sequence_tokens = TokenCount(kMaxTokens),
             .max_sequences = kMaxLive + 1,
             .prefix_cache = {
                 .deduplicate = (options & 1) != 0,
                 .eviction_policy = (options & 2) != 0 ? "sieve" : "lru"}})) {}

  void Step(Input& bytes) {
    const std::uint8_t operation = bytes.Next();
    switch (operation % 6) {
      case 0:
      case 1:
        Admit(bytes);
        break;
      case 2:
      case 3:
        if (!live_.empty()) Grow(Pick(bytes), bytes);
        break;
      case 4:
        if (!live_.empty()) End(bytes);
        break;
      default:
        Evict(bytes);
    }
    manager_.ClearCopies();
    PAGEDKV_CHECK(manager_.CheckInvariants().ok());
  }

 private:
  std::size_t Pick(Input& bytes) { return bytes.Next() % live_.size(); }

  static void AddTokens(std::vector<TokenId>& tokens, Input& bytes) {
    const std::uint8_t count = bytes.Next() % 9;
    for (std::uint8_t i = 0; i < count && tokens.size() < kMaxTokens; ++i) {
      tokens.push_back(bytes.Next() % 2);
    }
  }

  void Admit(Input& bytes) {
    if (live_.size() == kMaxLive) return;
    Live sequence;
    const std::uint8_t keys = bytes.Next() % 4;
    if (keys == 1) sequence.keys.adapter = "a";
    if (keys == 2) sequence.keys.salts = {{"a", TokenCount(0)}};
    if (keys == 3) sequence.keys.salts = {{"a", TokenCount(4)}};
    AddTokens(sequence.tokens, bytes);
    AddTokens(sequence.tokens, bytes);
    sequence.id = *manager_.AddSequence({.keys = sequence.keys});
    PrefixMatch match;
    PAGEDKV_CHECK(manager_.Match(sequence.id, sequence.tokens, match).ok());
    CheckMatch(sequence, match);
    const TokenCount all(static_cast<std::int64_t>(sequence.tokens.size()));
    const auto granted =
        manager_.TryAppend(sequence.id, all - match.num_tokens,
                           {.tokens = sequence.tokens, .match = &match});
    PAGEDKV_CHECK(granted.ok());
    if (!*granted) {
      PAGEDKV_CHECK(manager_.Release(sequence.id).ok());
      return;
    }
    NoteContent(sequence);
    live_.push_back(sequence);
  }

  void Grow(std::size_t index, Input& bytes) {
    Live& sequence = live_[index];
    const std::size_t before = sequence.tokens.size();
    AddTokens(sequence.tokens, bytes);
    const auto granted = manager_.TryAppend(
        sequence.id,
        TokenCount(static_cast<std::int64_t>(sequence.tokens.size() - before)),
        sequence.tokens);
    PAGEDKV_CHECK(granted.ok());
    if (!*granted) sequence.tokens.resize(before);
    NoteContent(sequence);
  }

  void End(Input& bytes) {
    const std::size_t index = Pick(bytes);
    PAGEDKV_CHECK(manager_.Release(live_[index].id).ok());
    live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void Evict(Input& bytes) {
    const BlockId block(1 + bytes.Next() % 11);
    PAGEDKV_CHECK(manager_.Evict({&block, 1}).ok());
  }

  // What the sequence has written to its blocks.
  void NoteContent(const Live& sequence) {
    const std::span<const BlockId> table = manager_.block_table(sequence.id);
    const std::size_t full = sequence.tokens.size() / kBlockSize;
    for (std::size_t i = 0; i < full; ++i) {
      content_[table[i]] = ContentAt(sequence, i);
    }
  }
  void CheckMatch(const Live& sequence, const PrefixMatch& match) {
    PAGEDKV_CHECK(match.num_tokens < TokenCount(static_cast<std::int64_t>(
                                         sequence.tokens.size() + 1)));
    for (std::size_t i = 0; i < match.blocks[0].size(); ++i) {
      PAGEDKV_CHECK(content_.at(match.blocks[0][i]) == ContentAt(sequence, i));
    }
  }
  // All that the KV of a block depends on.
  static std::vector<TokenId> ContentAt(const Live& sequence,
                                        std::size_t index) {
    std::vector<TokenId> content(
        sequence.tokens.begin(),
        sequence.tokens.begin() +
            static_cast<std::ptrdiff_t>((index + 1) * kBlockSize));
    const auto end = static_cast<std::int64_t>((index + 1) * kBlockSize);
    content.push_back(sequence.keys.adapter.empty() ? 0 : 1);
    for (const CacheSalt& salt : sequence.keys.salts) {
      if (salt.begin.value() < end) {
        content.push_back(static_cast<TokenId>(2 + salt.begin.value()));
      }
    }
    return content;
  }

  KvCacheManager manager_;
  std::vector<Live> live_;
  std::map<BlockId, std::vector<TokenId>> content_;
};

}  // namespace

std::vector<std::vector<std::uint8_t>> FuzzSeeds() {
  std::vector<std::uint8_t> seed = {0};
  for (int i = 0; i < 40; ++i) {
    for (int byte : {0, i % 4, 8, 1, 0, 1, 1, i % 2, 0, 1,     i % 3,
                     2, i % 5, 3, 1, 0, 1, 4, i % 6, 5, i % 11}) {
      seed.push_back(static_cast<std::uint8_t>(byte));
    }
  }
  std::vector<std::uint8_t> other = seed;
  other[0] = 3;
  return {seed, other};
}

}  // namespace pagedkv

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  pagedkv::Input bytes({data, size});
  pagedkv::Machine machine(bytes.Next());
  while (!bytes.empty()) machine.Step(bytes);
  return 0;
}
