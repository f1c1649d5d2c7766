// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "pagedkv/kv_kernels.h"
#include "tests/support/attention_problem.h"
#include "tests/support/count_allocations.h"

namespace pagedkv {
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

KvLayer Latent(std::int32_t size, std::int32_t rotary_size,
               KvFormat format = KvFormat::For(KvDtype::kFp16)) {
  KvLayer layer = Layer(1, size, format);
  layer.latent = true;
  layer.value = {rotary_size > 0 ? 1 : 0, rotary_size,
                 KvFormat::For(KvDtype::kFp16)};
  return layer;
}

// A case to begin with: grouped queries, a prompt in one go, two decodes.
AttentionOptions Usual() {
  return {.layer = Layer(2, 64),
          .num_query_heads = 6,
          .softmax_scale = 0.125F,
          .sequences = {{.id = 1, .num_tokens = 77, .num_queries = 77},
                        {.id = 2, .num_tokens = 130, .num_queries = 1},
                        {.id = 3, .num_tokens = 1, .num_queries = 1}}};
}

void RunAndCompare(AttentionProblem& problem) {
  const absl::Status status = PagedAttention(problem.args());
  ASSERT_TRUE(status.ok()) << status;
  ExpectReferenceOutput(problem);
}
void RunAndCompare(const AttentionOptions& options) {
  AttentionProblem problem(options);
  RunAndCompare(problem);
}

// What each query of each head of a sequence gives, to the bit.
using Bits = std::vector<std::vector<std::byte>>;
Bits SequenceBits(AttentionProblem& problem, std::size_t sequence) {
  Bits bits;
  for (std::int32_t q = 0;
       q < problem.options().sequences[sequence].num_queries; ++q) {
    for (std::int32_t h = 0; h < problem.options().num_query_heads; ++h) {
      bits.push_back(problem.OutputBytes(problem.first_row(sequence) + q, h));
    }
  }
  return bits;
}
Bits RunForBits(const AttentionOptions& options, std::size_t sequence = 0) {
  AttentionProblem problem(options);
  const absl::Status status = PagedAttention(problem.args());
  EXPECT_TRUE(status.ok()) << status;
  return SequenceBits(problem, sequence);
}

constexpr KvFormat kIntFormats[] = {
    {.dtype = KvDtype::kInt8, .scale_bits = 0},
    {.dtype = KvDtype::kInt8, .scheme = ScaleScheme::kToken, .scale_bits = 32},
    {.dtype = KvDtype::kInt4,
     .scheme = ScaleScheme::kGroup,
     .group = 8,
     .scale_bits = 16,
     .zero_point_bits = 16},
    {.dtype = KvDtype::kInt2,
     .scheme = ScaleScheme::kGroup,
     .group = 12,
     .scale_bits = 32,
     .zero_point_bits = 32},
    {.dtype = KvDtype::kFp8, .scheme = ScaleScheme::kToken, .scale_bits = 16}};

std::vector<KvFormat> FormatsByToken() {
  std::vector<KvFormat> formats(std::begin(kIntFormats), std::end(kIntFormats));
  for (const KvDtype dtype : kKvDtypes) {
    formats.push_back(KvFormat::For(dtype));
  }
  return formats;
}

// KIVI's keys: a scale for each channel of `run` tokens.
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

TEST(PagedAttentionTest, EqualsTheReference) { RunAndCompare(Usual()); }

TEST(PagedAttentionTest, EqualsTheReferenceInEveryFormat) {
  for (const KvFormat& format : FormatsByToken()) {
    SCOPED_TRACE(Name(format));
    AttentionOptions options = Usual();
    options.layer = Layer(2, 40, format, format);
    options.sequences[0].num_queries = 5;
    RunAndCompare(options);
  }
}

TEST(PagedAttentionTest, EqualsTheReferenceWithScalesPerChannel) {
  for (const KvDtype dtype : {KvDtype::kInt8, KvDtype::kInt4, KvDtype::kInt2}) {
    for (const std::int32_t run : {0, 1, 4, 16}) {
      SCOPED_TRACE(Name(PerChannel(dtype, run)));
      AttentionOptions options = Usual();
      options.layer =
          Layer(2, 32, PerChannel(dtype, run), KvFormat::For(dtype));
      options.sequences = {{.id = 1, .num_tokens = 64, .num_queries = 3},
                           {.id = 2, .num_tokens = 16, .num_queries = 16}};
      RunAndCompare(options);
    }
  }
}

TEST(PagedAttentionTest, EqualsTheReferenceForLatents) {
  for (const std::int32_t rotary : {64, 16, 0}) {
    for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kFp8}) {
      AttentionOptions options = Usual();
      options.layer = Latent(512, rotary, KvFormat::For(dtype));
      options.num_query_heads = 20;
      options.softmax_scale = 0.07F;
      options.sequences[0].num_queries = 2;
      RunAndCompare(options);
    }
  }
  AttentionOptions options = Usual();
  options.layer = Latent(20, 12);
  options.window = 40;
  options.num_sink_tokens = 3;
  RunAndCompare(options);
}

TEST(PagedAttentionTest, EqualsTheReferenceForEveryWindowAndSink) {
  for (const std::int32_t window : {1, 2, 31, 32, 33, 64, 100, 1000}) {
    for (const std::int32_t sinks : {0, 1, 4, 40, 2000}) {
      SCOPED_TRACE("window " + std::to_string(window) + ", sinks " +
                   std::to_string(sinks));
      AttentionOptions options = Usual();
      options.layer = Layer(1, 16);
      options.num_query_heads = 3;
      options.window = window;
      options.num_sink_tokens = sinks;
      options.has_sink_logits = sinks == 4;
      options.sequences = {{.id = 1, .num_tokens = 150, .num_queries = 40},
                           {.id = 2, .num_tokens = 257, .num_queries = 1}};
      RunAndCompare(options);
    }
  }
}

// KIVI's window: blocks hold whole runs, and what is younger is in rows.
TEST(PagedAttentionTest, EqualsTheReferenceWithResidualRows) {
  for (const KvDtype dtype : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
    AttentionOptions options = Usual();
    options.layer = Layer(2, 32, PerChannel(KvDtype::kInt2, 16),
                          KvFormat::For(KvDtype::kInt2));
    options.residual_dtype = dtype;
    options.sequences = {
        {.id = 1, .num_tokens = 77, .num_queries = 40, .num_residual = 13},
        {.id = 2, .num_tokens = 130, .num_queries = 1, .num_residual = 130},
        {.id = 3, .num_tokens = 64, .num_queries = 64},
        {.id = 4, .num_tokens = 129, .num_queries = 1, .num_residual = 1}};
    RunAndCompare(options);
    options.window = 20;
    options.num_sink_tokens = 3;
    RunAndCompare(options);
    options.layer = Latent(32, 12, PerChannel(KvDtype::kInt4, 16));
    options.row_gap = 5;
    RunAndCompare(options);
  }
}

TEST(PagedAttentionTest, ReadsAndWritesRowsOfEveryType) {
  for (const KvDtype query : {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
    for (const KvDtype output :
         {KvDtype::kFp32, KvDtype::kFp16, KvDtype::kBf16}) {
      AttentionOptions options = Usual();
      options.layer = Layer(2, 33, KvFormat::For(KvDtype::kFp32));
      options.query_dtype = query;
      options.output_dtype = output;
      options.row_gap = 3;
      RunAndCompare(options);
    }
  }
}

// From a mean to nearly a maximum.
TEST(PagedAttentionTest, EqualsTheReferenceForLogitsOfAnySize) {
  for (const float scale : {1e-20F, 0.01F, 1.0F, 10.0F}) {
    AttentionOptions options = Usual();
    options.softmax_scale = scale;
    RunAndCompare(options);
  }
}

// exp of these logits, and of their differences, is 0 or infinity.
TEST(PagedAttentionTest, TakesTheValueOfTheLargestLogit) {
  AttentionOptions options = Usual();
  options.layer = Layer(1, 16, KvFormat::For(KvDtype::kFp32),
                        KvFormat::For(KvDtype::kFp32));
  options.num_query_heads = 2;
  options.softmax_scale = 1e30F;
  AttentionProblem problem(options);
  ASSERT_TRUE(PagedAttention(problem.args()).ok());
  const std::vector<float> keys = problem.Dequantized(KvRole::kKey, 0);
  const std::vector<float> values = problem.Dequantized(KvRole::kValue, 0);
  for (std::int32_t q = 0; q < 77; ++q) {
    for (std::int32_t h = 0; h < 2; ++h) {
      double max = -std::numeric_limits<double>::infinity();
      std::int32_t best = 0;
      for (std::int32_t t = 0; t <= q; ++t) {
        double dot = 0;
        for (std::int32_t i = 0; i < 16; ++i) {
          dot += problem.query().Get(q, h, i) *
                 double{keys[static_cast<std::size_t>(t * 16 + i)]};
        }
        if (dot > max) {
          max = dot;
          best = t;
        }
      }
      for (std::int32_t d = 0; d < 16; ++d) {
        EXPECT_EQ(problem.output().Get(q, h, d),
                  double{values[static_cast<std::size_t>(best * 16 + d)]});
      }
    }
  }
}

// Any shapes, formats and batches that fit each other.
TEST(PagedAttentionTest, EqualsTheReferenceOnRandomProblems) {
  constexpr std::uint64_t kSeed = 20240607;
  std::mt19937_64 random(kSeed);
  const auto pick = [&random](std::int64_t low, std::int64_t high) {
    return static_cast<std::int32_t>(
        low + static_cast<std::int64_t>(
                  random() % static_cast<std::uint64_t>(high - low + 1)));
  };
  const std::vector<KvFormat> formats = FormatsByToken();
  const auto pick_format = [&] {
    return formats[static_cast<std::size_t>(
        pick(0, static_cast<std::int64_t>(formats.size()) - 1))];
  };
  const auto pick_row_dtype = [&] {
    return std::array{KvDtype::kFp32, KvDtype::kFp16,
                      KvDtype::kBf16}[static_cast<std::size_t>(pick(0, 2))];
  };
  for (int i = 0; i < 120; ++i) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", problem " +
                 std::to_string(i));
    AttentionOptions options;
    options.seed = random();
    options.block_size = BlockSize(
        pick(0, 3) == 0 ? pick(1, 256) : std::int32_t{1} << pick(0, 8));
    options.order = pick(0, 1) == 0 ? KvOrder::kNhd : KvOrder::kHnd;
    options.arrangement = static_cast<KvArrangement>(pick(0, 2));
    options.alignment = 1 << pick(0, 6);
    const std::int32_t heads = pick(1, 3);
    const std::int32_t size = 4 * pick(1, pick(0, 9) == 0 ? 64 : 12);
    if (pick(0, 4) == 0) {
      options.layer = Latent(size, 4 * pick(0, 4), pick_format());
    } else {
      options.layer = Layer(heads, size, pick_format(), pick_format());
      if (pick(0, 3) == 0) options.layer.value.head_size = 4 * pick(1, 20);
    }
    options.num_query_heads = options.layer.key.heads * pick(1, 9);
    options.softmax_scale = static_cast<float>(pick(1, 100)) / 25 /
                            std::sqrt(static_cast<float>(size));
    if (pick(0, 1) == 0) {
      options.window = pick(1, 100);
      options.num_sink_tokens = pick(0, 1) * pick(0, 50);
    }
    options.has_sink_logits = pick(0, 3) == 0;
    options.query_dtype = pick_row_dtype();
    options.output_dtype = pick_row_dtype();
    options.residual_dtype = pick_row_dtype();
    options.row_gap = pick(0, 2);
    std::int32_t run = 1;
    if (pick(0, 4) == 0) {
      run = 1 << pick(0, 5);
      options.block_size = BlockSize(run * pick(1, 256 / run));
      options.layer.key.format = PerChannel(
          std::array{KvDtype::kInt8, KvDtype::kInt4,
                     KvDtype::kInt2}[static_cast<std::size_t>(pick(0, 2))],
          pick(0, 1) == 0 ? run : 0);
      if (options.layer.key.format.group == 0) run = options.block_size.value();
    }
    const std::int32_t num_sequences = pick(0, 4);
    for (std::int32_t s = 0; s < num_sequences; ++s) {
      const std::int32_t tokens = pick(1, 200);
      const std::int32_t residual = pick(0, 2) == 0 ? pick(0, tokens) : 0;
      options.sequences.push_back(
          {.id = static_cast<std::uint64_t>(s),
           .num_tokens = tokens,
           .num_queries = pick(0, 1) == 0 ? 1 : pick(0, std::min(tokens, 20)),
           // Blocks hold whole runs.
           .num_residual = tokens - (tokens - residual) / run * run});
    }
    AttentionProblem problem(options);
    RunAndCompare(problem);
    if (HasFatalFailure()) return;
    // Nothing between the rows was touched.
    const std::int64_t elements = problem.value_size();
    for (std::int32_t row = 0;
         row < problem.first_row(options.sequences.size()); ++row) {
      for (std::int32_t h = 0; h < options.num_query_heads; ++h) {
        for (std::int32_t g = 0; g < options.row_gap; ++g) {
          EXPECT_EQ(*problem.output().At(row, h, elements + g),
                    std::byte{0xff});
        }
      }
    }
  }
}

// A prompt of 150 tokens of two groups of three heads.
AttentionOptions Prompt() {
  return {.layer = Layer(2, 48, KvFormat::For(KvDtype::kInt8)),
          .num_query_heads = 6,
          .softmax_scale = 0.3F,
          .sequences = {{.id = 7, .num_tokens = 150, .num_queries = 150}}};
}

TEST(PagedAttentionTest, BitsDoNotDependOnBlocksAndLayout) {
  for (const std::int32_t window : {0, 45}) {
    AttentionOptions options = Prompt();
    options.window = window;
    options.num_sink_tokens = 5;
    const Bits expected = RunForBits(options);
    for (const std::int32_t block_size :
         {1, 2, 3, 7, 16, 31, 32, 33, 64, 100, 128, 256}) {
      for (const KvOrder order : {KvOrder::kNhd, KvOrder::kHnd}) {
        for (const KvArrangement arrangement :
             {KvArrangement::kSplit, KvArrangement::kInterleaved,
              KvArrangement::kBlockFirst}) {
          options.block_size = BlockSize(block_size);
          options.order = order;
          options.arrangement = arrangement;
          options.alignment = block_size % 3 == 0 ? 64 : 1;
          EXPECT_EQ(RunForBits(options), expected) << block_size;
        }
      }
    }
  }
}

// Each chunk sees the keys and values up to its end only; what follows is NaN.
TEST(PagedAttentionTest, BitsDoNotDependOnChunksOfThePrefill) {
  for (const std::int32_t window : {0, 1, 45, 64}) {
    AttentionOptions options = Prompt();
    options.window = window;
    options.num_sink_tokens = 5;
    options.has_sink_logits = window == 45;
    const Bits expected = RunForBits(options);
    for (const std::int32_t chunk : {1, 5, 17, 32, 64, 149}) {
      Bits bits;
      for (std::int32_t begin = 0; begin < 150; begin += chunk) {
        const std::int32_t end = std::min(begin + chunk, 150);
        options.sequences[0].num_tokens = end;
        options.sequences[0].num_queries = end - begin;
        const Bits part = RunForBits(options);
        bits.insert(bits.end(), part.begin(), part.end());
      }
      EXPECT_EQ(bits, expected) << "window " << window << ", chunk " << chunk;
    }
  }
}

TEST(PagedAttentionTest, BitsDoNotDependOnWhatIsInResidualRows) {
  AttentionOptions options = Prompt();
  options.layer = Layer(2, 48, KvFormat::For(KvDtype::kFp32),
                        KvFormat::For(KvDtype::kFp32));
  const Bits expected = RunForBits(options);
  for (const std::int32_t residual : {1, 17, 31, 64, 149, 150}) {
    options.sequences[0].num_residual = residual;
    EXPECT_EQ(RunForBits(options), expected) << residual;
  }
}

TEST(PagedAttentionTest, BitsDoNotDependOnTheBatch) {
  const Bits expected = RunForBits(Prompt());
  AttentionOptions options = Prompt();
  options.sequences = {{.id = 1, .num_tokens = 90, .num_queries = 1},
                       {.id = 2, .num_tokens = 60, .num_queries = 0},
                       {.id = 7, .num_tokens = 150, .num_queries = 150},
                       {.id = 3, .num_tokens = 33, .num_queries = 20}};
  EXPECT_EQ(RunForBits(options, 2), expected);

  // A part of the spans is a batch as well.
  AttentionProblem problem(options);
  AttentionBatch& batch = problem.args().batch;
  batch.query_begin = batch.query_begin.subspan(2, 2);
  batch.num_tokens = batch.num_tokens.subspan(2, 1);
  batch.tables = batch.tables.subspan(2, 1);
  ASSERT_TRUE(PagedAttention(problem.args()).ok());
  EXPECT_EQ(SequenceBits(problem, 2), expected);
  EXPECT_EQ(*problem.output().At(0, 0, 0), std::byte{0xff});
  EXPECT_EQ(*problem.output().At(problem.first_row(3), 0, 0), std::byte{0xff});
}

TEST(PagedAttentionTest, BitsDoNotDependOnTheRangeOfHeads) {
  for (const KvLayer& layer : {Layer(2, 48), Latent(64, 16)}) {
    AttentionOptions options = Prompt();
    options.layer = layer;
    options.has_sink_logits = true;
    const Bits expected = RunForBits(options);
    AttentionProblem problem(options);
    // Not along the groups.
    for (const auto& part : {std::pair{0, 1}, {1, 4}, {5, 1}}) {
      problem.args().first_head = part.first;
      problem.args().num_heads = part.second;
      ASSERT_TRUE(PagedAttention(problem.args()).ok());
      if (part.first == 0) {
        EXPECT_EQ(*problem.output().At(0, 1, 0), std::byte{0xff});
      }
    }
    EXPECT_EQ(SequenceBits(problem, 0), expected);
    // All from one on.
    AttentionProblem rest(options);
    rest.args().first_head = 4;
    ASSERT_TRUE(PagedAttention(rest.args()).ok());
    EXPECT_EQ(*rest.output().At(0, 3, 0), std::byte{0xff});
    EXPECT_EQ(rest.OutputBytes(9, 4), expected[9 * 6 + 4]);
    EXPECT_EQ(rest.OutputBytes(9, 5), expected[9 * 6 + 5]);
  }
}

TEST(PagedAttentionTest, WhatChangesNothingKeepsTheBits) {
  AttentionOptions options = Prompt();
  const Bits expected = RunForBits(options);
  options.window = 150;
  options.num_sink_tokens = 7;
  EXPECT_EQ(RunForBits(options), expected) << "a window of the whole context";
  options.window = 100;
  options.num_sink_tokens = 50;
  EXPECT_EQ(RunForBits(options), expected) << "sinks up to the window";

  AttentionProblem problem(Prompt());
  const std::vector<float> logits(6, -std::numeric_limits<float>::infinity());
  problem.args().sink_logits = logits;
  ASSERT_TRUE(PagedAttention(problem.args()).ok());
  EXPECT_EQ(SequenceBits(problem, 0), expected)
      << "learned sinks without weight";
}

// A key and a value that are no numbers: queries before see nothing of them,
// though they share tiles with those behind, which must not hide them.
TEST(PagedAttentionTest, WhatIsNoNumberReachesThoseThatSeeItAlone) {
  AttentionOptions options = Prompt();
  options.layer = Layer(2, 48);
  options.window = 60;
  const Bits expected = RunForBits(options);
  for (const bool in_key : {true, false}) {
    constexpr std::uint16_t kNan = 0x7e00;
    constexpr std::uint16_t kInfinity = 0x7c00;
    for (const std::uint16_t bits : {kNan, kInfinity}) {
      AttentionProblem problem(options);
      constexpr std::int32_t kToken = 70;
      const KvTensorView& view =
          in_key ? problem.args().key : problem.args().value;
      for (std::int32_t h = 0; h < 2; ++h) {
        const BlockId block = problem.full_table(0)[kToken / 16];
        std::byte* at = view.base + block.value() * view.block_stride +
                        kToken % 16 * view.token_stride + h * view.head_stride;
        std::memcpy(at, &bits, sizeof(bits));
      }
      ASSERT_TRUE(PagedAttention(problem.args()).ok());
      const Bits got = SequenceBits(problem, 0);
      for (std::int32_t q = 0; q < 150; ++q) {
        const bool sees = q >= kToken && q < kToken + 60;
        for (std::int32_t h = 0; h < 6; ++h) {
          if (sees) {
            const double first = problem.output().Get(q, h, 0);
            // A key of -infinity only loses its weight.
            if (bits == kNan || !in_key) {
              EXPECT_FALSE(std::isfinite(first)) << q;
            }
          } else {
            const auto i = static_cast<std::size_t>(q * 6 + h);
            EXPECT_EQ(got[i], expected[i]) << q;
          }
        }
      }
    }
  }
}

TEST(PagedAttentionTest, TakesNoMemory) {
  AttentionOptions options = Usual();
  options.sequences[0].num_residual = 20;
  options.window = 40;
  options.has_sink_logits = true;
  AttentionProblem problem(options);
  const std::size_t before = CountedAllocations().calls;
  const bool ok = PagedAttention(problem.args()).ok();
  EXPECT_EQ(CountedAllocations().calls, before);
  EXPECT_TRUE(ok);
}

TEST(PagedAttentionTest, TakesTheLargestHeads) {
  AttentionOptions options = Usual();
  options.num_query_heads = 2;
  options.layer = Layer(1, 576);
  options.layer.value.head_size = 512;
  options.sequences[0].num_queries = 1;
  RunAndCompare(options);

  for (const bool in_key : {true, false}) {
    AttentionOptions larger = options;
    (in_key ? larger.layer.key : larger.layer.value).head_size += 1;
    AttentionProblem problem(larger);
    const absl::Status status = PagedAttention(problem.args());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("at most"));
  }
}

// Each names the argument, and writes nothing.
TEST(PagedAttentionTest, RefusesWhatDoesNotFit) {
  struct Wrong {
    const char* argument;
    std::function<void(PagedAttentionArgs&)> change;
  };
  static constexpr std::int32_t kFour[] = {0, 77, 78, 79};
  static constexpr std::int32_t kBackwards[] = {0, 77, 76, 79};
  static constexpr std::int32_t kNegative[] = {-1, 77, 78, 79};
  static constexpr std::int32_t kTooFew[] = {76, 130, 1};
  static constexpr float kLogits[5] = {};
  static constexpr const BlockId* kNoTables[3] = {};
  static const std::vector<float> row(128);
  static const ConstKvRows rows = {
      .data = reinterpret_cast<const std::byte*>(row.data())};
  const auto residual = [](ConstKvRows key, ConstKvRows value,
                           std::int32_t first) {
    return ResidualRows{.key = key, .value = value, .first = first};
  };
  const ResidualRows none = residual({}, {}, 77);
  const ResidualRows last = residual(rows, rows, 0);
  const ResidualRows two[] = {none, residual(rows, rows, 129)};
  const ResidualRows late[] = {none, residual(rows, rows, 131), last};
  const ResidualRows no_key[] = {none, residual({}, rows, 129), last};
  const ResidualRows no_value[] = {none, residual(rows, {}, 129), last};
  const Wrong wrongs[] = {
      {"key", [](auto& a) { a.key.base = nullptr; }},
      {"key", [](auto& a) { a.key.tensor.heads = 0; }},
      {"key", [](auto& a) { a.key.tensor.head_size = 0; }},
      {"key", [](auto& a) { a.key.tensor.head_size = 2'147'483'647; }},
      {"value", [](auto& a) { a.value.base = nullptr; }},
      {"value", [](auto& a) { a.value.tensor.heads = 0; }},
      {"value", [](auto& a) { a.value.tensor.heads = 1; }},
      {"value", [](auto& a) { a.value.tensor.head_size = 0; }},
      {"value", [](auto& a) { a.value.block_size = 8; }},
      {"num_query_heads", [](auto& a) { a.num_query_heads = 5; }},
      {"num_query_heads", [](auto& a) { a.num_query_heads = 0; }},
      {"first_head", [](auto& a) { a.first_head = -1; }},
      {"first_head", [](auto& a) { a.first_head = 6; }},
      {"num_heads", [](auto& a) { a.num_heads = 7; }},
      {"num_heads", [](auto& a) { a.num_heads = -1; }},
      {"query", [](auto& a) { a.query.data = nullptr; }},
      {"query", [](auto& a) { a.query.dtype = KvDtype::kInt8; }},
      {"output", [](auto& a) { a.output.data = nullptr; }},
      {"output", [](auto& a) { a.output.dtype = KvDtype::kFp8; }},
      {"softmax_scale", [](auto& a) { a.softmax_scale = 0; }},
      {"softmax_scale", [](auto& a) { a.softmax_scale = NAN; }},
      {"softmax_scale", [](auto& a) { a.softmax_scale = INFINITY; }},
      {"window", [](auto& a) { a.window = -1; }},
      {"num_sink_tokens", [](auto& a) { a.num_sink_tokens = -1; }},
      {"sink_logits", [](auto& a) { a.sink_logits = kLogits; }},
      {"batch.query_begin", [](auto& a) { a.batch.query_begin = {}; }},
      {"batch.query_begin",
       [](auto& a) { a.batch.query_begin = std::span(kFour).first(3); }},
      {"batch.query_begin[2]",
       [](auto& a) { a.batch.query_begin = kBackwards; }},
      {"batch.query_begin[0]",
       [](auto& a) { a.batch.query_begin = kNegative; }},
      {"batch.num_tokens[0]", [](auto& a) { a.batch.num_tokens = kTooFew; }},
      {"batch.tables",
       [](auto& a) { a.batch.tables = a.batch.tables.first(2); }},
      {"batch.residuals", [&](auto& a) { a.batch.residuals = two; }},
      {"batch.residuals[1].first", [&](auto& a) { a.batch.residuals = late; }},
      {"batch.residuals[1]: key", [&](auto& a) { a.batch.residuals = no_key; }},
      {"batch.residuals[1]: value",
       [&](auto& a) { a.batch.residuals = no_value; }},
      {"batch.tables[0]", [](auto& a) { a.batch.tables = kNoTables; }},
  };
  for (const Wrong& wrong : wrongs) {
    AttentionProblem problem(Usual());
    wrong.change(problem.args());
    const absl::Status status = PagedAttention(problem.args());
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << wrong.argument;
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.argument));
    EXPECT_EQ(std::string(status.message()).find('\n'), std::string::npos);
    for (const std::byte byte : problem.output().bytes()) {
      ASSERT_EQ(byte, std::byte{0xff}) << wrong.argument;
    }
  }
}

}  // namespace
}  // namespace pagedkv
