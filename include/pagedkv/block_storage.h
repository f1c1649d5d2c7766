// SPDX-License-Identifier: Apache-2.0
#ifndef PAGEDKV_BLOCK_STORAGE_H_
#define PAGEDKV_BLOCK_STORAGE_H_

#include <cstdint>

#include "pagedkv/types.h"

namespace pagedkv {

/// Copy the first `num_tokens` slots of block `source` to block `destination`
/// in every layer of `group`: what copy-on-write asks of the storage. A list of
/// copies is to be done in its order and before the step's tokens are written.
struct BlockCopy {
  std::int32_t group = 0;
  BlockId source;
  BlockId destination;
  std::int32_t num_tokens = 0;
  friend bool operator==(const BlockCopy&, const BlockCopy&) = default;
};

}  // namespace pagedkv

#endif  // PAGEDKV_BLOCK_STORAGE_H_
