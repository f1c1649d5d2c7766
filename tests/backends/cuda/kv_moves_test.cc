// SPDX-License-Identifier: Apache-2.0
//
// ScatterKv and GatherKv of a device against the host's, to the bit: on a GPU,
// and in another program on the emulated device.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "backends/cuda/kv_kernels.h"
#include "pagedkv/kv_kernels.h"
#include "tests/allocator/kernels/kernel_data.h"
#include "tests/backends/cuda/device_memory.h"

namespace pagedkv::cuda {
namespace {

using ::testing::HasSubstr;

constexpr std::int32_t kBlockSize = 16;
constexpr std::int32_t kNumBlocks = 6;

class KvMovesTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = DeviceMemory::Create();
    if (memory_ == nullptr) GTEST_SKIP() << "no device";
  }

  // Rows start behind a byte, so that they are aligned to nothing on the host.
  static std::span<std::byte> Aligned(std::vector<std::byte>& bytes) {
    return std::span(bytes).subspan(1);
  }

  std::mt19937 random_{20241125};
  std::unique_ptr<DeviceMemory> memory_;
};

struct Case {
  KvTensor tensor;
  KvOrder order = KvOrder::kNhd;
  KvDtype row_dtype = KvDtype::kFp32;
  std::int64_t gap = 0;
  Elements elements = Elements::kOrdinary;
  bool is_aligned = false;  // the blocks
};

std::string NameOf(const Case& c) {
  return absl::StrFormat(
      "%s, %d heads of %d, %s, rows %s with gaps of %d, elements %d, "
      "aligned %d",
      NameOf(c.tensor.format), c.tensor.heads, c.tensor.head_size,
      c.order == KvOrder::kNhd ? "NHD" : "HND",
      std::string(KvDtypeName(c.row_dtype)), c.gap,
      static_cast<int>(c.elements), c.is_aligned);
}

std::vector<Case> Cases(std::mt19937& random) {
  std::vector<Case> cases;
  for (const KvFormat& format : AllFormats()) {
    for (const KvDtype row_dtype :
         {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
      constexpr std::int32_t kHeadSizes[] = {64, 128, 8, 20, 80, 132, 36, 4};
      cases.push_back(
          {.tensor = {static_cast<std::int32_t>(1 + random() % 3),
                      kHeadSizes[random() % std::size(kHeadSizes)], format},
           .order = random() % 2 == 0 ? KvOrder::kNhd : KvOrder::kHnd,
           .row_dtype = row_dtype,
           .gap = static_cast<std::int64_t>(random() % 2 * 3),
           .elements = static_cast<Elements>(random() % 3),
           .is_aligned = random() % 2 == 0});
    }
  }
  return cases;
}

PoisonedBlocks BlocksFor(const Case& c) {
  PoisonedBlocks blocks(c.tensor, kBlockSize, kNumBlocks, c.order);
  blocks.view().scale = 0.0625F + 0x1p-20F;
  return blocks;
}

// Whole runs of 8 tokens, in some order, with padding between them.
std::vector<std::int64_t> RandomSlots(std::mt19937& random) {
  std::vector<std::int64_t> runs(kBlockSize * kNumBlocks / 8);
  std::iota(runs.begin(), runs.end(), 0);
  std::shuffle(runs.begin(), runs.end(), random);
  std::vector<std::int64_t> slots;
  for (std::size_t i = 0; i < 5; ++i) {
    for (std::int64_t t = 0; t < 8; ++t) slots.push_back(runs[i] * 8 + t);
    slots.insert(slots.end(), random() % 3, -1);
  }
  return slots;
}

TEST_F(KvMovesTest, ScatterWritesTheBytesOfTheHostAndNoOthers) {
  for (const Case& c : Cases(random_)) {
    SCOPED_TRACE(NameOf(c));
    const std::vector<std::int64_t> slots = RandomSlots(random_);
    const auto num_rows = static_cast<std::int64_t>(slots.size());
    PoisonedRows rows(c.row_dtype, c.tensor, num_rows, c.gap);
    FillRows(rows, c.row_dtype, c.tensor, num_rows, c.elements, random_);
    PoisonedBlocks blocks = BlocksFor(c);
    PoisonedBlocks expected = blocks;
    ASSERT_TRUE(
        pagedkv::ScatterKv(expected.view(), rows.const_rows(), slots).ok());

    const std::span<std::byte> bytes =
        std::span(blocks.bytes()).subspan(c.is_aligned ? 1 : 0);
    std::byte* const device = memory_->Upload(bytes);
    KvTensorView view = blocks.view();
    view.base = device + (view.base - bytes.data());
    ConstKvRows device_rows = rows.const_rows();
    device_rows.data = memory_->Upload(Aligned(rows.bytes()));
    const absl::Status status = ScatterKv(
        view, device_rows,
        memory_->UploadItems(std::span<const std::int64_t>(slots)), nullptr);
    ASSERT_TRUE(status.ok()) << status;
    memory_->Download(device, bytes);
    ASSERT_TRUE(blocks.bytes() == expected.bytes());
  }
}

TEST_F(KvMovesTest, GatherReadsWhatTheHostReadsAndWritesNothingElse) {
  for (const Case& c : Cases(random_)) {
    SCOPED_TRACE(NameOf(c));
    PoisonedBlocks blocks = BlocksFor(c);
    PoisonedRows all(KvDtype::kFp32, c.tensor, kBlockSize * kNumBlocks, 0);
    FillRows(all, KvDtype::kFp32, c.tensor, kBlockSize * kNumBlocks, c.elements,
             random_);
    std::vector<std::int64_t> slots(kBlockSize * kNumBlocks);
    std::iota(slots.begin(), slots.end(), 0);
    ASSERT_TRUE(
        pagedkv::ScatterKv(blocks.view(), all.const_rows(), slots).ok());
    const std::vector<BlockId> table = {BlockId(4), BlockId(1), BlockId(5)};
    const auto first = static_cast<std::int64_t>(random_() % 20);
    const auto num_tokens = static_cast<std::int64_t>(random_() % 28);
    PoisonedRows rows(c.row_dtype, c.tensor, num_tokens, c.gap);
    PoisonedRows expected = rows;
    ASSERT_TRUE(pagedkv::GatherKv(blocks.view(), table, first, num_tokens,
                                  expected.rows())
                    .ok());

    const std::span<std::byte> bytes =
        std::span(blocks.bytes()).subspan(c.is_aligned ? 1 : 0);
    KvTensorView view = blocks.view();
    view.base = memory_->Upload(bytes) + (view.base - bytes.data());
    KvRows device_rows = rows.rows();
    device_rows.data = memory_->Upload(Aligned(rows.bytes()));
    const absl::Status status =
        GatherKv(view, memory_->UploadItems(std::span<const BlockId>(table)),
                 first, num_tokens, device_rows, nullptr);
    ASSERT_TRUE(status.ok()) << status;
    memory_->Download(device_rows.data, Aligned(rows.bytes()));
    ASSERT_TRUE(rows.bytes() == expected.bytes());
  }
}

// The device has other instructions for it: every code there is.
TEST_F(KvMovesTest, EveryElementOfARowIsConvertedAsOnTheHost) {
  for (const KvDtype from : {KvDtype::kFp16, KvDtype::kBf16}) {
    for (const KvDtype to : kKvDtypes) {
      SCOPED_TRACE(absl::StrFormat("%s to %s", std::string(KvDtypeName(from)),
                                   std::string(KvDtypeName(to))));
      const KvTensor tensor{1, 65536, {.dtype = to}};
      PoisonedRows rows(from, tensor, 1, 0);
      for (std::uint32_t i = 0; i < 65536; ++i) {
        StoreElementBits(from, rows.row(0, 0), i, i);
      }
      PoisonedBlocks blocks(tensor, 1, 2, KvOrder::kNhd);
      blocks.view().scale = 0.37F;
      PoisonedBlocks expected = blocks;
      const std::vector<std::int64_t> slots = {1};
      ASSERT_TRUE(
          pagedkv::ScatterKv(expected.view(), rows.const_rows(), slots).ok());
      std::byte* const device = memory_->Upload(blocks.bytes());
      KvTensorView view = blocks.view();
      view.base = device + 1;
      ConstKvRows device_rows = rows.const_rows();
      device_rows.data = memory_->Upload(Aligned(rows.bytes()));
      ASSERT_TRUE(
          ScatterKv(view, device_rows,
                    memory_->UploadItems(std::span<const std::int64_t>(slots)),
                    nullptr)
              .ok());
      memory_->Download(device, blocks.bytes());
      EXPECT_TRUE(blocks.bytes() == expected.bytes());
    }
  }
}

TEST_F(KvMovesTest, RefusesWhatNoKernelCanDo) {
  PoisonedBlocks blocks({1, 8, {}}, kBlockSize, kNumBlocks, KvOrder::kNhd);
  std::vector<std::byte> bytes(64);
  const std::vector<std::int64_t> slots = {1};
  const std::vector<BlockId> table = {BlockId(1)};
  const auto says = [](const absl::Status& status, const char* what) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  const ConstKvRows odd = {bytes.data() + 1, KvDtype::kFp16, 8, 8};
  says(ScatterKv(blocks.view(), odd, slots, nullptr), "2 bytes");
  const ConstKvRows int8 = {bytes.data(), KvDtype::kInt8, 8, 8};
  says(ScatterKv(blocks.view(), int8, slots, nullptr), "fp32, fp16 or bf16");
  const KvRows rows = {bytes.data(), KvDtype::kFp16, 8, 8};
  says(GatherKv(blocks.view(), table, 0, 17, rows, nullptr), "16 slots");
  says(GatherKv(blocks.view(), table, -1, 1, rows, nullptr), "-1");
  KvTensorView view = blocks.view();
  view.base = nullptr;
  says(ScatterKv(view, odd, slots, nullptr), "view");
}

}  // namespace
}  // namespace pagedkv::cuda
