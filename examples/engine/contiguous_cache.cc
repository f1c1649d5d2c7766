// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/plain_attention.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

class ContiguousCache : public KvCache {
 public:
  ContiguousCache(const KvShape& shape, const KvCacheManager& manager,
                  ThreadPool& threads, std::unique_ptr<float[]> memory,
                  Bytes bytes)
      : shape_(shape),
        manager_(manager),
        threads_(threads),
        max_tokens_(manager.block_size().value()),
        memory_(std::move(memory)),
        bytes_(bytes) {}

  absl::Status BeginStep(const StepPlan& plan,
                         std::span<const BatchSequence> batch) override {
    // Every sequence is a request of its own and shares nothing.
    if (!plan.copies.empty()) {
      return absl::InternalError("an arena of a contiguous cache is shared");
    }
    batch_ = batch;
    return absl::OkStatus();
  }

  absl::Status Write(int layer, const float* keys,
                     const float* values) override {
    const std::int64_t size = shape_.kv_size();
    for (const BatchSequence& sequence : batch_) {
      const std::int64_t row = sequence.first_row * size;
      const std::int64_t at = sequence.first_position * size;
      const std::int64_t count = sequence.num_rows * size;
      std::copy_n(keys + row, count, Tensor(sequence, layer, 0) + at);
      std::copy_n(values + row, count, Tensor(sequence, layer, 1) + at);
    }
    return absl::OkStatus();
  }

  absl::Status Attend(int layer, const float* queries, float* output) override {
    PlainAttention(
        threads_, shape_, batch_,
        [&](const BatchSequence& sequence) {
          return PlainKv{.keys = Tensor(sequence, layer, 0),
                         .values = Tensor(sequence, layer, 1)};
        },
        queries, output);
    return absl::OkStatus();
  }

  [[nodiscard]] Bytes peak_bytes() const override { return bytes_; }

 private:
  // The keys (part 0) or values (1) of a sequence in a layer.
  [[nodiscard]] float* Tensor(const BatchSequence& sequence, int layer,
                              int part) const {
    // Block 0 is the null block, for which there is no arena.
    const std::int64_t arena =
        manager_.block_table(sequence.sequence)[0].value() - 1;
    const std::int64_t tensor = (arena * shape_.num_layers + layer) * 2 + part;
    return memory_.get() + tensor * max_tokens_ * shape_.kv_size();
  }

  KvShape shape_;
  const KvCacheManager& manager_;
  ThreadPool& threads_;
  std::int64_t max_tokens_;
  std::unique_ptr<float[]> memory_;  // [arenas, layers, 2, max_tokens, kv_size]
  Bytes bytes_;
  std::span<const BatchSequence> batch_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<KvCache>> MakeContiguousCache(
    const KvShape& shape, const KvCacheManager& manager, ThreadPool& threads) {
  const std::int64_t tokens =
      (manager.pool().num_blocks().value() - 1) * manager.block_size().value();
  const std::int64_t floats = tokens * 2 * shape.num_layers * shape.kv_size();
  const Bytes bytes(floats * static_cast<std::int64_t>(sizeof(float)));
  // Not initialised: the system gives the pages as they are written.
  std::unique_ptr<float[]> memory(
      new (std::nothrow) float[static_cast<std::size_t>(floats)]);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("no memory for %d bytes of KV: give fewer --num-blocks",
                        bytes.value()));
  }
  return std::make_unique<ContiguousCache>(shape, manager, threads,
                                           std::move(memory), bytes);
}

}  // namespace pagedkv::engine
