// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATOR_KV_TENSOR_BYTES_H_
#define ALLOCATOR_KV_TENSOR_BYTES_H_

#include <cstdint>

#include "allocator/checked.h"
#include "pagedkv/kv_tensor.h"

namespace pagedkv {

/// Of one vector: the elements of one head of one token. REQUIRES: they fill
/// whole bytes.
inline std::int64_t VectorBytes(const KvTensor& tensor) {
  return std::int64_t{tensor.head_size} * KvDtypeBits(tensor.format.dtype) / 8;
}

/// The scales of one vector, or of one run of tokens with kChannel.
inline std::int64_t ScalesPerVector(const KvTensor& tensor) {
  switch (tensor.format.scheme) {
    case ScaleScheme::kTensor:
      return 0;
    case ScaleScheme::kToken:
      return 1;
    case ScaleScheme::kChannel:
      return tensor.head_size;
    case ScaleScheme::kGroup:
      return CeilDivide(tensor.head_size, tensor.format.group);
  }
  return 0;
}

}  // namespace pagedkv

#endif  // ALLOCATOR_KV_TENSOR_BYTES_H_
