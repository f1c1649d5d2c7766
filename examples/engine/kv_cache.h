// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_KV_CACHE_H_
#define EXAMPLES_ENGINE_KV_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/block_storage.h"
#include "pagedkv/kv_cache_manager.h"
#include "pagedkv/kv_geometry.h"
#include "pagedkv/kv_tensor.h"
#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {

/// A sequence's part of a step: the rows of the batch from `first_row` on are
/// its tokens at `first_position` and after.
struct BatchSequence {
  RequestId request = {};
  SequenceId sequence = {};
  std::int32_t first_row = 0;
  std::int32_t num_rows = 0;
  std::int32_t first_position = 0;
};

/// What the model's attention looks like to its cache.
struct KvShape {
  std::int32_t num_layers = 0;
  std::int32_t num_query_heads = 0;
  std::int32_t num_kv_heads = 0;  ///< a divisor of num_query_heads
  std::int32_t head_size = 0;
  KvFormat format = KvFormat::For(KvDtype::kFp32);  ///< of what is kept

  [[nodiscard]] std::int32_t query_size() const {
    return num_query_heads * head_size;
  }
  [[nodiscard]] std::int32_t kv_size() const {
    return num_kv_heads * head_size;
  }
  /// The layers as the library describes them.
  [[nodiscard]] std::vector<KvLayer> layers() const {
    const KvTensor tensor{
        .heads = num_kv_heads, .head_size = head_size, .format = format};
    return std::vector<KvLayer>(static_cast<std::size_t>(num_layers),
                                {.key = tensor, .value = tensor});
  }
};

/// Where the keys and values of all sequences are, and the attention that reads
/// them. One step after another: `BeginStep`, then for each layer `Write` and
/// `Attend`, whose arguments have a row for each token of the batch, in its
/// order. A query attends to the tokens of its sequence up to its own.
class KvCache {
 public:
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  /// Does what the plan asks to be done before its tokens are computed. `batch`
  /// is valid until the next call.
  virtual absl::Status BeginStep(const StepPlan& plan,
                                 std::span<const BatchSequence> batch) = 0;
  /// Rows of kv_size() elements.
  virtual absl::Status Write(int layer, const float* keys,
                             const float* values) = 0;
  /// Rows of query_size() elements.
  virtual absl::Status Attend(int layer, const float* queries,
                              float* output) = 0;
  /// The most memory that it has had of the system at a time.
  [[nodiscard]] virtual Bytes peak_bytes() const = 0;

 protected:
  KvCache() = default;
};

/// What becomes of blocks in paged memory, beside being written and read.
struct PagedCacheOptions {
  /// Other than kLeave: the manager must list fresh blocks.
  ReuseHygiene hygiene = ReuseHygiene::kLeave;
  /// Stop with an error where a sequence would read a slot that was not
  /// written. The manager must list fresh blocks.
  bool check_slots = false;
};

/// Blocks out of one pool: the library's storage and kernels, led by the plans'
/// block tables and slots, with a second storage for the manager's swap space.
/// `manager` must outlive the cache.
absl::StatusOr<std::unique_ptr<KvCache>> MakePagedCache(
    const KvShape& shape, const PagedCacheOptions& options,
    const KvCacheManager& manager, ThreadPool& threads);

/// One arena of `max_tokens` for each sequence, taken when it is admitted: the
/// plain preallocated tensor. The manager's blocks are these arenas, so that a
/// sequence's block table has one entry.
absl::StatusOr<std::unique_ptr<KvCache>> MakeContiguousCache(
    const KvShape& shape, const KvCacheManager& manager, ThreadPool& threads);

/// Each sequence has tensors of exactly its length, and every step allocates
/// longer ones and copies: the plain concatenating cache.
std::unique_ptr<KvCache> MakeConcatCache(const KvShape& shape,
                                         ThreadPool& threads);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_KV_CACHE_H_
