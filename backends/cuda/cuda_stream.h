// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_CUDA_STREAM_H_
#define BACKENDS_CUDA_CUDA_STREAM_H_

/// The handles of CUDA's runtime, by the names that its headers give them, so
/// that clients of this backend need none of its headers.

struct CUstream_st;  // NOLINT(readability-identifier-naming)
struct CUevent_st;   // NOLINT(readability-identifier-naming)

namespace pagedkv::cuda {

using Stream = CUstream_st*;  ///< cudaStream_t; null is the default stream
using Event = CUevent_st*;    ///< cudaEvent_t

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_CUDA_STREAM_H_
