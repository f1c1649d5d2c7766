// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_TRACE_REQUEST_H_
#define SIM_TRACE_TRACE_REQUEST_H_

#include <cstdint>
#include <vector>

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// One request of a workload, whatever the format it came from.
struct TraceRequest {
  std::int64_t id = 0;          ///< row of the trace, from 0, dropped ones too
  std::int64_t arrival_ns = 0;  ///< since the first row of the trace
  std::int32_t prompt_tokens = 0;
  std::int32_t output_tokens = 0;
  /// Content of the prompt, one id per block of the trace's own block size
  /// (the last, partial block included); empty where the trace has none.
  std::vector<std::uint64_t> block_ids = {};
  /// Token ids of the prompt; empty where the trace has none.
  std::vector<TokenId> prompt_token_ids = {};
  /// The turn of its session that it goes on from, by `id`: closed loop, it
  /// arrives `delay_ns` after that one has finished, and `arrival_ns` is when
  /// it would arrive if that one took no time. -1: it waits for nobody.
  std::int64_t follows = -1;
  std::int64_t delay_ns = 0;
  /// Content of the output as later turns show it in their prompts, one id per
  /// block that holds a token of it: the first is the block after the prompt's
  /// full ones, so that where the prompt ends within a block, its id is both
  /// the last of `block_ids` and the first here. Empty where that is unknown.
  std::vector<std::uint64_t> output_block_ids = {};
};

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_TRACE_REQUEST_H_
