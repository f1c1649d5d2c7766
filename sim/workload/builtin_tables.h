// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_BUILTIN_TABLES_H_
#define SIM_WORKLOAD_BUILTIN_TABLES_H_

/// The statistics behind the built-in workloads, with their sources: quantiles
/// only, no rows. Included by builtin_workload.cc alone.

#include <cstdint>

#include "sim/workload/quantile_table.h"

namespace pagedkv::sim {

// ShareGPT and Alpaca, from the PagedAttention paper (Kwon et al., SOSP 2023):
// the means of its Fig. 11. The shapes are not published; assumed are a
// log-normal prompt and a gamma output, within the usual pruning of ShareGPT
// (prompt and output at least 4, prompt at most 1,024, together at most 2,048).
// ShareGPT: log-normal of mu 4.58 and sigma 1.2, gamma of shape 1.284 and scale
// 263.9, which after pruning give the means 161.31 and 337.99, and
// E[output^2] / E[output] = 588, the mean output of the sequences that an
// iteration finds, with which its Fig. 2 comes out.
inline constexpr Quantile kShareGptPrompt[] = {
    {0, 4},       {100, 7},     {500, 14},   {1000, 21},  {1500, 28},
    {2000, 35},   {2500, 43},   {3000, 51},  {3500, 60},  {4000, 70},
    {4500, 82},   {5000, 94},   {5500, 109}, {6000, 127}, {6500, 148},
    {7000, 173},  {7500, 205},  {8000, 247}, {8500, 306}, {9000, 394},
    {9500, 555},  {9700, 670},  {9800, 751}, {9900, 861}, {9950, 934},
    {9990, 1004}, {10000, 1024}};
inline constexpr Quantile kShareGptOutput[] = {
    {0, 4},       {100, 11},    {500, 32},    {1000, 55},   {1500, 78},
    {2000, 100},  {2500, 123},  {3000, 147},  {3500, 172},  {4000, 199},
    {4500, 227},  {5000, 257},  {5500, 290},  {6000, 326},  {6500, 367},
    {7000, 413},  {7500, 467},  {8000, 533},  {8500, 616},  {9000, 732},
    {9500, 927},  {9700, 1067}, {9800, 1176}, {9900, 1357}, {9950, 1527},
    {9990, 1839}, {10000, 2044}};
// Alpaca: log-normal of mu 2.889 and sigma 0.35, gamma of shape 0.5 and scale
// 91, which within the same bounds give the means 19.31 and 58.45, and
// E[output^2] / E[output] = 143, with which parallel samples share what they do
// in its Fig. 15a. (An exponential of that mean gives 116: shorter sequences at
// a time, of which the prompt is more.)
inline constexpr Quantile kAlpacaPrompt[] = {
    {0, 4},     {100, 8},   {500, 10},  {1000, 11}, {1500, 13}, {2000, 13},
    {2500, 14}, {3000, 15}, {3500, 16}, {4000, 17}, {4500, 17}, {5000, 18},
    {5500, 19}, {6000, 20}, {6500, 22}, {7000, 22}, {7500, 23}, {8000, 24},
    {8500, 26}, {9000, 28}, {9500, 32}, {9700, 35}, {9800, 37}, {9900, 41},
    {9950, 44}, {9990, 53}, {10000, 80}};
inline constexpr Quantile kAlpacaOutput[] = {
    {0, 4},      {100, 4},     {500, 5},    {1000, 7},   {1500, 9},
    {2000, 11},  {2500, 13},   {3000, 17},  {3500, 20},  {4000, 24},
    {4500, 28},  {5000, 34},   {5500, 39},  {6000, 46},  {6500, 55},
    {7000, 64},  {7500, 76},   {8000, 91},  {8500, 112}, {9000, 141},
    {9500, 194}, {9700, 234},  {9800, 266}, {9900, 322}, {9950, 379},
    {9990, 513}, {10000, 1024}};

// Azure LLM inference traces 2023 (Patel et al., ISCA 2024; CC-BY 4.0).
// Conversation: quantiles of its 19,366 rows.
inline constexpr Quantile kAzureConvPrompt[] = {
    {0, 2},       {100, 29},     {500, 181},   {1000, 207},  {1500, 372},
    {2000, 387},  {2500, 396},   {3000, 403},  {3500, 414},  {4000, 703},
    {4500, 984},  {5000, 1020},  {5500, 1045}, {6000, 1071}, {6500, 1097},
    {7000, 1130}, {7500, 1189},  {8000, 1315}, {8500, 1877}, {9000, 2735},
    {9500, 4083}, {9700, 4090},  {9800, 4098}, {9900, 4142}, {9950, 4831},
    {9990, 6212}, {10000, 14050}};
inline constexpr Quantile kAzureConvOutput[] = {
    {0, 7},      {100, 16},    {500, 41},   {1000, 54},  {1500, 67},
    {2000, 77},  {2500, 85},   {3000, 91},  {3500, 96},  {4000, 103},
    {4500, 113}, {5000, 129},  {5500, 151}, {6000, 177}, {6500, 217},
    {7000, 384}, {7500, 395},  {8000, 400}, {8500, 411}, {9000, 424},
    {9500, 451}, {9700, 509},  {9800, 540}, {9900, 601}, {9950, 644},
    {9990, 954}, {10000, 1000}};
// Code: median, 90th and, for outputs, 99th percentile and maximum of its 8,819
// rows are published; the other points are chosen so that the means are theirs,
// 2047.8 and 27.9.
inline constexpr Quantile kAzureCodePrompt[] = {
    {0, 3},       {2500, 620},  {5000, 1469}, {7500, 2465},
    {9000, 5194}, {9900, 7436}, {10000, 7437}};
inline constexpr Quantile kAzureCodeOutput[] = {
    {0, 6},     {2500, 9},   {5000, 13},  {7500, 20},   {9000, 55},
    {9500, 78}, {9900, 252}, {9990, 320}, {10000, 1899}};

// Azure LLM inference traces 2024, one week each (Stojkovic et al., HPCA 2025;
// CC-BY 4.0). Median, 99th percentile and maximum of prompts and outputs are
// published; the other points are chosen so that the means are theirs as well:
// 2511 and 23 for code, 1632 and 106 for conversation.
inline constexpr Quantile kAzureCode2024Prompt[] = {
    {0, 3},       {1000, 522},  {2500, 985},  {5000, 1930}, {7500, 3395},
    {9000, 5490}, {9500, 6815}, {9900, 7685}, {10000, 7743}};
inline constexpr Quantile kAzureCode2024Output[] = {
    {0, 1},      {1000, 3},    {2500, 5},    {5000, 8},
    {7500, 14},  {9000, 38},   {9500, 74},   {9900, 271},
    {9990, 470}, {9999, 1000}, {10000, 5000}};
inline constexpr Quantile kAzureConv2024Prompt[] = {
    {0, 2},       {1000, 138},  {2500, 386},  {5000, 928},  {7500, 2333},
    {9000, 4080}, {9500, 4985}, {9900, 6683}, {10000, 7999}};
inline constexpr Quantile kAzureConv2024Output[] = {
    {0, 1},      {1000, 8},   {2500, 16},  {5000, 41},   {7500, 105},
    {9000, 289}, {9500, 422}, {9900, 694}, {9990, 1000}, {10000, 1500}};
inline constexpr std::int64_t kAzureCode2024Requests = 16'803'695;
inline constexpr std::int64_t kAzureConv2024Requests = 27'303'999;

// Mooncake conversation trace (Qin et al., FAST 2025; Apache-2.0): quantiles of
// its 12,031 rows. What is drawn reuses 0.35 of its blocks (the trace 0.37),
// and an LRU cache of 10,000 blocks would find 0.22 of them (0.21). Prompts of
// requests whose only reuse is the first block, which all prompts share, and of
// those that go on from an earlier prompt.
inline constexpr Quantile kMooncakeNewPrompt[] = {
    {0, 891},       {100, 894},     {500, 897},     {1000, 905},
    {1500, 943},    {2000, 1092},   {2500, 1336},   {3000, 1756},
    {3500, 2767},   {4000, 3914},   {4500, 4587},   {5000, 5264},
    {5500, 6191},   {6000, 7417},   {6500, 8828},   {7000, 10775},
    {7500, 13056},  {8000, 15871},  {8500, 19453},  {9000, 25561},
    {9500, 38538},  {9700, 51792},  {9800, 67212},  {9900, 89869},
    {9950, 111800}, {9990, 121471}, {10000, 126195}};
inline constexpr Quantile kMooncakeContinuedPrompt[] = {
    {0, 892},       {100, 1147},    {500, 1627},   {1000, 2101},  {1500, 2663},
    {2000, 3453},   {2500, 4530},   {3000, 5501},  {3500, 6504},  {4000, 7507},
    {4500, 8736},   {5000, 9872},   {5500, 11196}, {6000, 12556}, {6500, 14315},
    {7000, 15782},  {7500, 17656},  {8000, 20235}, {8500, 24342}, {9000, 28963},
    {9500, 40994},  {9700, 52865},  {9800, 65889}, {9900, 79183}, {9950, 94909},
    {9990, 121301}, {10000, 123194}};
inline constexpr Quantile kMooncakeOutput[] = {
    {0, 1},       {100, 3},     {500, 10},   {1000, 24},   {1500, 46},
    {2000, 100},  {2500, 156},  {3000, 213}, {3500, 256},  {4000, 291},
    {4500, 322},  {5000, 350},  {5500, 375}, {6000, 399},  {6500, 423},
    {7000, 447},  {7500, 472},  {8000, 504}, {8500, 543},  {9000, 597},
    {9500, 698},  {9700, 802},  {9800, 893}, {9900, 1120}, {9950, 1570},
    {9990, 2000}, {10000, 2000}};
// Of the requests, in 1/10,000, that go on from an earlier prompt.
inline constexpr std::int32_t kMooncakeContinued = 3872;
// Blocks of such a prompt that were seen before, in 1/10,000; weighted by
// blocks, so that the hit rate by blocks is that of the trace.
inline constexpr Quantile kMooncakeReused[] = {
    {0, 153},     {100, 377},   {500, 1111},  {1000, 2307},  {1500, 3750},
    {2000, 4736}, {2500, 5714}, {3000, 6774}, {3500, 7954},  {4000, 8571},
    {4500, 8947}, {5000, 9183}, {5500, 9333}, {6000, 9444},  {6500, 9555},
    {7000, 9642}, {7500, 9701}, {8000, 9761}, {8500, 9815},  {9000, 9854},
    {9500, 9910}, {9700, 9935}, {9800, 9947}, {9900, 10000}, {10000, 10000}};
// How many requests ago the prompt was seen that it goes on from.
inline constexpr Quantile kMooncakeDistance[] = {
    {0, 5},       {100, 44},     {500, 99},    {1000, 141},  {1500, 176},
    {2000, 204},  {2500, 229},   {3000, 257},  {3500, 290},  {4000, 324},
    {4500, 367},  {5000, 422},   {5500, 481},  {6000, 550},  {6500, 643},
    {7000, 757},  {7500, 901},   {8000, 1087}, {8500, 1316}, {9000, 1662},
    {9500, 2131}, {9700, 2592},  {9800, 3491}, {9900, 5110}, {9950, 6711},
    {9990, 8907}, {10000, 10514}};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_BUILTIN_TABLES_H_
