// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/targets.h"

#include "pagedkv/kv_kernels.h"
#include "tests/allocator/kernels/kernel_data.h"
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

// KIVI's keys: a scale for each channel of `run` tokens.
constexpr KvFormat PerChannel(KvDtype dtype, std::int32_t run) {
  return {.dtype = dtype,
          .scheme = ScaleScheme::kChannel,
          .group = run,
          .scale_bits = 16,
          .zero_point_bits = 16};
}

// Lays whole runs of a scale per channel out in blocks, and what is left of
// each sequence in rows.
void LeaveWholeRuns(AttentionOptions& options, std::int32_t run) {
  for (auto& sequence : options.sequences) {
    const std::int32_t in_blocks = sequence.num_tokens - sequence.num_residual;
    sequence.num_residual = sequence.num_tokens - in_blocks / run * run;
  }
}

TEST(PagedAttentionTest, EqualsTheReference) { RunAndCompare(Usual()); }

TEST(PagedAttentionTest, EqualsTheReferenceInEveryFormat) {
  for (const KvFormat& format : AllFormats()) {
    SCOPED_TRACE(NameOf(format));
    AttentionOptions options = Usual();
    options.layer = Layer(2, 40, format, format);
    options.sequences[0].num_queries = 5;
    if (format.scheme == ScaleScheme::kChannel) LeaveWholeRuns(options, 8);
    RunAndCompare(options);
  }
}

TEST(PagedAttentionTest, EqualsTheReferenceForRunsOfEveryLength) {
  for (const std::int32_t run : {0, 1, 2, 16}) {
    AttentionOptions options = Usual();
    options.layer = Layer(2, 32, PerChannel(KvDtype::kInt4, run));
    options.sequences[0].num_queries = 3;
    LeaveWholeRuns(options, run > 0 ? run : 16);
    RunAndCompare(options);
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

// Shapes, formats and batches that fit each other, drawn from a seed.
class RandomProblems {
 public:
  explicit RandomProblems(std::uint64_t seed) : random_(seed) {}

  AttentionOptions Next() {
    AttentionOptions options;
    options.seed = random_();
    options.block_size = BlockSize(
        Pick(0, 3) == 0 ? Pick(1, 256) : std::int32_t{1} << Pick(0, 8));
    options.order = Pick(0, 1) == 0 ? KvOrder::kNhd : KvOrder::kHnd;
    options.arrangement = static_cast<KvArrangement>(Pick(0, 2));
    options.alignment = 1 << Pick(0, 6);
    PickLayer(options);
    if (Pick(0, 1) == 0) {
      options.window = Pick(1, 100);
      options.num_sink_tokens = Pick(0, 1) * Pick(0, 50);
    }
    options.has_sink_logits = Pick(0, 3) == 0;
    options.query_dtype = PickRowDtype();
    options.output_dtype = PickRowDtype();
    options.residual_dtype = PickRowDtype();
    options.row_gap = Pick(0, 2);
    const std::int32_t num_sequences = Pick(0, 4);
    for (std::int32_t s = 0; s < num_sequences; ++s) {
      const std::int32_t tokens = Pick(1, 200);
      options.sequences.push_back(
          {.id = static_cast<std::uint64_t>(s),
           .num_tokens = tokens,
           .num_queries = Pick(0, 1) == 0 ? 1 : Pick(0, std::min(tokens, 20)),
           .num_residual = Pick(0, 2) == 0 ? Pick(0, tokens) : 0});
    }
    const auto per_channel = [](const KvTensor& tensor) {
      return tensor.format.scheme == ScaleScheme::kChannel;
    };
    if (per_channel(options.layer.key) || per_channel(options.layer.value)) {
      options.block_size = BlockSize(8 * Pick(1, 32));
      LeaveWholeRuns(options, 8);
    }
    return options;
  }

 private:
  std::int32_t Pick(std::int64_t low, std::int64_t high) {
    const auto count = static_cast<std::uint64_t>(high - low + 1);
    return static_cast<std::int32_t>(
        low + static_cast<std::int64_t>(random_() % count));
  }
  KvDtype PickRowDtype() {
    return std::array{KvDtype::kFp32, KvDtype::kFp16,
                      KvDtype::kBf16}[static_cast<std::size_t>(Pick(0, 2))];
  }
  KvFormat PickFormat() { return formats_[random_() % formats_.size()]; }

  void PickLayer(AttentionOptions& options) {
    const std::int32_t size = 4 * Pick(1, Pick(0, 9) == 0 ? 64 : 12);
    if (Pick(0, 4) == 0) {
      options.layer = Latent(size, 4 * Pick(0, 4), PickFormat());
    } else {
      options.layer = Layer(Pick(1, 3), size, PickFormat(), PickFormat());
      if (Pick(0, 3) == 0) options.layer.value.head_size = 4 * Pick(1, 20);
    }
    options.num_query_heads = options.layer.key.heads * Pick(1, 9);
    options.softmax_scale = static_cast<float>(Pick(1, 100)) / 25 /
                            std::sqrt(static_cast<float>(size));
  }

  std::mt19937_64 random_;
  std::vector<KvFormat> formats_ = AllFormats();
};

TEST(PagedAttentionTest, EqualsTheReferenceOnRandomProblems) {
  constexpr std::uint64_t kSeed = 20240607;
  RandomProblems problems(kSeed);
  for (int i = 0; i < 120; ++i) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", problem " +
                 std::to_string(i));
    const AttentionOptions options = problems.Next();
    AttentionProblem problem(options);
    RunAndCompare(problem);
    if (HasFatalFailure()) return;
    // Nothing between the rows was touched.
    const std::int64_t elements = problem.value_size();
    for (std::int32_t row = 0;
         row < problem.first_row(options.sequences.size()); ++row) {
      for (std::int32_t h = 0; h < options.num_query_heads; ++h) {
        for (std::int32_t g = 0; g < options.row_gap; ++g) {
          EXPECT_EQ(*problem.output().At(row, h, elements + g), kPoison);
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
    int arrangement = 0;
    for (const std::int32_t block_size :
         {1, 2, 3, 7, 16, 31, 32, 33, 64, 100, 128, 256}) {
      for (const KvOrder order : {KvOrder::kNhd, KvOrder::kHnd}) {
        options.block_size = BlockSize(block_size);
        options.order = order;
        options.arrangement = static_cast<KvArrangement>(++arrangement % 3);
        options.alignment = block_size % 3 == 0 ? 64 : 1;
        EXPECT_EQ(RunForBits(options), expected) << block_size;
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
  EXPECT_EQ(*problem.output().At(0, 0, 0), kPoison);
  EXPECT_EQ(*problem.output().At(problem.first_row(3), 0, 0), kPoison);
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
        EXPECT_EQ(*problem.output().At(0, 1, 0), kPoison);
      }
    }
    EXPECT_EQ(SequenceBits(problem, 0), expected);
    // All from one on.
    AttentionProblem rest(options);
    rest.args().first_head = 4;
    ASSERT_TRUE(PagedAttention(rest.args()).ok());
    EXPECT_EQ(*rest.output().At(0, 3, 0), kPoison);
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

// Vectors are padded in buffers that an earlier call has left full of NaN.
TEST(PagedAttentionTest, BitsDoNotDependOnEarlierCalls) {
  AttentionOptions odd = Prompt();
  odd.layer = Latent(20, 12);
  AttentionOptions large = odd;
  large.layer = Latent(512, 64);
  AttentionProblem first(odd);
  AttentionProblem nans(large);
  for (const KvRole role : {KvRole::kKey, KvRole::kValue}) {
    const KvTensorView& view = nans.view(role);
    for (const BlockId block : nans.full_table(0)) {
      std::byte* begin = view.base + block.value() * view.block_stride;
      std::fill(begin, begin + view.block_stride, kPoison);
    }
  }
  AttentionProblem second(odd);
  ASSERT_TRUE(PagedAttention(first.args()).ok());
  ASSERT_TRUE(PagedAttention(nans.args()).ok());
  ASSERT_TRUE(PagedAttention(second.args()).ok());
  EXPECT_TRUE(std::isnan(nans.output().Get(140, 0, 0)));
  EXPECT_EQ(SequenceBits(second, 0), SequenceBits(first, 0));
  ExpectReferenceOutput(second);
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

// All of the above with the best instructions of this machine; here with each
// set that it has.
class PagedAttentionTargetsTest : public testing::TestWithParam<std::int64_t> {
 protected:
  void SetUp() override {
    hwy::SetSupportedTargetsForTest(GetParam());
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
};

TEST_P(PagedAttentionTargetsTest, EqualsTheReference) {
  AttentionOptions options = Usual();
  options.window = 50;
  options.num_sink_tokens = 3;
  options.has_sink_logits = true;
  RunAndCompare(options);
  options.layer = Layer(2, 40, PerChannel(KvDtype::kInt4, 8),
                        KvFormat::For(KvDtype::kInt2));
  LeaveWholeRuns(options, 8);
  RunAndCompare(options);
  options.layer = Latent(20, 12, KvFormat::For(KvDtype::kFp8));
  RunAndCompare(options);
}

TEST_P(PagedAttentionTargetsTest, BitsDoNotDependOnBlocksAndChunks) {
  AttentionOptions options = Prompt();
  options.layer.key.head_size = 52;
  const Bits expected = RunForBits(options);
  options.block_size = BlockSize(7);
  options.order = KvOrder::kHnd;
  Bits bits;
  for (const std::int32_t end : {33, 70, 71, 150}) {
    options.sequences[0].num_queries =
        end - static_cast<std::int32_t>(bits.size()) / 6;
    options.sequences[0].num_tokens = end;
    const Bits part = RunForBits(options);
    bits.insert(bits.end(), part.begin(), part.end());
  }
  EXPECT_EQ(bits, expected);
}

INSTANTIATE_TEST_SUITE_P(Targets, PagedAttentionTargetsTest,
                         testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
                         [](const testing::TestParamInfo<std::int64_t>& info) {
                           return hwy::TargetName(info.param);
                         });

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
      ASSERT_EQ(byte, kPoison) << wrong.argument;
    }
  }
}

}  // namespace
}  // namespace pagedkv
