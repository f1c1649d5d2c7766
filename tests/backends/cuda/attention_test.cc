// SPDX-License-Identifier: Apache-2.0
//
// PagedAttention of a device, against float64 and for equal bits: on a GPU, and
// in another program on the emulated device.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "backends/cuda/attention_params.h"
#include "backends/cuda/kv_kernels.h"
#include "tests/backends/cuda/device_memory.h"
#include "tests/support/attention_problem.h"

namespace pagedkv::cuda {
namespace {

using ::testing::HasSubstr;

KvLayer Layer(std::int32_t heads, std::int32_t head_size,
              KvFormat key = KvFormat::For(KvDtype::kFp16),
              KvFormat value = KvFormat::For(KvDtype::kFp16)) {
  KvLayer layer;
  layer.key = {heads, head_size, key};
  layer.value = {heads, head_size, value};
  return layer;
}

KvLayer Latent(std::int32_t size, std::int32_t rotary_size, KvFormat format) {
  KvLayer layer = Layer(1, size, format);
  layer.latent = true;
  layer.value = {rotary_size > 0 ? 1 : 0, rotary_size, format};
  return layer;
}

constexpr KvFormat kPerToken8 = {
    .dtype = KvDtype::kInt8, .scheme = ScaleScheme::kToken, .scale_bits = 32};

std::vector<KvFormat> Formats() {
  std::vector<KvFormat> formats = {
      kPerToken8,
      {.dtype = KvDtype::kInt8, .scale_bits = 0},
      {.dtype = KvDtype::kFp8, .scheme = ScaleScheme::kToken, .scale_bits = 16},
      {.dtype = KvDtype::kInt4,
       .scheme = ScaleScheme::kGroup,
       .group = 12,
       .scale_bits = 16,
       .zero_point_bits = 16}};
  for (const KvDtype dtype : kKvDtypes) {
    formats.push_back(KvFormat::For(dtype));
  }
  return formats;
}

constexpr KvFormat PerChannel(KvDtype dtype, std::int32_t run) {
  return {.dtype = dtype,
          .scheme = ScaleScheme::kChannel,
          .group = run,
          .scale_bits = 16,
          .zero_point_bits = 16};
}

std::string Name(const KvFormat& format) {
  return std::string(KvDtypeName(format.dtype)) + " scheme " +
         std::to_string(static_cast<int>(format.scheme)) + " group " +
         std::to_string(format.group);
}

// Two decodes, of which one has several splits, and a short prompt.
AttentionOptions Usual() {
  return {.layer = Layer(2, 64),
          .num_query_heads = 6,
          .softmax_scale = 0.125F,
          .sequences = {{.id = 1, .num_tokens = 23, .num_queries = 23},
                        {.id = 2, .num_tokens = 600, .num_queries = 1},
                        {.id = 3, .num_tokens = 1, .num_queries = 1}}};
}

class AttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    memory_ = DeviceMemory::Create();
    if (memory_ == nullptr) GTEST_SKIP() << "no device";
  }

  // The problem's arguments in the device's memory, attended to, and its output
  // back in the problem. `extra` tokens and queries more than there are: the
  // host need not know the lengths.
  void Run(AttentionProblem& problem, bool has_workspace = true,
           std::int32_t extra = 0) {
    PagedAttentionArgs args = problem.args();
    const AttentionOptions& options = problem.options();
    const std::size_t num_sequences = options.sequences.size();
    AttentionLaunch launch{.max_tokens = 1 + extra, .max_queries = 1 + extra};
    for (const auto& sequence : options.sequences) {
      launch.max_tokens =
          std::max(launch.max_tokens, sequence.num_tokens + extra);
      launch.max_queries =
          std::max(launch.max_queries, sequence.num_queries + extra);
    }

    UploadView(problem.storage(), args.key);
    if (args.value.tensor.heads > 0) UploadView(problem.storage(), args.value);
    args.batch.query_begin = memory_->UploadItems(args.batch.query_begin);
    args.batch.num_tokens = memory_->UploadItems(args.batch.num_tokens);
    std::vector<const BlockId*> tables;
    std::vector<ResidualRows> residuals(args.batch.residuals.begin(),
                                        args.batch.residuals.end());
    for (std::size_t s = 0; s < num_sequences; ++s) {
      tables.push_back(
          memory_
              ->UploadItems(std::span<const BlockId>(
                  args.batch.tables[s], problem.full_table(s).size()))
              .data());
      if (residuals.empty()) continue;
      const std::int64_t rows =
          options.sequences[s].num_tokens - residuals[s].first;
      UploadRows(residuals[s].key, rows);
      UploadRows(residuals[s].value, rows);
    }
    args.batch.tables =
        memory_->UploadItems(std::span<const BlockId* const>(tables));
    if (!residuals.empty()) {
      args.batch.residuals =
          memory_->UploadItems(std::span<const ResidualRows>(residuals));
    }
    const std::int64_t num_rows = problem.first_row(num_sequences);
    UploadRows(args.query, num_rows);
    const std::vector<std::byte>& output = problem.output().bytes();
    args.output.data = memory_->Upload(output);
    if (!args.sink_logits.empty()) {
      args.sink_logits = memory_->UploadItems(args.sink_logits);
    }
    if (has_workspace) {
      const std::vector<std::byte> poison(
          static_cast<std::size_t>(
              AttentionWorkspaceBytes(args, launch.max_tokens)),
          std::byte{0xff});
      launch.workspace = {memory_->Upload(poison), poison.size()};
    }
    const absl::Status status = PagedAttention(args, launch, nullptr);
    ASSERT_TRUE(status.ok()) << status;
    if (output.empty()) return;
    memory_->Download(args.output.data,
                      {problem.output().At(0, 0, 0), output.size()});
  }

  void RunAndCompare(AttentionProblem& problem, bool has_workspace = true) {
    Run(problem, has_workspace);
    if (!HasFatalFailure()) ExpectReferenceOutput(problem);
  }
  void RunAndCompare(const AttentionOptions& options) {
    AttentionProblem problem(options);
    RunAndCompare(problem);
  }

  // What each query of each head of a sequence gives, to the bit.
  using Bits = std::vector<std::vector<std::byte>>;
  Bits RunForBits(const AttentionOptions& options, std::size_t sequence = 0,
                  bool has_workspace = true) {
    AttentionProblem problem(options);
    Run(problem, has_workspace);
    Bits bits;
    for (std::int32_t q = 0; q < options.sequences[sequence].num_queries; ++q) {
      for (std::int32_t h = 0; h < options.num_query_heads; ++h) {
        bits.push_back(problem.OutputBytes(problem.first_row(sequence) + q, h));
      }
    }
    return bits;
  }

  std::unique_ptr<DeviceMemory> memory_;

 private:
  // All of the arena that a view lies in.
  void UploadView(const BlockStorage& storage, KvTensorView& view) {
    const GroupLayout& group = storage.layout().groups[0];
    for (std::size_t k = 0; k < group.layers.size(); ++k) {
      const BlockArena arena = storage.arena(0, static_cast<int>(k));
      const std::int64_t bytes =
          (arena.block_stride * storage.layout().num_blocks.value()).value();
      if (view.base < arena.base || view.base >= arena.base + bytes) continue;
      view.base =
          memory_->Upload({arena.base, static_cast<std::size_t>(bytes)}) +
          (view.base - arena.base);
      return;
    }
    FAIL() << "the view is in no arena";
  }
  void UploadRows(ConstKvRows& rows, std::int64_t num_rows) {
    rows.data = memory_->Upload(
        {rows.data, static_cast<std::size_t>(num_rows * rows.token_stride *
                                             KvDtypeBits(rows.dtype) / 8)});
  }
};

TEST_F(AttentionTest, EqualsTheReference) { RunAndCompare(Usual()); }

TEST_F(AttentionTest, EqualsTheReferenceInEveryFormat) {
  for (const KvFormat& format : Formats()) {
    for (const std::int32_t alignment : {1, 16}) {
      SCOPED_TRACE(Name(format));
      AttentionOptions options = Usual();
      options.layer = Layer(2, 48, format, format);
      options.alignment = alignment;
      options.sequences[0].num_queries = 5;
      RunAndCompare(options);
    }
  }
}

// Each number of threads for a vector, and of rows in a tile.
TEST_F(AttentionTest, EqualsTheReferenceForEveryShape) {
  for (const std::int32_t size : {8, 64, 72, 128, 200, 256, 320}) {
    for (const std::int32_t group : {1, 3, 8, 11}) {
      SCOPED_TRACE(std::to_string(size) + " by " + std::to_string(group));
      AttentionOptions options = Usual();
      options.layer = Layer(1, size);
      options.alignment = 16;
      options.num_query_heads = group;
      options.sequences = {{.id = 1, .num_tokens = 40, .num_queries = 3},
                           {.id = 2, .num_tokens = 300, .num_queries = 1}};
      RunAndCompare(options);
    }
  }
}

TEST_F(AttentionTest, EqualsTheReferenceWithScalesPerChannel) {
  for (const KvDtype dtype : {KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2}) {
    for (const std::int32_t run : {0, 4}) {
      SCOPED_TRACE(Name(PerChannel(dtype, run)));
      AttentionOptions options = Usual();
      options.layer =
          Layer(2, 32, PerChannel(dtype, run), KvFormat::For(dtype));
      options.sequences = {{.id = 1, .num_tokens = 64, .num_queries = 3},
                           {.id = 2, .num_tokens = 272, .num_queries = 1}};
      RunAndCompare(options);
    }
  }
}

TEST_F(AttentionTest, EqualsTheReferenceForLatents) {
  for (const std::int32_t rotary : {64, 12, 0}) {
    for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp8}) {
      AttentionOptions options = Usual();
      options.layer = Latent(512, rotary, KvFormat::For(dtype));
      options.alignment = 16;
      options.num_query_heads = 5;
      options.softmax_scale = 0.07F;
      options.sequences = {{.id = 1, .num_tokens = 30, .num_queries = 2},
                           {.id = 2, .num_tokens = 270, .num_queries = 1}};
      RunAndCompare(options);
    }
  }
  AttentionOptions options = Usual();
  options.layer = Latent(20, 12, KvFormat::For(KvDtype::kFp16));
  options.window = 40;
  options.num_sink_tokens = 3;
  RunAndCompare(options);
}

TEST_F(AttentionTest, EqualsTheReferenceForEveryWindowAndSink) {
  for (const std::int32_t window : {1, 31, 256, 257, 300, 1000}) {
    for (const std::int32_t sinks : {0, 4, 280, 2000}) {
      SCOPED_TRACE("window " + std::to_string(window) + ", sinks " +
                   std::to_string(sinks));
      AttentionOptions options = Usual();
      options.layer = Layer(1, 16);
      options.num_query_heads = 3;
      options.window = window;
      options.num_sink_tokens = sinks;
      options.has_sink_logits = sinks == 4;
      options.sequences = {{.id = 1, .num_tokens = 280, .num_queries = 5},
                           {.id = 2, .num_tokens = 777, .num_queries = 1}};
      RunAndCompare(options);
    }
  }
}

TEST_F(AttentionTest, EqualsTheReferenceWithResidualRows) {
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
    AttentionOptions options = Usual();
    options.layer = Layer(2, 32, PerChannel(KvDtype::kInt2, 16),
                          KvFormat::For(KvDtype::kInt2));
    options.residual_dtype = dtype;
    options.sequences = {
        {.id = 1, .num_tokens = 77, .num_queries = 4, .num_residual = 13},
        {.id = 2, .num_tokens = 290, .num_queries = 1, .num_residual = 290},
        {.id = 3, .num_tokens = 64, .num_queries = 2},
        {.id = 4, .num_tokens = 257, .num_queries = 1, .num_residual = 1}};
    RunAndCompare(options);
    options.window = 20;
    options.num_sink_tokens = 3;
    RunAndCompare(options);
    options.layer = Latent(32, 12, PerChannel(KvDtype::kInt4, 16));
    options.layer.value.format = KvFormat::For(KvDtype::kFp16);
    options.row_gap = 5;
    RunAndCompare(options);
  }
}

TEST_F(AttentionTest, ReadsAndWritesRowsOfEveryType) {
  for (const KvDtype query : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
    for (const KvDtype output :
         {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
      AttentionOptions options = Usual();
      options.layer = Layer(2, 33, KvFormat::For(KvDtype::kFp32));
      options.query_dtype = query;
      options.output_dtype = output;
      options.row_gap = 3;
      options.sequences[0].num_queries = 2;
      RunAndCompare(options);
    }
  }
}

TEST_F(AttentionTest, EqualsTheReferenceForLogitsOfAnySize) {
  for (const float scale : {1e-20F, 1.0F, 10.0F}) {
    AttentionOptions options = Usual();
    options.softmax_scale = scale;
    RunAndCompare(options);
  }
}

TEST_F(AttentionTest, EqualsTheReferenceOnRandomProblems) {
  constexpr std::uint64_t kSeed = 20241126;
  std::mt19937_64 random(kSeed);
  const auto pick = [&random](std::int64_t low, std::int64_t high) {
    return static_cast<std::int32_t>(
        low + static_cast<std::int64_t>(
                  random() % static_cast<std::uint64_t>(high - low + 1)));
  };
  const auto pick_of = [&](const auto& list) {
    return list[static_cast<std::size_t>(pick(0, std::ssize(list) - 1))];
  };
  const std::vector<KvFormat> formats = Formats();
  const std::array row_dtypes = {KvDtype::kFp32, KvDtype::kFp16,
                                 KvDtype::kBf16};
  const int num_problems = memory_->is_slow() ? 25 : 300;
  for (int i = 0; i < num_problems; ++i) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", problem " +
                 std::to_string(i));
    AttentionOptions options;
    options.seed = random();
    options.block_size = BlockSize(
        pick(0, 3) == 0 ? pick(1, 256) : std::int32_t{1} << pick(0, 8));
    options.order = pick(0, 1) == 0 ? KvOrder::kNhd : KvOrder::kHnd;
    options.arrangement = static_cast<KvArrangement>(pick(0, 2));
    options.alignment = 1 << pick(0, 6);
    const std::int32_t size = pick(0, 1) == 0 ? 4 * pick(1, 40) : 64;
    const KvFormat format = pick_of(formats);
    if (pick(0, 4) == 0) {
      options.layer = Latent(size, 4 * pick(0, 4), format);
    } else {
      options.layer = Layer(pick(1, 2), size, format,
                            pick(0, 1) == 0 ? format : pick_of(formats));
      if (pick(0, 3) == 0) options.layer.value.head_size = 4 * pick(1, 20);
    }
    options.num_query_heads = options.layer.key.heads * pick(1, 9);
    options.softmax_scale = static_cast<float>(pick(1, 100)) / 25 /
                            std::sqrt(static_cast<float>(size));
    if (pick(0, 1) == 0) {
      options.window = pick(1, 400);
      options.num_sink_tokens = pick(0, 1) * pick(0, 300);
    }
    options.has_sink_logits = pick(0, 3) == 0;
    options.query_dtype = pick_of(row_dtypes);
    options.output_dtype = pick_of(row_dtypes);
    options.residual_dtype = pick_of(row_dtypes);
    options.row_gap = pick(0, 2);
    const std::int32_t num_sequences = pick(0, 3);
    for (std::int32_t s = 0; s < num_sequences; ++s) {
      const std::int32_t tokens = pick(1, 600);
      options.sequences.push_back(
          {.id = static_cast<std::uint64_t>(s),
           .num_tokens = tokens,
           .num_queries = pick(0, 1) == 0 ? 1 : pick(0, std::min(tokens, 7)),
           .num_residual = pick(0, 3) == 0 ? pick(0, tokens) : 0});
    }
    AttentionProblem problem(options);
    RunAndCompare(problem, pick(0, 2) != 0);
    if (HasFatalFailure()) return;
    // Nothing between the rows was touched.
    for (std::int32_t row = 0;
         row < problem.first_row(options.sequences.size()); ++row) {
      for (std::int32_t h = 0; h < options.num_query_heads; ++h) {
        for (std::int32_t g = 0; g < options.row_gap; ++g) {
          ASSERT_EQ(*problem.output().At(row, h, problem.value_size() + g),
                    std::byte{0xff});
        }
      }
    }
  }
}

// The end of a sequence, in two groups of three heads.
AttentionOptions LastQueries(std::int32_t num_queries) {
  return {
      .layer = Layer(2, 48, kPerToken8, kPerToken8),
      .num_query_heads = 6,
      .softmax_scale = 0.3F,
      .sequences = {{.id = 7, .num_tokens = 300, .num_queries = num_queries}}};
}

TEST_F(AttentionTest, BitsDoNotDependOnBlocksAndLayout) {
  for (const std::int32_t window : {0, 45}) {
    AttentionOptions options = LastQueries(2);
    options.window = window;
    options.num_sink_tokens = 5;
    const Bits expected = RunForBits(options);
    for (const std::int32_t block_size : {1, 7, 16, 33, 256}) {
      for (const KvOrder order : {KvOrder::kNhd, KvOrder::kHnd}) {
        for (const KvArrangement arrangement :
             {KvArrangement::kSplit, KvArrangement::kBlockFirst}) {
          options.block_size = BlockSize(block_size);
          options.order = order;
          options.arrangement = arrangement;
          // Both the kernels for aligned vectors, and those for any.
          options.alignment = order == KvOrder::kHnd ? 16 : 1;
          EXPECT_EQ(RunForBits(options), expected) << block_size;
        }
      }
    }
  }
}

// A token that was decoded, and one that was computed in a chunk, anew.
TEST_F(AttentionTest, BitsDoNotDependOnChunksOfThePrefillNorOnTheWorkspace) {
  for (const std::int32_t window : {0, 1, 270}) {
    AttentionOptions options = LastQueries(9);
    options.window = window;
    options.num_sink_tokens = 5;
    options.has_sink_logits = window == 270;
    const Bits expected = RunForBits(options);
    for (const std::int32_t chunk : {1, 4}) {
      for (const bool has_workspace : {true, false}) {
        Bits bits;
        for (std::int32_t begin = 291; begin < 300; begin += chunk) {
          const std::int32_t end = std::min(begin + chunk, 300);
          options.sequences[0].num_tokens = end;
          options.sequences[0].num_queries = end - begin;
          const Bits part = RunForBits(options, 0, has_workspace);
          bits.insert(bits.end(), part.begin(), part.end());
        }
        EXPECT_EQ(bits, expected) << "window " << window << ", chunk " << chunk;
      }
    }
  }
}

TEST_F(AttentionTest, BitsDoNotDependOnTheBatchNorOnWhatIsInResidualRows) {
  AttentionOptions options = LastQueries(2);
  options.layer = Layer(2, 48, KvFormat::For(KvDtype::kFp32),
                        KvFormat::For(KvDtype::kFp32));
  const Bits expected = RunForBits(options);
  for (const std::int32_t residual : {1, 44, 300}) {
    options.sequences[0].num_residual = residual;
    EXPECT_EQ(RunForBits(options), expected) << residual;
  }
  options.sequences = {{.id = 1, .num_tokens = 390, .num_queries = 1},
                       {.id = 2, .num_tokens = 60, .num_queries = 0},
                       {.id = 7, .num_tokens = 300, .num_queries = 2},
                       {.id = 3, .num_tokens = 33, .num_queries = 20}};
  EXPECT_EQ(RunForBits(options, 2), expected);
}

TEST_F(AttentionTest, HeadsCanBeComputedApart) {
  const AttentionOptions options = LastQueries(1);
  const Bits expected = RunForBits(options);
  AttentionProblem problem(options);
  for (const auto& [first, count] :
       std::vector<std::pair<int, int>>{{0, 2}, {2, 3}, {5, 0}}) {
    problem.args().first_head = first;
    problem.args().num_heads = count;
    Run(problem);
  }
  for (std::int32_t h = 0; h < 6; ++h) {
    EXPECT_EQ(problem.OutputBytes(0, h), expected[static_cast<std::size_t>(h)]);
  }
}

TEST_F(AttentionTest, LengthsMayBeLessThanTheHostSays) {
  AttentionProblem problem(Usual());
  Run(problem, true, 700);
  ExpectReferenceOutput(problem);
}

TEST_F(AttentionTest, RefusesWhatNoKernelCanDo) {
  const auto refuses = [&](const char* what, auto change,
                           AttentionLaunch launch = {.max_tokens = 600,
                                                     .max_queries = 23}) {
    AttentionProblem problem(Usual());
    change(problem.args());
    const absl::Status status = PagedAttention(problem.args(), launch, nullptr);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  refuses("key", [](PagedAttentionArgs& a) { a.key.base = nullptr; });
  refuses("value: 1 heads",
          [](PagedAttentionArgs& a) { a.value.tensor.heads = 1; });
  refuses("num_query_heads: 5",
          [](PagedAttentionArgs& a) { a.num_query_heads = 5; });
  refuses("first_head", [](PagedAttentionArgs& a) { a.first_head = 6; });
  refuses("softmax_scale", [](PagedAttentionArgs& a) { a.softmax_scale = 0; });
  refuses("window", [](PagedAttentionArgs& a) { a.window = -1; });
  refuses("query", [](PagedAttentionArgs& a) { a.query.data += 1; });
  refuses("2 tables", [](PagedAttentionArgs& a) {
    a.batch.tables = a.batch.tables.first(2);
  });
  refuses("at most 768",
          [](PagedAttentionArgs& a) { a.key.tensor.head_size = 800; });
  const auto nothing = [](PagedAttentionArgs&) {};
  refuses("launch", nothing, {.max_tokens = 0});
  refuses("launch", nothing, {.max_tokens = 4, .max_queries = 5});
  std::vector<std::byte> small(64);
  refuses("workspace", nothing, {.max_tokens = 600, .workspace = small});
}

TEST(VisibleTest, EqualsItsDefinition) {
  for (std::int32_t position = 0; position < 12; ++position) {
    for (std::int32_t window = 0; window < 14; ++window) {
      for (std::int32_t sinks = 0; sinks < 14; ++sinks) {
        const auto sees = [&](std::int32_t query, std::int32_t token) {
          return token <= query &&
                 (window == 0 || query - token < window || token < sinks);
        };
        const Visible visible = VisibleAt(position, window, sinks);
        for (std::int32_t token = 0; token < 14; ++token) {
          EXPECT_EQ(visible.Has(token), sees(position, token));
          for (std::int32_t last = token; last < 14; ++last) {
            bool any = false;
            for (std::int32_t t = token; t <= last; ++t) {
              any = any || sees(position, t);
            }
            EXPECT_EQ(visible.HasAny(token, last), any);
          }
        }
        for (std::int32_t first = 0; first <= position; ++first) {
          const Visible all = UnionOf(VisibleAt(first, window, sinks), visible);
          for (std::int32_t token = 0; token < 14; ++token) {
            bool any = false;
            for (std::int32_t query = first; query <= position; ++query) {
              any = any || sees(query, token);
            }
            EXPECT_EQ(all.Has(token), any);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace pagedkv::cuda
