// SPDX-License-Identifier: Apache-2.0
//
// What a machine without a device answers, and what errors become.

#include "backends/cuda/cuda_status.h"

#include <string>

#include "cuda_runtime_api.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "backends/cuda/cuda_block_storage.h"
#include "backends/cuda/device_api.h"

namespace pagedkv::cuda {
namespace {

using ::testing::HasSubstr;

TEST(RuntimeStatusTest, SaysWhichCallFailedAndWhy) {
  EXPECT_TRUE(RuntimeStatus(cudaSuccess, "cudaMalloc").ok());
  const auto expect = [](int error, absl::StatusCode code, const char* name) {
    const absl::Status status = RuntimeStatus(error, "cudaMalloc");
    EXPECT_EQ(status.code(), code);
    EXPECT_THAT(std::string(status.message()), HasSubstr("cudaMalloc: "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  };
  expect(cudaErrorMemoryAllocation, absl::StatusCode::kResourceExhausted,
         "cudaErrorMemoryAllocation, 2");
  expect(cudaErrorNoDevice, absl::StatusCode::kUnavailable,
         "cudaErrorNoDevice, 100");
  expect(cudaErrorInsufficientDriver, absl::StatusCode::kUnavailable,
         "cudaErrorInsufficientDriver, 35");
  expect(cudaErrorIllegalAddress, absl::StatusCode::kInternal,
         "cudaErrorIllegalAddress, 700");
}

TEST(CudaApiTest, WithoutADeviceCallsSayThatThereIsNone) {
  if (NumDevices() > 0) GTEST_SKIP() << "there is a device";
  EXPECT_EQ(CudaApi().Allocate(1).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(CudaApi().ReserveAddresses(1 << 21).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(CudaApi().Granularity().status().code(),
            absl::StatusCode::kUnavailable);
  for (const BlockCount most : {BlockCount(0), BlockCount(8)}) {
    const auto storage = CudaBlockStorage::Create(
        {.layout = {.num_blocks = BlockCount(4),
                    .groups = {{.block_size = BlockSize(16),
                                .layers = {{.bytes_per_block = Bytes(64)}}}},
                    .max_num_blocks = most}});
    EXPECT_EQ(storage.status().code(), absl::StatusCode::kUnavailable)
        << storage.status();
  }
}

}  // namespace
}  // namespace pagedkv::cuda
