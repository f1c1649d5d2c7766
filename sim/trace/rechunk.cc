// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/rechunk.h"

#include <algorithm>
#include <cstddef>

#include "sim/trace/mix64.h"

namespace pagedkv::sim {

std::vector<std::uint64_t> Rechunk(std::span<const std::uint64_t> trace_ids,
                                   BlockSize trace_block, TokenCount prompt,
                                   BlockSize engine_block) {
  const TokenCount known = std::min(
      prompt, trace_block.Slots(
                  BlockCount(static_cast<std::int64_t>(trace_ids.size()))));
  std::vector<std::uint64_t> ids;
  ids.reserve(
      static_cast<std::size_t>(engine_block.CoveringBlocks(known).value()));
  for (TokenCount begin{0}; begin < known;) {
    const TokenCount end =
        std::min(known, begin + engine_block.Slots(BlockCount(1)));
    const auto first =
        static_cast<std::size_t>(trace_block.FullBlocks(begin).value());
    const auto last =
        static_cast<std::size_t>(trace_block.CoveringBlocks(end).value());
    // Where the block begins and how far it is filled are part of its content.
    std::uint64_t id = Mix64(static_cast<std::uint64_t>(begin.value()));
    id = Mix64(id + static_cast<std::uint64_t>((end - begin).value()));
    for (std::size_t i = first; i < last; ++i) id = Mix64(id + trace_ids[i]);
    ids.push_back(id);
    begin = end;
  }
  return ids;
}

}  // namespace pagedkv::sim
