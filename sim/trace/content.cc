// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/content.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "sim/trace/mix64.h"

namespace pagedkv::sim {
namespace {

// Keep what is told by a block id apart from what only one request has.
constexpr std::uint64_t kBlockSalt = 0xB10C'1D00'0000'0001;
constexpr std::uint64_t kRequestSalt = 0x0E9E'57ED'0000'0002;

TokenId Token(std::uint64_t content, std::int64_t at) {
  return static_cast<TokenId>(Mix64(content + static_cast<std::uint64_t>(at)) >>
                              33);
}

/// Appends the tokens at the positions from `begin` to `end`, those of `ids` as
/// far as these go; the first of `ids` is the block that holds `begin`.
void AppendTokens(std::span<const std::uint64_t> ids, BlockSize trace_block,
                  std::int64_t request_id, std::int64_t begin, std::int64_t end,
                  std::vector<TokenId>& tokens) {
  const std::int64_t size = trace_block.value();
  std::int64_t at = begin;
  for (const std::uint64_t id : ids) {
    const std::uint64_t content = Mix64(id ^ kBlockSalt);
    const std::int64_t stop = std::min(end, (at / size + 1) * size);
    for (; at < stop; ++at) tokens.push_back(Token(content, at % size));
  }
  const std::uint64_t own =
      Mix64(static_cast<std::uint64_t>(request_id) ^ kRequestSalt);
  for (; at < end; ++at) tokens.push_back(Token(own, at));
}

}  // namespace

void PromptTokens(const TraceRequest& request, BlockSize trace_block,
                  std::vector<TokenId>& tokens) {
  const std::int64_t length = request.prompt_tokens;
  const std::span<const TokenId> known(
      request.prompt_token_ids.data(),
      std::min(request.prompt_token_ids.size(),
               static_cast<std::size_t>(length)));
  tokens.assign(known.begin(), known.end());
  tokens.reserve(static_cast<std::size_t>(length));
  std::span<const std::uint64_t> ids;
  if (known.empty()) ids = request.block_ids;
  AppendTokens(ids, trace_block, request.id,
               static_cast<std::int64_t>(known.size()), length, tokens);
}

void OutputTokens(const TraceRequest& request, BlockSize trace_block,
                  std::vector<TokenId>& tokens) {
  tokens.clear();
  tokens.reserve(static_cast<std::size_t>(request.output_tokens));
  const std::int64_t begin = request.prompt_tokens;
  AppendTokens(request.output_block_ids, trace_block, request.id, begin,
               begin + request.output_tokens, tokens);
}

void TellOutput(const TraceRequest& next, BlockSize trace_block,
                TraceRequest& turn) {
  const TokenCount prompt(turn.prompt_tokens);
  const TokenCount end = prompt + TokenCount(turn.output_tokens);
  const auto full =
      static_cast<std::size_t>(trace_block.FullBlocks(prompt).value());
  const auto blocks =
      static_cast<std::size_t>(trace_block.CoveringBlocks(end).value());
  if (!turn.output_block_ids.empty() || TokenCount(next.prompt_tokens) < end ||
      next.block_ids.size() < blocks || turn.block_ids.size() < full ||
      !std::equal(turn.block_ids.begin(),
                  turn.block_ids.begin() + static_cast<std::ptrdiff_t>(full),
                  next.block_ids.begin())) {
    return;
  }
  const std::span<const std::uint64_t> shown(next.block_ids);
  const auto output = shown.subspan(full, blocks - full);
  turn.output_block_ids.assign(output.begin(), output.end());
  if (turn.block_ids.size() > full) turn.block_ids[full] = shown[full];
}

}  // namespace pagedkv::sim
