// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_CUDA_CUDA_STATUS_H_
#define BACKENDS_CUDA_CUDA_STATUS_H_

#include "absl/status/status.h"

namespace pagedkv::cuda {

/// What a cudaError_t of the runtime means: Ok for 0; ResourceExhausted where
/// memory lacks; Unavailable where there is no device, or no driver that is new
/// enough; Internal for anything else. The message names the call, the error
/// and its number.
absl::Status RuntimeStatus(int error, const char* call);

}  // namespace pagedkv::cuda

#endif  // BACKENDS_CUDA_CUDA_STATUS_H_
