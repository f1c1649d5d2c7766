// SPDX-License-Identifier: Apache-2.0
#ifndef TESTS_BLOCK_TABLE_PREFIX_CACHE_REFERENCE_H_
#define TESTS_BLOCK_TABLE_PREFIX_CACHE_REFERENCE_H_

/// A KvCacheManager as one would write it who cares for nothing but the rules:
/// lists, maps and loops over everything. The rules are those of vLLM's v1
/// manager, and for what it lacks (forks, sinks, deduplication) those of the
/// header. Shares no code with what it is compared with.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "pagedkv/block_hash.h"
#include "pagedkv/kv_cache_group.h"
#include "pagedkv/types.h"

namespace pagedkv {

/// Names a token together with all tokens and keys before it. 0: nothing.
using ContentId = std::int32_t;

/// Numbers each distinct string of tokens with keys, by comparing all of it.
class ContentStrings {
 public:
  /// The strings of `tokens`, one for each prefix. Keys count from the start of
  /// the unit that they touch.
  std::vector<ContentId> Prefixes(const std::vector<TokenId>& tokens,
                                  const ContentKeys& keys, std::int64_t unit,
                                  int weights) {
    std::vector<ContentId> prefixes;
    ContentId before = 0;
    int key = 0;
    for (std::int64_t i = 0; i < std::ssize(tokens); ++i) {
      if (i % unit == 0) {
        key = KeyOf(std::to_string(weights) + KeyText(keys, i, i + unit));
      }
      const auto next = static_cast<ContentId>(strings_.size() + 1);
      before = strings_
                   .try_emplace(
                       {before, tokens[static_cast<std::size_t>(i)], key}, next)
                   .first->second;
      if (before == next) {
        parents_.resize(static_cast<std::size_t>(next) + 1);
        depths_.resize(static_cast<std::size_t>(next) + 1);
        const ContentId parent = prefixes.empty() ? 0 : prefixes.back();
        parents_[static_cast<std::size_t>(next)] = parent;
        depths_[static_cast<std::size_t>(next)] =
            depths_[static_cast<std::size_t>(parent)] + 1;
      }
      prefixes.push_back(before);
    }
    return prefixes;
  }
  [[nodiscard]] ContentId parent(ContentId id) const {
    return parents_[static_cast<std::size_t>(id)];
  }
  [[nodiscard]] std::int64_t depth(ContentId id) const {
    return depths_[static_cast<std::size_t>(id)];
  }

 private:
  static std::string KeyText(const ContentKeys& keys, std::int64_t begin,
                             std::int64_t end) {
    std::string text = keys.adapter.empty() ? "" : "adapter " + keys.adapter;
    for (const MultimodalItem& item : keys.items) {
      const std::int64_t first = item.offset.value();
      const std::int64_t last = first + item.length.value();
      if (std::max(first, begin) >= std::min(last, end)) continue;
      text += "; item " + item.identifier + '@' + std::to_string(first - begin);
    }
    for (const CacheSalt& salt : keys.salts) {
      if (salt.salt.empty() || salt.begin.value() < begin ||
          salt.begin.value() >= end) {
        continue;
      }
      text += "; salt " + salt.salt;
    }
    if (!keys.prompt_embeddings.empty()) {
      text += "; embeddings ";
      const std::size_t width = keys.embedding_bytes_per_token;
      for (std::size_t i = static_cast<std::size_t>(begin) * width;
           i < std::min(static_cast<std::size_t>(end) * width,
                        keys.prompt_embeddings.size());
           ++i) {
        text += std::to_string(static_cast<int>(keys.prompt_embeddings[i]));
        text += ' ';
      }
    }
    return text;
  }
  int KeyOf(const std::string& text) {
    return keys_.try_emplace(text, static_cast<int>(keys_.size()))
        .first->second;
  }

  std::map<std::tuple<ContentId, TokenId, int>, ContentId> strings_;
  std::map<std::string, int> keys_;
  std::vector<ContentId> parents_ = {0};
  std::vector<std::int64_t> depths_ = {0};
};

struct ReferenceSequence {
  std::vector<ContentId> contents;  // of all tokens that are known
  std::int64_t computed = 0;        // appended, that is
  std::int64_t num_prompt = 0;
  std::int64_t num_encoder = 0;
  std::int64_t registered = 0;
  bool shares = true;  // not after the weights changed
  std::vector<std::vector<int>> tables;
};

struct ReferenceHit {
  std::int64_t length = 0;
  std::vector<std::vector<int>> tables;
};

struct ReferenceOptions {
  std::vector<KvCacheGroupOptions> groups;
  int num_blocks = 0;
  double watermark = 0.0;
  std::int64_t max_tokens = 0;
  std::int64_t max_in_flight = 0;
  std::int64_t unit = 0;  // 0: the greatest common divisor
  bool vllm_compatible = false;
  bool deduplicate = false;
};

class ReferenceManager {
 public:
  explicit ReferenceManager(ReferenceOptions options)
      : options_(std::move(options)),
        blocks_(static_cast<std::size_t>(options_.num_blocks)) {
    for (int i = 1; i < options_.num_blocks; ++i) free_.push_back(i);
    for (const KvCacheGroupOptions& group : options_.groups) {
      if (group.kind == AttentionKind::kCross) continue;
      alignment_ = std::lcm(alignment_, Size(group));
      gcd_ = std::gcd(gcd_, Size(group));
    }
    unit_ = options_.unit == 0 ? gcd_ : options_.unit;
  }

  [[nodiscard]] std::int64_t unit() const { return unit_; }
  [[nodiscard]] std::int64_t alignment() const { return alignment_; }
  [[nodiscard]] const std::list<int>& free() const { return free_; }
  [[nodiscard]] int ref(int block) const { return At(block).ref; }
  [[nodiscard]] std::int64_t num_keys() const { return std::ssize(cached_); }
  [[nodiscard]] bool is_idle() const {
    return std::ssize(free_) == options_.num_blocks - 1;
  }
  /// Group and tokens that the block's first key covers; {-1, 0}: none.
  [[nodiscard]] std::pair<int, std::int64_t> content(int block) const {
    const Block& it = At(block);
    if (it.keys.empty()) return {-1, 0};
    return {it.keys[0].group, it.keys[0].num_tokens};
  }
  /// Blocks that lost their keys for want of room, since the last call.
  std::vector<int> TakeEvicted() { return std::exchange(evicted_, {}); }

  ReferenceSequence Add(std::int64_t num_prompt, std::int64_t num_encoder) {
    ReferenceSequence sequence;
    sequence.num_prompt = num_prompt;
    sequence.num_encoder = num_encoder;
    sequence.tables.resize(options_.groups.size());
    return sequence;
  }

  /// The longest length, but for the last token, that each group could serve.
  [[nodiscard]] ReferenceHit Match(
      const std::vector<ContentId>& contents) const {
    ReferenceHit hit;
    hit.tables.resize(options_.groups.size());
    std::int64_t length = std::ssize(contents) - 1;
    for (length -= length % alignment_; length > 0; length -= alignment_) {
      bool all = true;
      for (std::size_t g = 0; g < options_.groups.size() && all; ++g) {
        all = TableOfHit(g, contents, length, hit.tables[g]);
      }
      if (all) break;
    }
    hit.length = std::max<std::int64_t>(length, 0);
    if (hit.length == 0) {
      for (std::vector<int>& table : hit.tables) table.clear();
    }
    return hit;
  }

  bool TryAppend(ReferenceSequence& sequence, std::int64_t count,
                 std::int64_t lookahead, std::int64_t must_fit,
                 bool keep_watermark, std::int64_t told,
                 const ReferenceHit* hit) {
    if (hit != nullptr && hit->length == 0) hit = nullptr;
    const std::int64_t before =
        sequence.computed + (hit != nullptr ? hit->length : 0);
    const std::int64_t after = before + count;
    const std::int64_t covered =
        std::min(after + lookahead, options_.max_tokens);
    const auto withheld = keep_watermark
                              ? static_cast<std::int64_t>(options_.watermark *
                                                          options_.num_blocks)
                              : 0;
    must_fit = std::min(must_fit, options_.max_tokens);
    if (must_fit > 0 &&
        Needed(sequence, before, must_fit, must_fit, hit, true) + withheld >
            std::ssize(free_)) {
      return false;
    }
    ReleaseSkipped(sequence, before);
    if (Needed(sequence, before, after, covered, hit, false) + withheld >
        std::ssize(free_)) {
      return false;
    }
    if (covered == sequence.computed) return true;
    if (hit != nullptr) {
      for (std::size_t g = 0; g < options_.groups.size(); ++g) {
        if (IsCross(g)) continue;
        sequence.tables[g] = hit->tables[g];
        const std::int64_t skipped = Skipped(g, before);
        for (std::int64_t i = Sinks(g);
             i < std::min(skipped, std::ssize(sequence.tables[g])); ++i) {
          sequence.tables[g][static_cast<std::size_t>(i)] = 0;
        }
        for (int block : sequence.tables[g]) Touch(block);
      }
      sequence.registered = hit->length;
    }
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      Cover(sequence, g, before, after, covered);
    }
    sequence.computed = after;
    Register(sequence, before, told);
    return true;
  }

  void Truncate(ReferenceSequence& sequence, std::int64_t num_tokens,
                bool keep_blocks = false) {
    sequence.computed = num_tokens;
    sequence.registered =
        std::min(sequence.registered, num_tokens / alignment_ * alignment_);
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      if (IsCross(g)) continue;
      std::vector<int>& table = sequence.tables[g];
      const std::int64_t first =
          std::min(num_tokens / Size(g), std::ssize(table));
      // A null block cannot be kept for what is to be written there.
      if (keep_blocks &&
          std::count(table.begin() + first, table.end(), 0) == 0) {
        continue;
      }
      Shrink(table, Covering(g, num_tokens));
    }
  }
  void Retract(ReferenceSequence& sequence, std::int64_t num_tokens) {
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      if (IsCross(g)) continue;
      const std::vector<int>& table = sequence.tables[g];
      for (std::int64_t i = num_tokens / Size(g); i < std::ssize(table); ++i) {
        DropKeys(table[static_cast<std::size_t>(i)]);
      }
    }
    Truncate(sequence, num_tokens);
  }
  ReferenceSequence Fork(const ReferenceSequence& parent) {
    ReferenceSequence child = parent;
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      std::vector<int>& table = child.tables[g];
      if (!IsCross(g)) {
        table.resize(static_cast<std::size_t>(
            std::min(std::ssize(table), Covering(g, parent.computed))));
      }
      for (int block : table) Touch(block);
    }
    return child;
  }
  void Release(ReferenceSequence& sequence) {
    for (std::vector<int>& table : sequence.tables) Shrink(table, 0);
  }
  void Evict(const std::vector<int>& blocks) {
    for (int block : blocks) DropKeys(block);
  }
  void EndStep() { ++step_; }
  void DropAllKeys() {
    for (int i = 1; i < options_.num_blocks; ++i) DropKeys(i);
  }

 private:
  struct Key {
    ContentId content = 0;
    int group = 0;
    std::int64_t num_tokens = 0;
    [[nodiscard]] std::pair<ContentId, int> name() const {
      return {content, group};
    }
  };
  struct Block {
    int ref = 0;
    std::vector<Key> keys;  // the first is the primary one
    // When it was cached, and how long its sequence was before.
    std::int64_t step = -1;
    std::int64_t computed = 0;
  };

  static std::int64_t Size(const KvCacheGroupOptions& group) {
    return group.block_size.value();
  }
  [[nodiscard]] std::int64_t Size(std::size_t g) const {
    return Size(options_.groups[g]);
  }
  [[nodiscard]] AttentionKind Kind(std::size_t g) const {
    return options_.groups[g].kind;
  }
  [[nodiscard]] bool IsCross(std::size_t g) const {
    return Kind(g) == AttentionKind::kCross;
  }
  [[nodiscard]] std::int64_t Window(std::size_t g) const {
    return options_.groups[g].window.value();
  }
  [[nodiscard]] static std::int64_t RoundUp(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
  }
  [[nodiscard]] std::int64_t Covering(std::size_t g,
                                      std::int64_t tokens) const {
    return RoundUp(tokens, Size(g));
  }
  [[nodiscard]] std::int64_t Sinks(std::size_t g) const {
    return Covering(g, options_.groups[g].num_sink_tokens.value());
  }
  Block& At(int block) { return blocks_[static_cast<std::size_t>(block)]; }
  [[nodiscard]] const Block& At(int block) const {
    return blocks_[static_cast<std::size_t>(block)];
  }

  // The first token that a token at `position` looks at.
  [[nodiscard]] std::int64_t FirstVisible(std::size_t g,
                                          std::int64_t position) const {
    switch (Kind(g)) {
      case AttentionKind::kSlidingWindow:
        return std::max<std::int64_t>(0, position - Window(g) + 1);
      case AttentionKind::kChunkedLocal:
        return position - position % Window(g);
      case AttentionKind::kStateSpace:
        return std::max<std::int64_t>(0, position - 1);
      default:
        return 0;
    }
  }
  [[nodiscard]] std::int64_t Skipped(std::size_t g,
                                     std::int64_t computed) const {
    return FirstVisible(g, computed) / Size(g);
  }

  bool TableOfHit(std::size_t g, const std::vector<ContentId>& contents,
                  std::int64_t length, std::vector<int>& table) const {
    table.clear();
    if (IsCross(g)) return true;
    const std::int64_t end = length / Size(g);
    std::int64_t first = Skipped(g, length);
    // As upstream, which looks for one cached block at least.
    if (Kind(g) == AttentionKind::kSlidingWindow) {
      first = std::min(first, end - 1);
    }
    for (std::int64_t i = 0; i < end; ++i) {
      table.push_back(0);
      if (i < first && i >= Sinks(g)) continue;
      const ContentId content =
          contents[static_cast<std::size_t>((i + 1) * Size(g) - 1)];
      const auto found = cached_.find({content, static_cast<int>(g)});
      if (found == cached_.end()) return false;
      table.back() = found->second.front();
      // The states of this step are written when those that it reads were read.
      if (Kind(g) == AttentionKind::kStateSpace &&
          At(table.back()).step == step_) {
        return false;
      }
    }
    return true;
  }

  // What it takes at most to get to `tokens`, in steps of `max_in_flight`.
  [[nodiscard]] std::int64_t Most(std::size_t g, std::int64_t tokens) const {
    const std::int64_t all = Covering(g, tokens);
    const std::int64_t flying = options_.max_in_flight;
    if (Kind(g) == AttentionKind::kStateSpace) {
      return std::min<std::int64_t>(all, 2);
    }
    if (flying == 0) return all;
    if (Kind(g) == AttentionKind::kSlidingWindow) {
      return std::min(all, Covering(g, std::min(Window(g) - 1 + flying,
                                                options_.max_tokens)) +
                               1 + Sinks(g));
    }
    if (Kind(g) == AttentionKind::kChunkedLocal) {
      return std::min(
          all, Covering(g, std::min(Window(g) + flying, options_.max_tokens)) +
                   (Window(g) % Size(g) != 0 ? 1 : 0));
    }
    return all;
  }

  [[nodiscard]] std::int64_t Needed(const ReferenceSequence& sequence,
                                    std::int64_t before, std::int64_t after,
                                    std::int64_t covered,
                                    const ReferenceHit* hit,
                                    bool is_admission) const {
    std::int64_t needed = 0;
    if (covered <= sequence.computed) return 0;
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      const std::vector<int>& table = sequence.tables[g];
      std::int64_t present = std::ssize(table);
      if (IsCross(g)) {
        if (present == 0) needed += Covering(g, sequence.num_encoder);
        continue;
      }
      const bool is_state = Kind(g) == AttentionKind::kStateSpace;
      std::int64_t end = Covering(g, is_state ? after : covered);
      if (hit != nullptr) {
        const std::vector<int>& found = hit->tables[g];
        const std::int64_t skipped = Skipped(g, before);
        present = std::max(skipped, std::ssize(found));
        for (std::int64_t i = 0; i < std::ssize(found); ++i) {
          const int block = found[static_cast<std::size_t>(i)];
          if (i < skipped && i >= Sinks(g)) continue;
          if (block != 0 && At(block).ref == 0) ++needed;
        }
      }
      for (std::int64_t i = sequence.computed / Size(g);
           i < std::min(end, std::ssize(table)); ++i) {
        if (At(table[static_cast<std::size_t>(i)]).ref > 1) ++needed;
      }
      if (is_admission) end = std::min(end, Most(g, covered));
      const std::int64_t added = std::max<std::int64_t>(end - present, 0);
      needed += is_state ? std::min<std::int64_t>(added, 1) : added;
    }
    return needed;
  }

  void ReleaseSkipped(ReferenceSequence& sequence, std::int64_t computed) {
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      std::vector<int>& table = sequence.tables[g];
      std::vector<int> given_back;
      for (std::int64_t i =
               std::min(Skipped(g, computed), std::ssize(table)) - 1;
           i >= Sinks(g); --i) {
        int& block = table[static_cast<std::size_t>(i)];
        if (block != 0) given_back.push_back(std::exchange(block, 0));
      }
      Free(given_back);
    }
  }

  void Cover(ReferenceSequence& sequence, std::size_t g, std::int64_t before,
             std::int64_t after, std::int64_t covered) {
    std::vector<int>& table = sequence.tables[g];
    if (IsCross(g)) {
      if (!table.empty()) return;
      table = Allocate(Covering(g, sequence.num_encoder));
      return;
    }
    const bool is_state = Kind(g) == AttentionKind::kStateSpace;
    const std::int64_t end = Covering(g, is_state ? after : covered);
    for (std::int64_t i = before / Size(g);
         i < std::min(end, std::ssize(table)); ++i) {
      int& block = table[static_cast<std::size_t>(i)];
      if (block == 0) continue;
      if (At(block).ref > 1) {
        const int own = Allocate(1)[0];
        Free({block});
        block = own;
      } else if (!At(block).keys.empty() &&
                 At(block).keys[0].num_tokens > before) {
        DropKeys(block);
      }
    }
    const std::int64_t lacking = end - std::ssize(table);
    if (lacking <= 0) return;
    if (is_state) {
      table.resize(static_cast<std::size_t>(end - 1), 0);
      table.push_back(Allocate(1)[0]);
      return;
    }
    for (int block : Allocate(lacking)) table.push_back(block);
  }

  void Register(ReferenceSequence& sequence, std::int64_t before,
                std::int64_t told) {
    if (!sequence.shares || told == 0) return;
    const std::int64_t end =
        std::max(std::min(sequence.computed, told) / alignment_ * alignment_,
                 sequence.registered);
    std::vector<std::pair<std::size_t, std::int64_t>> equal;
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      if (IsCross(g)) continue;
      const std::vector<int>& table = sequence.tables[g];
      for (std::int64_t i = sequence.registered / Size(g); i < end / Size(g);
           ++i) {
        const int block = table[static_cast<std::size_t>(i)];
        if (block == 0 || !IsHittable(g, i)) continue;
        const std::int64_t num_tokens = (i + 1) * Size(g);
        // Only the state after the last token is in the block's slot.
        if (Kind(g) == AttentionKind::kStateSpace &&
            num_tokens != sequence.computed) {
          continue;
        }
        if (!At(block).keys.empty()) {
          if (At(block).keys[0].num_tokens % Size(g) == 0) continue;
          DropKeys(block);
        }
        const Key key = {
            sequence.contents[static_cast<std::size_t>(num_tokens - 1)],
            static_cast<int>(g), num_tokens};
        if (options_.deduplicate && cached_.contains(key.name())) {
          // Of a block of this step only what its sequence had before is sure.
          // A state that was there before is read by the step.
          const Block& first = At(cached_.at(key.name()).front());
          const bool is_read =
              Kind(g) == AttentionKind::kStateSpace && i * Size(g) < before;
          if (!is_read && (first.step != step_ || first.computed >= before)) {
            equal.emplace_back(g, i);
            continue;
          }
        }
        AddKey(block, key);
        At(block).step = step_;
        At(block).computed = before;
      }
    }
    sequence.registered = end;
    if (options_.vllm_compatible && options_.groups.size() > 1) {
      RegisterTails(sequence);
    }
    for (const auto& [g, i] : equal) {
      int& block = sequence.tables[g][static_cast<std::size_t>(i)];
      const int own = block;
      const int indexed = cached_
                              .at({sequence.contents[static_cast<std::size_t>(
                                       (i + 1) * Size(g) - 1)],
                                   static_cast<int>(g)})
                              .front();
      // It would take a block, and others would keep theirs.
      if (At(own).ref > 1 && At(indexed).ref == 0) continue;
      block = indexed;
      Touch(block);
      Free({own});
    }
  }

  // A full group's block in which the prompt ends, for its full units.
  void RegisterTails(const ReferenceSequence& sequence) {
    for (std::size_t g = 0; g < options_.groups.size(); ++g) {
      if (Kind(g) != AttentionKind::kFull && Kind(g) != AttentionKind::kLatent)
        continue;
      const std::int64_t end = sequence.num_prompt / unit_ * unit_;
      if (end % Size(g) == 0 || end > sequence.registered ||
          end / Size(g) >= std::ssize(sequence.tables[g])) {
        continue;
      }
      const int block =
          sequence.tables[g][static_cast<std::size_t>(end / Size(g))];
      const Key key = {sequence.contents[static_cast<std::size_t>(end - 1)],
                       static_cast<int>(g), end};
      if (block != 0 && !cached_.contains(key.name())) AddKey(block, key);
    }
  }

  // Whether a hit that ends at a multiple of the alignment can need the block.
  [[nodiscard]] bool IsHittable(std::size_t g, std::int64_t index) const {
    if (Kind(g) != AttentionKind::kSlidingWindow || index < Sinks(g)) {
      return true;
    }
    const std::int64_t end =
        RoundUp((index + 1) * Size(g), alignment_) * alignment_ / Size(g);
    return index >= end - RoundUp(Window(g) - 1, Size(g));
  }

  std::vector<int> Allocate(std::int64_t count) {
    std::vector<int> blocks;
    for (std::int64_t i = 0; i < count; ++i) {
      blocks.push_back(free_.front());
      free_.pop_front();
    }
    for (int block : blocks) {
      if (!At(block).keys.empty()) evicted_.push_back(block);
      DropKeys(block);
      At(block).ref = 1;
    }
    return blocks;
  }
  void Touch(int block) {
    if (block == 0) return;
    if (At(block).ref++ == 0) free_.remove(block);
  }
  void Free(const std::vector<int>& blocks) {
    std::list<int> front;
    for (int block : blocks) {
      if (block == 0 || --At(block).ref > 0) continue;
      (At(block).keys.empty() ? front : free_).push_back(block);
    }
    free_.splice(free_.begin(), front);
  }
  void Shrink(std::vector<int>& table, std::int64_t length) {
    if (std::ssize(table) <= length) return;
    const std::vector<int> rest(table.begin() + length, table.end());
    table.resize(static_cast<std::size_t>(length));
    Free({rest.rbegin(), rest.rend()});
  }
  void AddKey(int block, const Key& key) {
    At(block).keys.push_back(key);
    cached_[key.name()].push_back(block);
  }
  void DropKeys(int block) {
    for (const Key& key : At(block).keys) {
      const auto found = cached_.find(key.name());
      std::erase(found->second, block);
      if (found->second.empty()) cached_.erase(found);
    }
    At(block).keys.clear();
  }

  ReferenceOptions options_;
  std::int64_t alignment_ = 1;
  std::int64_t gcd_ = 0;
  std::int64_t unit_ = 1;
  std::list<int> free_;
  std::vector<Block> blocks_;
  std::map<std::pair<ContentId, int>, std::vector<int>> cached_;
  std::vector<int> evicted_;
  std::int64_t step_ = 0;
};

}  // namespace pagedkv

#endif  // TESTS_BLOCK_TABLE_PREFIX_CACHE_REFERENCE_H_
