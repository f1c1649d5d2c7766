// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_TRACE_CONTENT_H_
#define SIM_TRACE_CONTENT_H_

#include <vector>

#include "pagedkv/types.h"
#include "sim/trace/trace_request.h"

namespace pagedkv::sim {

/// Token ids that stand for the content of a request, for a cache that looks
/// at tokens: two requests have equal tokens as far as the trace says that
/// their content is equal. Token `j` of a block with the id `b` is a mix of the
/// two, of 31 bits; what the trace does not tell is of the request's own, equal
/// to nothing else. The same on every machine. O(tokens).

/// The prompt's tokens: `prompt_token_ids`, else those of `block_ids`. `tokens`
/// becomes `prompt_tokens` long. `trace_block` is that of the ids, and of no
/// matter where there are none.
void PromptTokens(const TraceRequest& request, BlockSize trace_block,
                  std::vector<TokenId>& tokens);

/// What the request generates, as prompts that go on from it show it: token
/// `i` of the output has the position `prompt_tokens + i`. `tokens` becomes
/// `output_tokens` long. Known only where `output_block_ids` are.
void OutputTokens(const TraceRequest& request, BlockSize trace_block,
                  std::vector<TokenId>& tokens);

/// Takes the `output_block_ids` of `turn`, unless it has some, from the prompt
/// of `next`, which goes on from it: if that begins with the prompt's full
/// blocks and is long enough for the output. Where the prompt ends within a
/// block, a trace may have another id for it than for the block when it is
/// full; `turn` gets the latter, so that its tokens are those of `next`.
void TellOutput(const TraceRequest& next, BlockSize trace_block,
                TraceRequest& turn);

}  // namespace pagedkv::sim

#endif  // SIM_TRACE_CONTENT_H_
