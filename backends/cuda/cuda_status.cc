// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/cuda_status.h"

#include <string>

#include "absl/strings/str_format.h"
#include "cuda_runtime_api.h"

namespace pagedkv::cuda {

absl::Status RuntimeStatus(int error, const char* call) {
  const auto code = static_cast<cudaError_t>(error);
  if (code == cudaSuccess) return absl::OkStatus();
  const std::string message =
      absl::StrFormat("%s: %s (%s, %d)", call, cudaGetErrorString(code),
                      cudaGetErrorName(code), error);
  switch (code) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorStubLibrary:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

}  // namespace pagedkv::cuda
