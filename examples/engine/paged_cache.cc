// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/host_block_storage.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_kernels.h"
#include "pagedkv/kv_layout.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/slot_sanitizer.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

std::size_t Index(std::int64_t value) {
  return static_cast<std::size_t>(value);
}

/// Finds reads of slots that nobody wrote, in the pool and in the swap space.
struct SlotCheck {
  SlotSanitizer pool;
  SlotSanitizer swap;
};

/// Executes plans as any engine does whose KV lies in blocks: the moves before
/// a step, the tables' changes, then for each layer the writes and the
/// attention. It knows
/// the manager's tables only through `StepPlan::table_deltas`, as a device
/// would.
class PagedCache : public KvCache {
 public:
  PagedCache(const KvShape& shape, const KvCacheManager& manager,
             ThreadPool& threads, ReuseHygiene hygiene, KvLayout layout,
             std::unique_ptr<BlockStorage> storage,
             std::unique_ptr<BlockStorage> swap, std::optional<SlotCheck> check)
      : shape_(shape),
        manager_(manager),
        threads_(threads),
        hygiene_(hygiene),
        layout_(std::move(layout)),
        storage_(std::move(storage)),
        swap_(std::move(swap)),
        check_(std::move(check)) {}

  absl::Status BeginStep(const StepPlan& plan,
                         std::span<const BatchSequence> batch) override {
    const StepMoves moves = {.swap_outs = plan.swap_out,
                             .fresh = plan.fresh_blocks,
                             .swap_ins = plan.swap_in,
                             .copies = plan.copies};
    absl::Status status = storage_->PrepareStep(moves, hygiene_, swap_.get());
    if (!status.ok()) return status;
    UploadTables(plan.table_deltas[0]);
    slots_ = plan.slot_mapping[0];
    PrepareTasks(batch);
    return check_ ? CheckSlots(moves, batch) : absl::OkStatus();
  }

  absl::Status Write(int layer, const float* keys,
                     const float* values) override {
    absl::Status status = ScatterKv(View(layer, KvRole::kKey),
                                    Rows(keys, shape_.kv_size()), slots_);
    if (!status.ok()) return status;
    return ScatterKv(View(layer, KvRole::kValue),
                     Rows(values, shape_.kv_size()), slots_);
  }

  absl::Status Attend(int layer, const float* queries, float* output) override {
    // The query heads of one KV head, for a few queries of one sequence.
    const std::int64_t num_kv_heads = shape_.num_kv_heads;
    const std::int64_t num_tasks =
        static_cast<std::int64_t>(num_tokens_.size()) * num_kv_heads;
    std::vector<absl::Status> statuses(Index(num_tasks));
    PagedAttentionArgs args;
    args.key = View(layer, KvRole::kKey);
    args.value = View(layer, KvRole::kValue);
    args.query = Rows(queries, shape_.query_size());
    args.num_query_heads = shape_.num_query_heads;
    args.output = {.data = reinterpret_cast<std::byte*>(output),
                   .token_stride = shape_.query_size(),
                   .head_stride = shape_.head_size};
    args.softmax_scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_size));
    threads_.ParallelFor(num_tasks, [&](std::int64_t begin, std::int64_t end) {
      PagedAttentionArgs part = args;
      part.num_heads = shape_.num_query_heads / shape_.num_kv_heads;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::size_t queries_of = Index(i / num_kv_heads);
        part.first_head =
            static_cast<std::int32_t>(i % num_kv_heads) * part.num_heads;
        part.batch.query_begin = std::span(query_begin_).subspan(queries_of, 2);
        part.batch.num_tokens = std::span(num_tokens_).subspan(queries_of, 1);
        part.batch.tables = std::span(task_tables_).subspan(queries_of, 1);
        statuses[Index(i)] = PagedAttention(part);
      }
    });
    for (const absl::Status& status : statuses) {
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  [[nodiscard]] Bytes peak_bytes() const override {
    return storage_->size() + swap_->size();
  }

 private:
  absl::Status CheckSlots(const StepMoves& moves,
                          std::span<const BatchSequence> batch) {
    absl::Status status = check_->pool.OnStep(moves, &check_->swap);
    status.Update(check_->pool.OnWrite(0, slots_));
    for (const BatchSequence& sequence : batch) {
      status.Update(check_->pool.CheckRead(
          sequence.sequence, 0,
          {Table(sequence), Index(manager_.tables().length(
                                KvCacheManager::row(sequence.sequence)))},
          TokenCount(sequence.first_position + sequence.num_rows)));
    }
    return status;
  }

  [[nodiscard]] const BlockId* Table(const BatchSequence& sequence) const {
    const std::int64_t row = KvCacheManager::row(sequence.sequence);
    return tables_.data() + row * row_stride_;
  }

  // The changed entries of the block tables, as a copy to a device takes them.
  void UploadTables(std::span<const DirtyRange> changes) {
    const DenseBlockTables source = manager_.tables().dense();
    row_stride_ = source.row_stride;
    tables_.resize(Index(source.num_rows) * Index(row_stride_));
    for (const DirtyRange& change : changes) {
      const std::int64_t row = std::int64_t{change.row} * row_stride_;
      for (std::int64_t i = row + change.begin; i < row + change.end; ++i) {
        tables_[Index(i)] = BlockId(source.data[i]);
      }
    }
  }

  // Cuts the batch into a few queries at a time, which threads take.
  void PrepareTasks(std::span<const BatchSequence> batch) {
    constexpr std::int32_t kQueries = 16;
    query_begin_.assign(1, 0);
    num_tokens_.clear();
    task_tables_.clear();
    for (const BatchSequence& sequence : batch) {
      for (std::int32_t done = 0; done < sequence.num_rows;) {
        done = std::min(done + kQueries, sequence.num_rows);
        query_begin_.push_back(sequence.first_row + done);
        num_tokens_.push_back(sequence.first_position + done);
        task_tables_.push_back(Table(sequence));
      }
    }
  }

  [[nodiscard]] KvTensorView View(int layer, KvRole role) const {
    return layout_.View(*storage_, 0, layer, role);
  }
  [[nodiscard]] ConstKvRows Rows(const float* data, std::int32_t size) const {
    return {.data = reinterpret_cast<const std::byte*>(data),
            .token_stride = size,
            .head_stride = shape_.head_size};
  }

  KvShape shape_;
  const KvCacheManager& manager_;
  ThreadPool& threads_;
  ReuseHygiene hygiene_;
  KvLayout layout_;
  std::unique_ptr<BlockStorage> storage_;
  std::unique_ptr<BlockStorage> swap_;
  std::optional<SlotCheck> check_;

  std::vector<BlockId> tables_;  // [rows, row_stride_]
  std::int32_t row_stride_ = 0;

  // Of the step under way.
  std::span<const std::int64_t> slots_;
  std::vector<std::int32_t> query_begin_;    // [tasks + 1]
  std::vector<std::int32_t> num_tokens_;     // [tasks]
  std::vector<const BlockId*> task_tables_;  // [tasks]
};

}  // namespace

absl::StatusOr<std::unique_ptr<KvCache>> MakePagedCache(
    const KvShape& shape, const PagedCacheOptions& options,
    const KvCacheManager& manager, ThreadPool& threads) {
  const BlockCount num_blocks = manager.pool().num_blocks();
  const BlockCount num_swap_blocks = manager.num_swap_blocks() + BlockCount(1);
  KvLayoutOptions layout_options;
  layout_options.num_blocks = num_blocks;
  layout_options.groups = {
      {.block_size = manager.block_size(), .layers = shape.layers()}};
  absl::StatusOr<KvLayout> layout = KvLayout::Create(layout_options);
  if (!layout.ok()) return layout.status();
  absl::StatusOr<std::unique_ptr<HostBlockStorage>> storage =
      HostBlockStorage::Create({.layout = layout->storage_layout()});
  if (!storage.ok()) return storage.status();
  BlockStorageLayout swap_layout = layout->storage_layout();
  swap_layout.num_blocks = num_swap_blocks;
  absl::StatusOr<std::unique_ptr<HostBlockStorage>> swap =
      HostBlockStorage::Create({.layout = swap_layout});
  if (!swap.ok()) return swap.status();
  std::optional<SlotCheck> check;
  if (options.check_slots) {
    const BlockSize block_size = manager.block_size();
    absl::StatusOr<SlotSanitizer> of_pool =
        SlotSanitizer::Create(num_blocks, {&block_size, 1});
    if (!of_pool.ok()) return of_pool.status();
    absl::StatusOr<SlotSanitizer> of_swap =
        SlotSanitizer::Create(num_swap_blocks, {&block_size, 1});
    if (!of_swap.ok()) return of_swap.status();
    check = SlotCheck{.pool = *std::move(of_pool), .swap = *std::move(of_swap)};
  }
  return std::make_unique<PagedCache>(shape, manager, threads, options.hygiene,
                                      *std::move(layout), *std::move(storage),
                                      *std::move(swap), std::move(check));
}

}  // namespace pagedkv::engine
