// SPDX-License-Identifier: Apache-2.0
//
// Random operations on a BlockPool and on a naive reference, which must agree:
// in every id issued and evicted, in the outcome of every call and, after it,
// in every count and in the order of the free blocks.

#include <algorithm>
#include <cstdint>
#include <list>
#include <ostream>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/block_pool.h"

namespace pagedkv {
namespace {

// The rules of vLLM's v1 block pool, written for clarity: one list of free
// ids, taken from the front. With a prefix cache, released blocks without
// content go to the front as they were given, those with content to the back;
// without one all go to the back.
class ReferencePool {
 public:
  ReferencePool(std::int32_t num_blocks, std::int32_t max_blocks,
                bool prefix_caching)
      : blocks_(static_cast<std::size_t>(max_blocks)),
        prefix_caching_(prefix_caching) {
    Grow(num_blocks);
  }

  struct Block {
    std::int32_t references = 0;
    std::uint32_t generation = 0;
    bool cached = false;
    std::list<BlockId>::iterator place;  // where it is free
  };

  [[nodiscard]] const std::list<BlockId>& free() const { return free_; }
  [[nodiscard]] std::int32_t num_blocks() const { return num_blocks_; }
  [[nodiscard]] std::int32_t num_draining() const {
    std::int32_t draining = 0;
    for (std::size_t i = static_cast<std::size_t>(num_blocks_);
         i < blocks_.size(); ++i) {
      draining += blocks_[i].references > 0 ? 1 : 0;
    }
    return draining;
  }
  [[nodiscard]] std::int32_t extent() const {
    auto end = static_cast<std::int32_t>(blocks_.size());
    while (end > num_blocks_ &&
           blocks_[static_cast<std::size_t>(end) - 1].references == 0) {
      --end;
    }
    return end;
  }

  void Grow(std::int32_t num_blocks) {
    for (; num_blocks_ < num_blocks; ++num_blocks_) {
      Block& block = Get(BlockId(num_blocks_));
      if (num_blocks_ == 0 || block.references > 0) continue;
      free_.push_back(BlockId(num_blocks_));
      block.place = std::prev(free_.end());
    }
  }
  // Returns what was cached of the blocks that go.
  std::vector<BlockId> BeginShrink(std::int32_t num_blocks) {
    std::vector<BlockId> evicted;
    for (std::int32_t id = num_blocks; id < num_blocks_; ++id) {
      Block& block = Get(BlockId(id));
      if (block.cached) evicted.push_back(BlockId(id));
      block.cached = false;
      if (block.references == 0) free_.erase(block.place);
    }
    num_blocks_ = num_blocks;
    return evicted;
  }
  Block& Get(BlockId id) {
    return blocks_[static_cast<std::size_t>(id.value())];
  }

  bool TryAllocate(std::size_t count, std::vector<BlockId>& out,
                   std::vector<BlockId>& evicted) {
    if (count > free_.size()) return false;
    for (; count > 0; --count) {
      const BlockId id = free_.front();
      free_.pop_front();
      out.push_back(id);
      Get(id).references = 1;
      if (Get(id).cached) evicted.push_back(id);
      Get(id).cached = false;
    }
    return true;
  }

  absl::StatusCode Share(const std::vector<BlockId>& ids) {
    for (BlockId id : ids) {
      if (!Contains(id)) return absl::StatusCode::kInvalidArgument;
      if (id != kNullBlock && Get(id).references == 0 && !Get(id).cached) {
        return absl::StatusCode::kFailedPrecondition;
      }
    }
    for (BlockId id : ids) {
      if (id == kNullBlock) continue;
      if (Get(id).references++ == 0) free_.erase(Get(id).place);
    }
    return absl::StatusCode::kOk;
  }

  absl::StatusCode Release(const std::vector<BlockHandle>& handles,
                           bool check_generations) {
    std::vector<std::int32_t> left(blocks_.size());
    for (const BlockHandle& handle : handles) {
      if (Contains(handle.id)) {
        left[static_cast<std::size_t>(handle.id.value())] =
            Get(handle.id).references;
      }
    }
    for (const BlockHandle& handle : handles) {
      if (!Contains(handle.id)) return absl::StatusCode::kInvalidArgument;
      if (handle.id == kNullBlock) continue;
      const bool stale =
          check_generations && handle.generation != Get(handle.id).generation;
      if (stale || left[static_cast<std::size_t>(handle.id.value())]-- == 0) {
        return absl::StatusCode::kFailedPrecondition;
      }
    }
    std::list<BlockId> front;
    for (const BlockHandle& handle : handles) {
      if (handle.id == kNullBlock) continue;
      Block& block = Get(handle.id);
      if (--block.references > 0) continue;
      ++block.generation;
      if (handle.id.value() >= num_blocks_) continue;  // it is gone
      std::list<BlockId>& list =
          prefix_caching_ && !block.cached ? front : free_;
      list.push_back(handle.id);
      block.place = std::prev(list.end());
    }
    free_.splice(free_.begin(), front);
    return absl::StatusCode::kOk;
  }

 private:
  [[nodiscard]] bool Contains(BlockId id) const {
    return id.value() >= 0 && id.value() < extent();
  }

  std::list<BlockId> free_;
  std::vector<Block> blocks_;
  std::int32_t num_blocks_ = 0;
  bool prefix_caching_;
};

struct Workload {
  std::int32_t num_blocks = 0;  // at first and, but for `resized`, throughout
  std::int32_t operations = 0;
  /// Compare everything after each so many operations, and after each that was
  /// refused: it takes time in proportion to the pool.
  std::int32_t compare_every = 1;
  /// The pool shrinks and grows, to up to twice its blocks.
  bool resized = false;

  [[nodiscard]] std::int32_t max_blocks() const {
    return resized ? 2 * num_blocks : num_blocks;
  }

  friend void PrintTo(const Workload& workload, std::ostream* out) {
    *out << workload.num_blocks << (workload.resized ? " or more" : "")
         << " blocks";
  }
};

class BlockPoolModelTest
    : public testing::TestWithParam<std::tuple<Workload, bool, std::uint64_t>> {
 protected:
  BlockPoolModelTest()
      : workload_(std::get<0>(GetParam())),
        prefix_caching_(std::get<1>(GetParam())),
        random_(std::get<2>(GetParam())),
        pool_(*BlockPool::Create(
            {.num_blocks = BlockCount(workload_.num_blocks),
             .prefix_caching = prefix_caching_,
             .watermark = 0.1,
             .max_num_blocks = BlockCount(workload_.max_blocks())})),
        reference_(workload_.num_blocks, workload_.max_blocks(),
                   prefix_caching_) {}

  std::size_t Below(std::size_t n) {
    return static_cast<std::size_t>(random_() % n);
  }
  bool OneIn(std::size_t n) { return Below(n) == 0; }
  BlockId AnyBlock() {
    return BlockId(static_cast<std::int32_t>(
        1 + Below(static_cast<std::size_t>(workload_.max_blocks()) - 1)));
  }
  // A batch of up to `most`; small ones are as likely as large ones.
  std::size_t BatchSize(std::size_t most) {
    return Below(1 + std::min(most, std::size_t{1} << Below(14)));
  }

  void Allocate() {
    std::vector<BlockId> out(
        BatchSize(reference_.free().size() + (OneIn(4) ? 2 : 0)), BlockId(-1));
    const std::vector<BlockId> untouched = out;
    std::vector<BlockId> evicted;
    std::vector<BlockId> expected;
    std::vector<BlockId> expected_evicted;
    const bool fits =
        reference_.TryAllocate(out.size(), expected, expected_evicted);
    ASSERT_EQ(pool_.TryAllocate(out, &evicted), fits);
    ASSERT_EQ(out, fits ? expected : untouched);
    ASSERT_EQ(evicted, expected_evicted);
    if (!fits) refused_ = true;
    for (BlockId id : expected) held_.push_back(pool_.handle(id));
  }

  void Share() {
    std::vector<BlockId> blocks(BatchSize(static_cast<std::size_t>(
        std::min<std::int32_t>(workload_.num_blocks, 64))));
    for (BlockId& block : blocks) {
      // Mostly what can be shared: one in use, or free with content.
      block = AnyBlock();
      for (int tries = 0; tries < 4; ++tries) {
        if (reference_.Get(block).references > 0 ||
            reference_.Get(block).cached) {
          break;
        }
        block = AnyBlock();
      }
      if (OneIn(50)) block = kNullBlock;
      if (OneIn(500)) block = BlockId(workload_.max_blocks());
      if (OneIn(500)) block = BlockId(-1);
    }
    const absl::StatusCode expected = reference_.Share(blocks);
    ASSERT_EQ(pool_.Share(blocks).code(), expected);
    if (expected != absl::StatusCode::kOk) {
      refused_ = true;
      return;
    }
    for (BlockId id : blocks) {
      if (id != kNullBlock) held_.push_back(pool_.handle(id));
    }
  }

  // Takes some of the references away from those held, and gives them back in
  // a random order, by id or by handle, sometimes with a mistake among them.
  void Release() {
    std::vector<BlockHandle> handles(BatchSize(held_.size()));
    for (BlockHandle& handle : handles) {
      std::swap(held_[Below(held_.size())], held_.back());
      handle = held_.back();
      held_.pop_back();
    }
    const std::vector<BlockHandle> taken = handles;
    const bool by_handle = OneIn(2);
    const auto insert = [&](BlockHandle handle) {
      handles.insert(handles.begin() +
                         static_cast<std::ptrdiff_t>(Below(handles.size() + 1)),
                     handle);
    };
    if (OneIn(10)) insert({kNullBlock, 7});
    if (OneIn(40)) insert({BlockId(workload_.max_blocks()), 0});
    if (OneIn(40)) insert({BlockId(-1), 0});
    if (OneIn(10)) insert({AnyBlock(), 0});  // perhaps stale, or not held
    const bool unchecked_extra = handles.size() > taken.size();

    const absl::StatusCode expected = reference_.Release(handles, by_handle);
    std::vector<BlockId> ids;
    for (const BlockHandle& handle : handles) ids.push_back(handle.id);
    absl::Status status;
    if (by_handle) {
      status = pool_.Release(handles);
    } else if (OneIn(2)) {
      status = pool_.Release(ids);
    } else {
      std::reverse(ids.begin(), ids.end());
      status = pool_.ReleaseReversed(ids);
    }
    ASSERT_EQ(status.code(), expected) << status;
    if (expected != absl::StatusCode::kOk) {
      refused_ = true;
      held_.insert(held_.end(), taken.begin(), taken.end());
    } else if (unchecked_extra) {
      ForgetReferencesNotHeld();
    }
  }

  // A release that named a block once more than was meant has taken a reference
  // that someone else held.
  void ForgetReferencesNotHeld() {
    std::vector<std::int32_t> left(
        static_cast<std::size_t>(workload_.max_blocks()));
    for (std::int32_t id = 0; id < workload_.max_blocks(); ++id) {
      left[static_cast<std::size_t>(id)] =
          reference_.Get(BlockId(id)).references;
    }
    std::erase_if(held_, [&](const BlockHandle& handle) {
      return left[static_cast<std::size_t>(handle.id.value())]-- <= 0;
    });
  }

  void SetCached() {
    const BlockId block = AnyBlock();
    if (block.value() >= reference_.num_blocks()) return;
    const bool cached = !OneIn(3);
    pool_.SetCached(block, cached);
    reference_.Get(block).cached = cached;
  }

  // Often back and forth by a few blocks, sometimes by many.
  void Resize() {
    const std::int32_t old = reference_.num_blocks();
    const std::int32_t most = workload_.max_blocks();
    std::int32_t wanted = OneIn(3)
                              ? static_cast<std::int32_t>(
                                    Below(static_cast<std::size_t>(most) + 2))
                              : old - 3 + static_cast<std::int32_t>(Below(7));
    const bool shrinks = wanted < old || (wanted == old && OneIn(2));
    std::vector<BlockId> evicted;
    const absl::Status status =
        shrinks ? pool_.BeginShrink(BlockCount(wanted), &evicted)
                : pool_.Grow(BlockCount(wanted));
    if (wanted < 2 || wanted > most) {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
      refused_ = true;
      return;
    }
    ASSERT_TRUE(status.ok()) << status;
    if (shrinks) {
      ASSERT_EQ(evicted, reference_.BeginShrink(wanted));
    } else {
      reference_.Grow(wanted);
    }
  }

  void CheckStaleHandle() {
    const BlockHandle handle{AnyBlock(), static_cast<std::uint32_t>(Below(4))};
    ASSERT_EQ(pool_.IsCurrent(handle),
              handle.id.value() < reference_.extent() &&
                  reference_.Get(handle.id).generation == handle.generation);
  }

  void CompareCounts() {
    ASSERT_EQ(pool_.num_free().value(), std::ssize(reference_.free()));
    ASSERT_EQ(pool_.num_blocks().value(), reference_.num_blocks());
    ASSERT_EQ(pool_.watermark_blocks().value(), reference_.num_blocks() / 10);
    ASSERT_EQ(pool_.num_draining().value(), reference_.num_draining());
    ASSERT_EQ(pool_.extent().value(), reference_.extent());
    ASSERT_EQ(pool_.num_used().value(), reference_.num_blocks() - 1 +
                                            reference_.num_draining() -
                                            std::ssize(reference_.free()));
  }

  void CompareAll() {
    const std::vector<BlockId> free = pool_.FreeBlocks();
    ASSERT_TRUE(std::equal(free.begin(), free.end(), reference_.free().begin(),
                           reference_.free().end()))
        << testing::PrintToString(free) << " expected "
        << testing::PrintToString(reference_.free());
    for (std::int32_t id = 1; id < workload_.max_blocks(); ++id) {
      const BlockId block(id);
      const ReferencePool::Block& expected = reference_.Get(block);
      ASSERT_EQ(pool_.ref_count(block), expected.references) << block;
      ASSERT_EQ(pool_.is_cached(block), expected.cached) << block;
      ASSERT_EQ(pool_.handle(block).generation, expected.generation) << block;
    }
    const absl::Status invariants = pool_.CheckInvariants();
    ASSERT_TRUE(invariants.ok()) << invariants;
  }

  Workload workload_;
  bool prefix_caching_;
  std::mt19937_64 random_;
  BlockPool pool_;
  ReferencePool reference_;
  std::vector<BlockHandle> held_;  // one for each reference
  bool refused_ = false;           // the last operation
};

TEST_P(BlockPoolModelTest, AgreesWithANaiveReference) {
  // Fill, drain and churn in turn, with other shares of the operations each.
  std::discrete_distribution<int> operations;
  for (std::int32_t i = 0; i < workload_.operations; ++i) {
    if (i % 500 == 0) {
      std::vector<double> weights(5);
      for (double& weight : weights) {
        weight = std::uniform_real_distribution<>(0.05, 1.0)(random_);
      }
      if (!prefix_caching_) weights[3] = 0.0;
      weights[4] *= workload_.resized ? 0.2 : 0.0;
      operations = {weights.begin(), weights.end()};
    }
    SCOPED_TRACE(testing::Message() << "operation " << i);
    refused_ = false;
    switch (operations(random_)) {
      case 0:
        Allocate();
        break;
      case 1:
        Share();
        break;
      case 2:
        Release();
        break;
      case 3:
        SetCached();
        break;
      case 4:
        Resize();
        break;
    }
    CheckStaleHandle();
    CompareCounts();
    if (refused_ || i % workload_.compare_every == 0) CompareAll();
    if (HasFatalFailure()) return;
  }
  CompareAll();
}

INSTANTIATE_TEST_SUITE_P(
    Pools, BlockPoolModelTest,
    testing::Combine(testing::Values(Workload{2, 20'000},  //
                                     Workload{3, 20'000},  //
                                     Workload{7, 40'000},  //
                                     Workload{33, 40'000},
                                     Workload{257, 100'000, 16},
                                     Workload{5000, 40'000, 200},
                                     Workload{3, 20'000, 1, true},
                                     Workload{33, 40'000, 1, true},
                                     Workload{300, 20'000, 16, true}),
                     testing::Bool(), testing::Values(1, 20240607)),
    [](const auto& info) {
      return std::to_string(std::get<0>(info.param).num_blocks) + "Blocks" +
             (std::get<0>(info.param).resized ? "Resized" : "") +
             (std::get<1>(info.param) ? "PrefixCaching" : "") + "Seed" +
             std::to_string(std::get<2>(info.param));
    });

}  // namespace
}  // namespace pagedkv
