// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_STUDY_SHARING_BATCH_H_
#define SIM_STUDY_SHARING_BATCH_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// How the sequences of a request come about.
enum class Decoding {
  kParallelSamples,  ///< forked once, where the prompt ends
  kBeamSearch,       ///< forked and dropped all the time
};

struct SharingOptions {
  Decoding decoding = Decoding::kParallelSamples;
  std::int32_t sequences = 2;  ///< of each request
  TokenCount capacity{0};
  BlockSize block_size{16};
  TokenCount max_sequence_tokens{0};
  std::int32_t max_num_seqs = 256;
  TokenCount max_num_batched_tokens{8192};
  double watermark = 0.01;
  /// Beam search: after a step each beam goes on from itself, or, with this
  /// probability in 1/10,000, from one of the others, all equally likely; who
  /// has no successor is dropped. An assumption: which hypotheses survive
  /// depends on the model's probabilities, which no trace has.
  std::int32_t divergence = 0;
  std::uint64_t seed = 0;
};

/// What sharing saves on the library's scheduler, with `requests` in a queue
/// that never empties; each has so many sequences, all of its output length.
/// The mean over steps, without warm-up and drain, of
///   100 * (1 - blocks in use / entries of all block tables).
/// Internal where no step counts.
absl::StatusOr<double> SharingSavedPercent(
    const SharingOptions& options, std::span<const TraceRequest> requests);

}  // namespace pagedkv::sim

#endif  // SIM_STUDY_SHARING_BATCH_H_
