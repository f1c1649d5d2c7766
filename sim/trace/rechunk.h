// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_RECHUNK_H_
#define SIM_TRACE_RECHUNK_H_

#include <cstdint>
#include <span>
#include <vector>

#include "pagedkv/types.h"

namespace pagedkv::sim {

/// The content of a prompt in an engine's blocks, from its ids in a trace's
/// blocks: one id per engine block, the last, partial one included, such that
/// two prompts have equal leading ids exactly as far as their trace ids say
/// that their content is equal. One trace block of 512 tokens becomes 32 ids of
/// 16; with engine blocks larger than the trace's, an id stands for all the
/// trace blocks that it covers. Ids of a partial trace block stay apart from
/// those of longer prompts only if the trace keeps them apart, as Mooncake
/// does.
///
/// Where there are too few trace ids for the prompt, the rest is unknown and
/// gets no id; too many are ignored. O(ids).
std::vector<std::uint64_t> Rechunk(std::span<const std::uint64_t> trace_ids,
                                   BlockSize trace_block, TokenCount prompt,
                                   BlockSize engine_block);

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_RECHUNK_H_
