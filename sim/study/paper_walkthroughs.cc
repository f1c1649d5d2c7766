// SPDX-License-Identifier: Apache-2.0
// Figures 6 to 9 of the paper on the library's own manager. Which free block a
// pool hands out first is its own affair, so ids are compared by structure:
// each block of a figure stands for one of ours, and no two for the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/types.h"
#include "sim/study/paper_topics.h"

namespace pagedkv::sim {
namespace {

/// One figure, retold: facts that hold or do not. The first error of the
/// manager ends it.
class Walkthrough {
 public:
  static absl::StatusOr<Walkthrough> Create() {
    absl::StatusOr<KvCacheManager> cache =
        KvCacheManager::Create({.pool = {.num_blocks = BlockCount(64)},
                                .groups = {{.block_size = BlockSize(4)}},
                                .max_sequence_tokens = TokenCount(64),
                                .max_sequences = 8});
    if (!cache.ok()) return cache.status();
    return Walkthrough(*std::move(cache));
  }

  SequenceId Add(std::int64_t tokens) {
    const SequenceId id = Keep(cache_.AddSequence());
    Append(id, tokens);
    return id;
  }
  SequenceId Fork(SequenceId id) { return Keep(cache_.Fork(id)); }
  void Append(SequenceId id, std::int64_t tokens) {
    const absl::StatusOr<bool> appended =
        cache_.TryAppend(id, TokenCount(tokens));
    if (!appended.ok()) {
      status_.Update(appended.status());
    } else {
      Expect(*appended, "the pool has room");
    }
  }
  void Release(SequenceId id) { status_.Update(cache_.Release(id)); }
  void EndStep() { cache_.ClearCopies(); }

  void Expect(bool holds, const char* fact) {
    ++facts_;
    holding_ += holds ? 1 : 0;
    if (!holds && note_.empty()) note_ = fact;
  }
  /// The table of `id` is that of the figure, but for the blocks' names.
  void ExpectTable(SequenceId id, std::initializer_list<int> figure,
                   const char* fact) {
    if (!status_.ok()) return;
    const std::span<const BlockId> table = cache_.block_table(id);
    bool same = table.size() == figure.size();
    std::size_t i = 0;
    for (const int block : figure) {
      if (same) same = IsNamed(block, table[i++]);
    }
    Expect(same, fact);
  }
  void ExpectReferences(int block, std::int64_t count, const char* fact) {
    const auto ours = names_.find(block);
    Expect(
        ours != names_.end() && cache_.pool().ref_count(ours->second) == count,
        fact);
  }
  void ExpectUsed(std::int64_t blocks, const char* fact) {
    Expect(free_at_first_ - cache_.pool().num_free() == BlockCount(blocks),
           fact);
  }
  /// The copies of this step: from and to, as blocks of the figure.
  void ExpectCopies(std::initializer_list<std::pair<int, int>> figure,
                    const char* fact) {
    const std::span<const BlockCopy> copies = cache_.copies();
    bool same = copies.size() == figure.size();
    std::size_t i = 0;
    for (const auto& [from, to] : figure) {
      if (!same) break;
      same =
          IsNamed(from, copies[i].source) && IsNamed(to, copies[i].destination);
      ++i;
    }
    Expect(same, fact);
  }
  /// Token `position` lies in the `offset`-th slot of a block of the figure.
  void ExpectPlace(SequenceId id, std::int32_t position, int block,
                   std::int64_t offset, const char* fact) {
    if (!status_.ok()) return;
    const std::int64_t slot = cache_.Slot(id, position);
    Expect(IsNamed(block, BlockId(static_cast<std::int32_t>(slot / 4))) &&
               slot % 4 == offset,
           fact);
  }

  absl::StatusOr<PaperCheck> Finish(const char* figure, const char* setting) {
    status_.Update(cache_.CheckInvariants());
    if (!status_.ok()) return status_;
    return PaperCheck{.id = absl::StrFormat("walkthroughs.fig%s", figure),
                      .where = absl::StrFormat("Fig. %s", figure),
                      .setting = absl::StrFormat(
                          "%s; blocks stand for those of the figure, one for "
                          "one, whatever their ids",
                          setting),
                      .unit = "facts",
                      .expected_lo = static_cast<double>(facts_),
                      .expected_hi = static_cast<double>(facts_),
                      .values = {static_cast<double>(holding_)},
                      .note = note_};
  }

 private:
  explicit Walkthrough(KvCacheManager cache)
      : cache_(std::move(cache)), free_at_first_(cache_.pool().num_free()) {}

  SequenceId Keep(const absl::StatusOr<SequenceId>& id) {
    status_.Update(id.status());
    return id.ok() ? *id : SequenceId();
  }

  /// Whether block `figure` of the figure is `ours`; named at its first use.
  bool IsNamed(int figure, BlockId ours) {
    const auto known = names_.find(figure);
    if (known != names_.end()) return known->second == ours;
    const bool taken =
        std::any_of(names_.begin(), names_.end(),
                    [ours](const auto& name) { return name.second == ours; });
    if (!taken) names_.emplace(figure, ours);
    return !taken;
  }

  KvCacheManager cache_;
  BlockCount free_at_first_;
  absl::Status status_;
  std::map<int, BlockId> names_;
  std::int64_t facts_ = 0;
  std::int64_t holding_ = 0;
  std::string note_;
};

absl::StatusOr<PaperCheck> TellFig6(Walkthrough w) {
  const SequenceId a = w.Add(7);
  w.ExpectTable(a, {7, 1}, "a prompt of 7 tokens lies in blocks 7 and 1");
  w.ExpectPlace(a, 3, 7, 3, "the 4th token fills block 7");
  w.ExpectPlace(a, 6, 1, 2, "the 7th token is the 3rd of block 1");
  w.Append(a, 1);
  w.ExpectTable(a, {7, 1}, "the first output takes no new block");
  w.ExpectPlace(a, 7, 1, 3, "the first output fills block 1");
  w.Append(a, 1);
  w.ExpectTable(a, {7, 1, 3}, "the second output takes block 3");
  w.ExpectPlace(a, 8, 3, 0, "the second output is the first of block 3");
  w.ExpectUsed(3, "3 blocks are in use");
  return w.Finish("6", "a prompt of 7 tokens in blocks of 4, then 2 outputs");
}

absl::StatusOr<PaperCheck> TellFig7(Walkthrough w) {
  const SequenceId a = w.Add(7);
  w.ExpectTable(a, {7, 1}, "request A begins in blocks 7 and 1");
  const SequenceId b = w.Add(4);
  w.ExpectTable(b, {5}, "request B begins in block 5");
  for (int i = 0; i < 2; ++i) {
    w.Append(a, 1);
    w.Append(b, 1);
  }
  w.ExpectTable(a, {7, 1, 3}, "request A has blocks 7, 1 and 3");
  w.ExpectTable(b, {5, 2}, "request B has blocks 5 and 2");
  w.ExpectUsed(5, "no block is in both tables");
  return w.Finish("7", "two requests grow side by side in blocks of 4");
}

absl::StatusOr<PaperCheck> TellFig8(Walkthrough w) {
  const SequenceId a1 = w.Add(7);
  const SequenceId a2 = w.Fork(a1);
  w.ExpectTable(a1, {7, 1}, "sample A1 begins with blocks 7 and 1");
  w.ExpectTable(a2, {7, 1}, "sample A2 begins with the same blocks");
  w.ExpectReferences(7, 2, "block 7 has 2 references");
  w.ExpectReferences(1, 2, "block 1 has 2 references");
  w.ExpectUsed(2, "the prompt is stored once");
  w.Append(a1, 1);
  w.ExpectTable(a1, {7, 3}, "A1 writes to a block 3 of its own");
  w.ExpectCopies({{1, 3}}, "block 1 is copied to block 3");
  w.ExpectReferences(1, 1, "block 1 goes from 2 references to 1");
  w.EndStep();
  w.Append(a2, 1);
  w.ExpectTable(a2, {7, 1}, "A2 writes to block 1 in place");
  w.ExpectCopies({}, "A2 copies nothing");
  w.ExpectReferences(7, 2, "block 7 is still shared");
  w.ExpectUsed(3, "3 blocks are in use for 4 table entries");
  return w.Finish("8", "2 samples of a prompt of 7 tokens in blocks of 4");
}

absl::StatusOr<PaperCheck> TellFig9(Walkthrough w) {
  const SequenceId c0 = w.Add(4);
  const SequenceId c3 = w.Fork(c0);
  for (int i = 0; i < 2; ++i) {
    w.Append(c0, 4);
    w.Append(c3, 4);
  }
  const SequenceId c1 = w.Fork(c0);
  const SequenceId c2 = w.Fork(c0);
  for (const SequenceId candidate : {c0, c1, c2, c3}) w.Append(candidate, 4);
  w.ExpectTable(c0, {0, 1, 3, 5}, "candidate 0 has blocks 0, 1, 3 and 5");
  w.ExpectTable(c1, {0, 1, 3, 6}, "candidate 1 has blocks 0, 1, 3 and 6");
  w.ExpectTable(c2, {0, 1, 3, 7}, "candidate 2 has blocks 0, 1, 3 and 7");
  w.ExpectTable(c3, {0, 2, 4, 8}, "candidate 3 has blocks 0, 2, 4 and 8");
  w.ExpectReferences(0, 4, "all candidates share block 0");
  w.ExpectReferences(3, 3, "candidates 0 to 2 share block 3");
  w.ExpectUsed(9, "9 blocks are in use for 16 table entries");

  // The new candidates come from 1 and 2, two from each.
  const SequenceId d1 = w.Fork(c1);
  const SequenceId d3 = w.Fork(c2);
  w.Release(c0);
  w.Release(c3);
  for (const int freed : {2, 4, 5, 8}) {
    w.ExpectReferences(freed, 0, "blocks 2, 4, 5 and 8 are freed");
  }
  w.ExpectUsed(5, "no other block is freed");
  for (const SequenceId candidate : {c1, d1, c2, d3}) w.Append(candidate, 1);
  w.ExpectTable(c1, {0, 1, 3, 6, 9}, "the first candidate takes block 9");
  w.ExpectTable(d1, {0, 1, 3, 6, 10}, "the second candidate takes block 10");
  w.ExpectTable(c2, {0, 1, 3, 7, 11}, "the third candidate takes block 11");
  w.ExpectTable(d3, {0, 1, 3, 7, 12}, "the fourth candidate takes block 12");
  for (const int shared : {0, 1, 3}) {
    w.ExpectReferences(shared, 4, "all candidates share blocks 0, 1 and 3");
  }
  w.ExpectReferences(6, 2, "candidates 0 and 1 share block 6");
  w.ExpectReferences(7, 2, "candidates 2 and 3 share block 7");
  w.ExpectUsed(9, "4 blocks are allocated");
  return w.Finish("9", "a beam of 4 that goes on from two of its candidates");
}

}  // namespace

PaperChecks CheckWalkthroughs(const PaperOptions&) {
  std::vector<PaperCheck> checks;
  for (const auto tell : {TellFig6, TellFig7, TellFig8, TellFig9}) {
    absl::StatusOr<Walkthrough> walkthrough = Walkthrough::Create();
    if (!walkthrough.ok()) return walkthrough.status();
    absl::StatusOr<PaperCheck> check = tell(*std::move(walkthrough));
    if (!check.ok()) return check.status();
    checks.push_back(*std::move(check));
  }
  return checks;
}

}  // namespace pagedkv::sim
