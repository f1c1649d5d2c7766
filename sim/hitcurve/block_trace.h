// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_HITCURVE_BLOCK_TRACE_H_
#define SIM_HITCURVE_BLOCK_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// What a prefix cache sees of a workload: for each request, in order of
/// arrival, the contents of its prompt's blocks, numbered 0, 1, ... in order of
/// their first use. Four bytes per reference, and eight per content. Immutable.
class BlockTrace {
 public:
  /// InvalidArgument if no request has block ids, or if there are more than
  /// 2^30 contents. O(references).
  static absl::StatusOr<BlockTrace> Create(
      std::span<const TraceRequest> requests, std::int32_t block_tokens);

  [[nodiscard]] BlockSize block_size() const { return block_size_; }
  [[nodiscard]] std::size_t num_requests() const { return requests_.size(); }
  [[nodiscard]] std::int64_t num_references() const {
    return static_cast<std::int64_t>(references_.size());
  }
  /// Distinct contents: what a cache needs that never evicts.
  [[nodiscard]] BlockCount num_contents() const {
    return BlockCount(static_cast<std::int64_t>(ids_.size()));
  }

  [[nodiscard]] TokenCount prompt(std::size_t request) const {
    return TokenCount(requests_[request].prompt_tokens);
  }
  [[nodiscard]] std::int64_t arrival_ns(std::size_t request) const {
    return requests_[request].arrival_ns;
  }
  /// The request's contents, from the first block of its prompt on.
  [[nodiscard]] std::span<const std::uint32_t> contents(
      std::size_t request) const {
    const std::size_t begin = first_reference(request);
    return std::span(references_)
        .subspan(begin, requests_[request].end - begin);
  }
  /// Index, over all requests, of the request's first reference.
  [[nodiscard]] std::size_t first_reference(std::size_t request) const {
    return request == 0 ? 0 : requests_[request - 1].end;
  }
  /// The trace's own id of a content.
  [[nodiscard]] std::uint64_t id(std::uint32_t content) const {
    return ids_[content];
  }

 private:
  struct Request {
    std::int64_t arrival_ns;
    std::size_t end;  // of its references
    std::int32_t prompt_tokens;
  };

  explicit BlockTrace(BlockSize block_size) : block_size_(block_size) {}

  BlockSize block_size_;
  std::vector<Request> requests_;
  std::vector<std::uint32_t> references_;  // contents
  std::vector<std::uint64_t> ids_;         // by content
};

}  // namespace pagedkv::sim

#endif  // SIM_HITCURVE_BLOCK_TRACE_H_
