// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/calc.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <ostream>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "sim/study/units.h"

namespace pagedkv::sim {
namespace {

using ::testing::HasSubstr;

CalcResult Calc(const CalcOptions& options) {
  absl::StatusOr<CalcResult> result = Calculate(options);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? *std::move(result) : CalcResult{};
}

std::string ErrorOf(const CalcOptions& options) {
  return std::string(Calculate(options).status().message());
}

CalcOptions Model(const char* name, std::int64_t seq_len,
                  std::int64_t batch = 1) {
  CalcOptions options;
  options.model = name;
  options.seq_len = seq_len;
  options.batch = batch;
  return options;
}

const CalcAttention& As(AttentionKind kind, const CalcResult& result) {
  return result.attentions[static_cast<std::size_t>(kind)];
}

const CalcFit& OnGpu(const std::string& name, const CalcResult& result) {
  for (const CalcFit& fit : result.fits) {
    if (fit.gpu && fit.gpu->name == name) return fit;
  }
  ADD_FAILURE() << "no " << name;
  return result.fits.front();
}

/// A published figure: the bytes that a model, length and batch take.
struct Figure {
  const char* sentence;
  const char* model;
  std::int64_t seq_len;
  std::int64_t batch;
  std::int64_t bytes;
};

void PrintTo(const Figure& figure, std::ostream* out) {
  *out << figure.sentence;
}

class CalcFigureTest : public ::testing::TestWithParam<Figure> {};

TEST_P(CalcFigureTest, IsTheExactProduct) {
  const Figure& figure = GetParam();
  const CalcResult result =
      Calc(Model(figure.model, figure.seq_len, figure.batch));
  EXPECT_EQ(result.size.total, Bytes(figure.bytes)) << figure.sentence;
  EXPECT_EQ(result.size.total_unwindowed, Bytes(figure.bytes));
  EXPECT_EQ(result.size.sequence * figure.batch, Bytes(figure.bytes));
}

INSTANTIATE_TEST_SUITE_P(
    Published, CalcFigureTest,
    ::testing::Values(
        Figure{"Llama-2-70B fp16 takes 327,680 B per token", "llama-2-70b", 1,
               1, 327'680},
        Figure{"Llama-2-70B takes 1,342,177,280 B at 4,096 tokens",
               "llama-2-70b", 4096, 1, 1'342'177'280},
        Figure{"Llama-2-70B takes 42.95 GB at batch 32", "llama-2-70b", 4096,
               32, 42'949'672'960},
        Figure{"Llama-2-70B takes 134.2 GB for 100 requests of 4,096",
               "llama-2-70b", 4096, 100, 134'217'728'000},
        Figure{"Llama-2-7B takes 524,288 B per token", "llama-2-7b", 1, 1,
               524'288},
        Figure{"Llama-2-7B takes 2.147 GB at 4,096", "llama-2-7b", 4096, 1,
               2'147'483'648},
        Figure{"Llama-2-13B takes 819,200 B per token", "llama-2-13b", 1, 1,
               819'200},
        Figure{"Llama-2-13B takes 107.4 GB at batch 32 x 4,096", "llama-2-13b",
               4096, 32, 107'374'182'400},
        Figure{"Llama-3-8B takes 131,072 B per token", "llama-3-8b", 1, 1,
               131'072},
        Figure{"Llama-3-8B takes 1 GiB at 8,192", "llama-3-8b", 8192, 1,
               1'073'741'824},
        Figure{"Llama-3-8B takes 4 GiB at 32,768", "llama-3-8b", 32768, 1,
               4'294'967'296},
        Figure{"Mistral-7B takes 131,072 B per token", "mistral-7b", 1, 1,
               131'072},
        Figure{"DeepSeek-V2 MLA takes (512 + 64) x 60 x 2 = 69,120 B",
               "deepseek-v2", 1, 1, 69'120},
        Figure{"OPT-13B takes 819,200 B per token", "opt-13b", 1, 1, 819'200}));

TEST(CalcTest, PublishedFiguresRoundAsTheyArePublished) {
  const auto gb = [](const char* model, std::int64_t batch, double unit) {
    const double value = ToGb(Calc(Model(model, 4096, batch)).size.total);
    return std::round(value / unit) * unit;
  };
  EXPECT_DOUBLE_EQ(gb("llama-2-70b", 32, 0.01), 42.95);
  EXPECT_DOUBLE_EQ(gb("llama-2-70b", 100, 0.1), 134.2);
  EXPECT_DOUBLE_EQ(gb("llama-2-7b", 1, 0.001), 2.147);
  EXPECT_DOUBLE_EQ(gb("llama-2-13b", 32, 0.1), 107.4);
  EXPECT_EQ(ToGib(Calc(Model("llama-3-8b", 8192)).size.total), 1.0);
  EXPECT_EQ(ToGib(Calc(Model("llama-3-8b", 32768)).size.total), 4.0);
}

TEST(CalcTest, Llama70bAsMhaTakesEightTimesAsMuch) {
  const CalcResult result = Calc(Model("llama-2-70b", 4096, 32));
  EXPECT_EQ(result.attention, AttentionKind::kGqa);
  EXPECT_EQ(As(AttentionKind::kMha, result).size.total, result.size.total * 8);
  EXPECT_EQ(As(AttentionKind::kGqa, result).size.total, result.size.total);
  EXPECT_EQ(As(AttentionKind::kMqa, result).size.token, Bytes(327'680 / 8));
  // DeepSeek-V2, table 1: 9/2 of a head per layer.
  EXPECT_EQ(As(AttentionKind::kMla, result).size.token,
            Bytes(80LL * 128 * 9 / 2 * 2));
}

TEST(CalcTest, Llama7bTakesMoreThanLlama70b) {
  EXPECT_GT(Calc(Model("llama-2-7b", 4096)).size.total,
            Calc(Model("llama-2-70b", 4096)).size.total);
}

TEST(CalcTest, ModelOf32LayersAnd32HeadsOf128Takes524288BytesPerToken) {
  CalcOptions options;
  options.layers = 32;
  options.heads = 32;
  options.head_dim = 128;
  options.seq_len = 1;
  const CalcResult result = Calc(options);
  EXPECT_EQ(result.size.token, Bytes(524'288));
  EXPECT_EQ(result.attention, AttentionKind::kMha);
  options.kv_heads = 8;
  EXPECT_EQ(Calc(options).size.token, Bytes(131'072));
  EXPECT_EQ(Calc(options).attention, AttentionKind::kGqa);
  EXPECT_EQ(As(AttentionKind::kMha, Calc(options)).size.token, Bytes(524'288));
}

TEST(CalcTest, AtMost57SequencesOfLlama13bFit192Gb) {
  CalcOptions options = Model("llama-2-13b", 4096);
  options.memory = "192GB";
  const CalcResult result = Calc(options);
  ASSERT_EQ(result.fits.size(), 1u);
  EXPECT_EQ(result.fits[0].max_batch, 57);
  options.memory = "192GiB";
  EXPECT_EQ(Calc(options).fits[0].max_batch, 61);
}

TEST(CalcTest, Opt13bHas15728SlotsIn12Gib) {
  CalcOptions options = Model("opt-13b", 2048);
  options.memory = "12GiB";
  const CalcFit fit = Calc(options).fits[0];
  EXPECT_EQ(fit.slots, TokenCount(15'728));
  EXPECT_EQ(fit.blocks, BlockCount(983));
  EXPECT_EQ(fit.pool, Bytes(983LL * 16 * 819'200));
  EXPECT_EQ(fit.block_slots, TokenCount(15'728));
  options.block_size = 128;
  EXPECT_EQ(Calc(options).fits[0].slots, TokenCount(15'728));
  EXPECT_EQ(Calc(options).fits[0].block_slots, TokenCount(122LL * 128));
}

TEST(CalcTest, APoolOfGivenBlocksHasTheBytesOfTheFullestStage) {
  CalcOptions options = Model("opt-13b", 2048);
  options.num_blocks = 983;
  CalcFit fit = Calc(options).fits[0];
  EXPECT_EQ(fit.pool, Bytes(983LL * 16 * 819'200));
  EXPECT_EQ(fit.kv_memory, fit.pool);
  EXPECT_EQ(fit.blocks, BlockCount(983));
  EXPECT_EQ(fit.max_batch, 7);    // as contiguous reservation has in the paper
  options.pipeline_parallel = 3;  // 14 + 13 + 13 of 40 layers
  fit = Calc(options).fits[0];
  EXPECT_EQ(fit.pool, Bytes(983LL * 16 * 819'200 / 40 * 14));
  options.num_blocks = std::numeric_limits<std::int64_t>::max();
  EXPECT_THAT(ErrorOf(options), HasSubstr("the bytes of the pool"));
}

TEST(CalcTest, OptModelsHaveTheSlotsOfThePagedAttentionPaper) {
  // Table 1 of arXiv 2309.06180: 60.1K slots for OPT-175B from 264 GB.
  CalcOptions options = Model("opt-175b", 2048);
  options.memory = "264GiB";
  EXPECT_EQ(Calc(options).fits[0].slots, TokenCount(60'074));
}

TEST(CalcTest, LengthIsTheModelsMaximumUnlessGiven) {
  EXPECT_EQ(Calc(Model("llama-3-8b", 0)).seq_len, TokenCount(8192));
}

TEST(CalcTest, WindowsBoundTheTotalAndAreReportedApart) {
  const CalcResult result = Calc(Model("gemma-3-27b", 32768, 4));
  const std::int64_t per_layer = 2LL * 16 * 128 * 2;
  EXPECT_EQ(result.size.token, Bytes(62 * per_layer));
  EXPECT_EQ(result.size.total, Bytes(4 * per_layer * (52 * 1024 + 10 * 32768)));
  EXPECT_EQ(result.size.total_unwindowed, result.size.token * 4 * 32768);
  // A window of 1,024 straddles 65 blocks of 16.
  EXPECT_EQ(result.size.total_blocks,
            Bytes(4 * per_layer * (52 * 65 * 16 + 10 * 32768)));
}

TEST(CalcTest, UniformBlocksWasteWhatWasPublishedForHybridModels) {
  // vllm-project/vllm issue 11382, with blocks of one token: an image of four
  // tiles and the 43 tokens that MMMU-pro has on average, and the maximum
  // lengths. Groups waste nothing there.
  const struct {
    const char* model;
    std::int64_t length;
    double percent;
  } published[] = {{"llama-3.2-11b-vision", 43, 79.6},
                   {"gemma-2-9b", 8192, 25},
                   {"ministral-8b", 131'072, 56.25}};
  for (const auto& row : published) {
    SCOPED_TRACE(row.model);
    CalcOptions options = Model(row.model, row.length);
    options.block_size = 1;
    const CalcResult result = Calc(options);
    ASSERT_TRUE(result.groups.has_value());
    EXPECT_NEAR(result.groups->uniform.wasted_percent(), row.percent, 0.05);
    EXPECT_EQ(result.groups->uniform.needed, result.size.sequence);
    EXPECT_EQ(result.groups->all.held, result.size.sequence);
  }
  EXPECT_FALSE(Calc(Model("llama-3-8b", 8192)).groups.has_value());
}

TEST(CalcTest, AStateIsPaddedToThePagesOfItsPool) {
  // Jamba: 4 layers of attention and 28 with a state of 311,296 bytes, for
  // which pages of 16 x 4,096 bytes grow fivefold: blocks of 80 tokens.
  const CalcResult result = Calc(Model("jamba-v0.1", 800));
  ASSERT_TRUE(result.groups.has_value());
  const CalcGroups& groups = *result.groups;
  ASSERT_EQ(groups.plan.groups.size(), 8u);  // of 4 layers
  EXPECT_EQ(groups.plan.bytes_per_block, Bytes(4 * 80 * 4096));
  std::int64_t states = 0;
  for (std::size_t i = 0; i < groups.plan.groups.size(); ++i) {
    if (groups.plan.groups[i].attention ==
        pagedkv::AttentionKind::kStateSpace) {
      ++states;
      EXPECT_EQ(groups.uses[i].held, Bytes(4 * 80 * 4096));
      EXPECT_EQ(groups.uses[i].needed, Bytes(4 * 311'296));
    } else {
      EXPECT_EQ(groups.uses[i].held, Bytes(4LL * 800 * 4096));
    }
  }
  EXPECT_EQ(states, 7);
}

TEST(CalcTest, AHybridModelsPoolHasThePlansBlocks) {
  CalcOptions options = Model("gemma-2-9b", 8192);
  options.memory = "12GiB";
  const CalcResult result = Calc(options);
  const CalcFit& fit = result.fits[0];
  // Blocks for 21 layers each, of 16 tokens of 8,192 bytes.
  const std::int64_t block = 21LL * 16 * 8192;
  const std::int64_t memory = 12LL << 30;
  EXPECT_EQ(fit.blocks, BlockCount(memory / block));
  EXPECT_EQ(fit.pool, Bytes(memory / block * block));
  const auto plan =
      PlanKvCache(*KvGeometry::Create(result.layers, result.block_size),
                  {.available = Bytes(memory), .pad_pages = true});
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(fit.blocks, plan->num_blocks);
  // 512 blocks of full attention, and 257 that the window can touch.
  EXPECT_EQ(fit.max_batch, memory / block / (512 + 257));
  // Two groups share the blocks.
  EXPECT_EQ(fit.block_slots, TokenCount(memory / block / 2 * 16));
  // The same blocks, asked for by number.
  options.memory = "";
  options.num_blocks = memory / block;
  EXPECT_EQ(Calc(options).fits[0].pool, fit.pool);
  EXPECT_EQ(Calc(options).fits[0].max_batch, fit.max_batch);
}

TEST(CalcTest, OneMemoryHoldsMoreOfSmallerFormats) {
  CalcOptions options = Model("opt-13b", 2048);
  EXPECT_FALSE(Calc(options).dtypes[0].capacity.has_value()) << "many GPUs";
  options.memory = "12GiB";
  const CalcResult result = Calc(options);
  const std::int64_t memory = 12LL << 30;
  for (const CalcDtype& other : result.dtypes) {
    SCOPED_TRACE(KvDtypeName(other.format.dtype));
    ASSERT_TRUE(other.capacity.has_value());
    // K and V, 40 layers, 40 heads, 128 elements; and what scales them.
    const std::int64_t token =
        2LL * 40 * 40 *
        (128 * KvDtypeBits(other.format.dtype) / 8 +
         (other.format.scale_bits + other.format.zero_point_bits) / 8);
    EXPECT_EQ(other.capacity->slots, TokenCount(memory / token));
    EXPECT_EQ(other.capacity->blocks, BlockCount(memory / (16 * token)));
    EXPECT_EQ(other.capacity->max_batch, memory / (2048 * token));
  }
}

TEST(CalcTest, MlaAsMhaExpandsTheLatentToAllHeads) {
  const CalcResult result = Calc(Model("deepseek-v2", 1));
  EXPECT_EQ(result.attention, AttentionKind::kMla);
  EXPECT_EQ(As(AttentionKind::kMla, result).size.token, Bytes(69'120));
  EXPECT_EQ(As(AttentionKind::kMha, result).size.token,
            Bytes(60LL * 128 * (192 + 128) * 2));
  EXPECT_EQ(As(AttentionKind::kMqa, result).size.token,
            Bytes(60LL * (192 + 128) * 2));
}

TEST(CalcTest, EachDtypeCountsItsScales) {
  const CalcResult result = Calc(Model("llama-3-8b", 8192));
  const std::int64_t vectors = 2LL * 32 * 8;  // K and V, layers, heads
  const std::int64_t expected[] = {
      vectors * 128 * 4,    // fp32
      vectors * 128 * 2,    // fp16
      vectors * 128 * 2,    // bf16
      vectors * 128,        // fp8
      vectors * 128,        // fp8_e5m2
      vectors * (128 + 4),  // int8, with 2 x 16 bit per vector
      vectors * (64 + 4),   // int4
      vectors * (32 + 4),   // int2
  };
  ASSERT_EQ(result.dtypes.size(), std::size(expected));
  for (std::size_t i = 0; i < std::size(expected); ++i) {
    EXPECT_EQ(result.dtypes[i].format.dtype, kKvDtypes[i]);
    EXPECT_EQ(result.dtypes[i].size.token, Bytes(expected[i]));
  }
}

TEST(CalcTest, QuantisationOptionsSetTheScales) {
  const std::int64_t vectors = 2LL * 32 * 8;
  CalcOptions options = Model("llama-3-8b", 16);
  options.dtype = "int4";
  EXPECT_EQ(Calc(options).size.token, Bytes(vectors * (64 + 4)));
  options.quant_scheme = "tensor";
  EXPECT_EQ(Calc(options).size.token, Bytes(vectors * 64));
  options.quant_scheme = "channel";  // over the 16 tokens of a block
  EXPECT_EQ(Calc(options).size.block, Bytes(vectors * (16 * 64 + 128 * 4)));
  options.quant_group = 8;
  EXPECT_EQ(Calc(options).size.block, Bytes(vectors * (16 * 64 + 2 * 128 * 4)));
  options.quant_scheme = "";  // a group by itself means elements
  options.quant_group = 32;
  EXPECT_EQ(Calc(options).size.token, Bytes(vectors * (64 + 4 * 4)));
  options.dtype = "fp8";  // symmetric: scales only
  EXPECT_EQ(Calc(options).size.token, Bytes(vectors * (128 + 4 * 2)));
}

TEST(CalcTest, VMayBeStoredInAnotherDtype) {
  CalcOptions options = Model("llama-3-8b", 16);
  options.value_dtype = "fp8";
  EXPECT_EQ(Calc(options).size.token, Bytes(32LL * 8 * (128 * 2 + 128)));
  options.dtype = "fp8";
  options.value_dtype = "fp32";
  EXPECT_EQ(Calc(options).size.token, Bytes(32LL * 8 * (128 + 128 * 4)));
}

TEST(CalcTest, AGpuHoldsWhatWeightsAndActivationsLeave) {
  CalcOptions options = Model("llama-3-8b", 8192);
  options.gpu = "h100";
  options.activations = "2GB";
  const CalcResult result = Calc(options);
  ASSERT_EQ(result.fits.size(), 1u);
  const CalcFit& fit = result.fits[0];
  // floor(0.9 x 81,559 MiB) - 2 B x 8,030,261,248 - 2 GB
  const std::int64_t kv = 76'968'728'985 - 16'060'522'496 - 2'000'000'000;
  EXPECT_EQ(fit.kv_memory, Bytes(kv));
  EXPECT_EQ(fit.blocks, BlockCount(kv / (16LL * 131'072)));
  EXPECT_EQ(fit.max_batch, kv / (8192LL * 131'072));
  options.weights = "8GB";
  options.gpu_memory_utilization = 1.0;
  EXPECT_EQ(Calc(options).fits[0].kv_memory,
            Bytes(85'520'809'984 - 10'000'000'000));
}

TEST(CalcTest, WithoutAGpuAllKnownOnesAreAnswered) {
  const CalcResult result = Calc(Model("llama-2-70b", 4096));
  EXPECT_EQ(result.fits.size(), 7u);
  EXPECT_LT(OnGpu("rtx-4090", result).kv_memory, Bytes(0));
  EXPECT_EQ(OnGpu("rtx-4090", result).max_batch, 0);
  EXPECT_EQ(OnGpu("rtx-4090", result).blocks, BlockCount(0));
  EXPECT_GT(OnGpu("mi300x", result).max_batch, 0);
}

TEST(CalcTest, RanksShareWeightsAndHeadsAndTheFullestStageDecides) {
  CalcOptions options = Model("llama-2-70b", 4096);
  options.gpu = "a100-80gb";
  options.tensor_parallel = 4;
  options.pipeline_parallel = 3;  // 27 + 27 + 26 layers
  const CalcResult result = Calc(options);
  ASSERT_EQ(result.stages.size(), 3u);
  const std::int64_t per_layer = 2LL * (8 / 4) * 128 * 2;
  EXPECT_EQ(result.stages[0].layers, 27);
  EXPECT_EQ(result.stages[2].layers, 26);
  EXPECT_EQ(result.stages[0].size.token, Bytes(27 * per_layer));
  EXPECT_EQ(result.stages[2].size.token, Bytes(26 * per_layer));
  // The model as a whole is what it is.
  EXPECT_EQ(result.size.token, Bytes(327'680));
  const CalcFit& fit = result.fits[0];
  EXPECT_EQ(fit.weights, Bytes((137'953'296'384 + 11) / 12));
  EXPECT_EQ(fit.blocks,
            BlockCount(fit.kv_memory.value() / (27 * per_layer * 16)));
  EXPECT_EQ(fit.max_batch, fit.kv_memory.value() / (27 * per_layer * 4096));
}

TEST(CalcTest, MoreRanksThanHeadsReplicateAndLatentsAlwaysDo) {
  CalcOptions options = Model("llama-2-70b", 4096);
  options.tensor_parallel = 16;
  EXPECT_EQ(Calc(options).stages[0].size.token, Bytes(327'680 / 8));
  options.model = "deepseek-v2";
  EXPECT_EQ(Calc(options).stages[0].size.token, Bytes(69'120));
}

TEST(CalcTest, ACacheSavesAllProjectionsButOnePerToken) {
  for (const std::int64_t n : {1, 2, 5, 4096}) {
    const CalcResult result = Calc(Model("llama-3-8b", n));
    std::int64_t sum = 0;
    for (std::int64_t i = 1; i <= n; ++i) sum += i;
    EXPECT_EQ(result.projections_without_cache, sum);
    EXPECT_EQ(result.projections_with_cache, n);
  }
}

TEST(CalcTest, AMistakeIsOneLineThatSaysHowToMendIt) {
  constexpr auto kMax64 = std::numeric_limits<std::int64_t>::max();
  const auto with = [](auto change) {
    CalcOptions options = Model("llama-2-70b", 4096);
    change(options);
    return ErrorOf(options);
  };
  using O = CalcOptions;
  EXPECT_THAT(with([](O& o) { o.model = ""; }),
              HasSubstr("one of --model, --config and --layers"));
  EXPECT_THAT(with([](O& o) { o.layers = 32; }),
              HasSubstr("one of --model, --config and --layers"));
  EXPECT_THAT(with([](O& o) { o.model = "gpt-9"; }),
              HasSubstr("unknown model 'gpt-9': use one of"));
  EXPECT_THAT(with([](O& o) { o.dtype = "fp12"; }),
              HasSubstr("unknown dtype 'fp12'"));
  EXPECT_THAT(with([](O& o) { o.value_dtype = "fp12"; }),
              HasSubstr("unknown dtype 'fp12'"));
  EXPECT_THAT(with([](O& o) { o.quant_group = 64; }),
              HasSubstr("need --dtype fp8, fp8_e5m2, int8, int4 or int2"));
  EXPECT_THAT(with([](O& o) { o.dtype = "int4", o.quant_scheme = "x"; }),
              HasSubstr("unknown --quant-scheme 'x'"));
  EXPECT_THAT(with([](O& o) { o.dtype = "int4", o.quant_scheme = "group"; }),
              HasSubstr("needs --quant-group"));
  EXPECT_THAT(with([](O& o) {
                o.dtype = "int4", o.quant_scheme = "token", o.quant_group = 2;
              }),
              HasSubstr("--quant-group goes with"));
  EXPECT_THAT(with([](O& o) { o.dtype = "int4", o.quant_group = -1; }),
              HasSubstr("--quant-group must be positive"));
  EXPECT_THAT(with([](O& o) {
                o.dtype = "int4", o.quant_scheme = "channel", o.quant_group = 5;
              }),
              HasSubstr("must divide the block size"));
  EXPECT_THAT(with([](O& o) { o.seq_len = -1; }), HasSubstr("--seq-len"));
  EXPECT_THAT(with([](O& o) { o.batch = 0; }), HasSubstr("--batch"));
  EXPECT_THAT(with([](O& o) { o.block_size = 0; }), HasSubstr("block size"));
  EXPECT_THAT(with([](O& o) { o.seq_len = kMax64; }), HasSubstr("63 bits"));
  EXPECT_THAT(with([](O& o) { o.batch = kMax64; }), HasSubstr("63 bits"));
  EXPECT_THAT(with([](O& o) { o.gpu = "h101"; }), HasSubstr("unknown GPU"));
  EXPECT_THAT(with([](O& o) { o.memory = "12G"; }),
              HasSubstr("--memory: '12G' is not a size"));
  EXPECT_THAT(with([](O& o) { o.weights = "x"; }), HasSubstr("--weights: "));
  EXPECT_THAT(with([](O& o) { o.activations = "x"; }),
              HasSubstr("--activations: "));
  EXPECT_THAT(with([](O& o) { o.gpu_memory_utilization = 1.5; }),
              HasSubstr("share of GPU memory"));
  EXPECT_THAT(with([](O& o) { o.tensor_parallel = 3; }),
              HasSubstr("cannot be split over 3 ranks"));
  EXPECT_THAT(with([](O& o) { o.pipeline_parallel = 81; }),
              HasSubstr("80 layers do not fill 81 stages"));
}

TEST(CalcTest, AModelFromFiguresMustBeComplete) {
  CalcOptions options;
  options.layers = 32;
  EXPECT_THAT(ErrorOf(options), HasSubstr("--layers needs --head-dim and"));
  options.heads = 32;
  options.head_dim = 128;
  EXPECT_THAT(ErrorOf(options), HasSubstr("give --seq-len"));
  options.seq_len = 4096;
  EXPECT_TRUE(Calc(options).fits.empty()) << "weights are not known";
  options.gpu = "h100";
  EXPECT_THAT(ErrorOf(options), HasSubstr("--gpu needs --weights"));
  options.weights = "13GB";
  EXPECT_EQ(Calc(options).fits.size(), 1u);
  options.kv_heads = 5;
  EXPECT_THAT(ErrorOf(options),
              HasSubstr("--kv-heads (5) must divide --heads (32)"));
  options.kv_heads = 0;
  options.head_dim = std::numeric_limits<std::int32_t>::max();
  EXPECT_THAT(ErrorOf(options), HasSubstr("each from 1 to"));
  options.head_dim = 128;
  options.layers = -1;
  EXPECT_THAT(ErrorOf(options), HasSubstr("--layers must be from 1 to"));
}

TEST(CalcTest, MoreSlotsThanCountFitsIsAnError) {
  CalcOptions options;
  options.layers = 1;
  options.heads = 1;
  options.head_dim = 1;
  options.seq_len = 1;
  options.dtype = "int2";
  options.quant_scheme = "tensor";  // half a byte per token
  options.memory = "9223372036854775807";
  EXPECT_THAT(ErrorOf(options), HasSubstr("63 bits"));
}

}  // namespace
}  // namespace pagedkv::sim
