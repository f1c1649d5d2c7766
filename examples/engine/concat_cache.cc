// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "examples/engine/kv_cache.h"
#include "examples/engine/plain_attention.h"
#include "examples/engine/thread_pool.h"

#include "pagedkv/scheduler.h"
#include "pagedkv/types.h"

namespace pagedkv::engine {
namespace {

class ConcatCache : public KvCache {
 public:
  ConcatCache(const KvShape& shape, ThreadPool& threads)
      : shape_(shape), threads_(threads) {}

  absl::Status BeginStep(const StepPlan& plan,
                         std::span<const BatchSequence> batch) override {
    for (const Preemption& preemption : plan.preempted) {
      Free(preemption.request);
    }
    for (const RequestId request : plan.ended) Free(request);
    batch_ = batch;
    return absl::OkStatus();
  }

  absl::Status Write(int layer, const float* keys,
                     const float* values) override {
    for (const BatchSequence& sequence : batch_) {
      Append(Tensor(sequence, layer, 0), sequence, keys);
      Append(Tensor(sequence, layer, 1), sequence, values);
    }
    return absl::OkStatus();
  }

  absl::Status Attend(int layer, const float* queries, float* output) override {
    PlainAttention(
        threads_, shape_, batch_,
        [&](const BatchSequence& sequence) {
          return PlainKv{.keys = Tensor(sequence, layer, 0).data(),
                         .values = Tensor(sequence, layer, 1).data()};
        },
        queries, output);
    return absl::OkStatus();
  }

  [[nodiscard]] Bytes peak_bytes() const override {
    return Bytes(peak_floats_ * static_cast<std::int64_t>(sizeof(float)));
  }

 private:
  using Tensors = std::vector<std::vector<float>>;  // [layers * 2]

  std::vector<float>& Tensor(const BatchSequence& sequence, int layer,
                             int part) {
    Tensors& tensors = tensors_[sequence.request];
    tensors.resize(static_cast<std::size_t>(shape_.num_layers) * 2);
    return tensors[static_cast<std::size_t>(layer) * 2 +
                   static_cast<std::size_t>(part)];
  }

  // A tensor that is longer by the sequence's rows, in place of the old one.
  void Append(std::vector<float>& tensor, const BatchSequence& sequence,
              const float* rows) {
    const std::int64_t size = shape_.kv_size();
    std::vector<float> longer;
    longer.reserve(static_cast<std::size_t>(
        (sequence.first_position + sequence.num_rows) * size));
    longer = tensor;
    const float* first = rows + sequence.first_row * size;
    longer.insert(longer.end(), first, first + sequence.num_rows * size);
    num_floats_ += static_cast<std::int64_t>(longer.size());
    peak_floats_ = std::max(peak_floats_, num_floats_);  // both are held
    num_floats_ -= static_cast<std::int64_t>(tensor.size());
    tensor = std::move(longer);
  }

  void Free(RequestId request) {
    const auto found = tensors_.find(request);
    if (found == tensors_.end()) return;
    for (const std::vector<float>& tensor : found->second) {
      num_floats_ -= static_cast<std::int64_t>(tensor.size());
    }
    tensors_.erase(found);
  }

  KvShape shape_;
  ThreadPool& threads_;
  std::map<RequestId, Tensors> tensors_;
  std::int64_t num_floats_ = 0;
  std::int64_t peak_floats_ = 0;
  std::span<const BatchSequence> batch_;
};

}  // namespace

std::unique_ptr<KvCache> MakeConcatCache(const KvShape& shape,
                                         ThreadPool& threads) {
  return std::make_unique<ConcatCache>(shape, threads);
}

}  // namespace pagedkv::engine
