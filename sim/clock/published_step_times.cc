// SPDX-License-Identifier: Apache-2.0
#include "sim/clock/published_step_times.h"

#include <array>

namespace pagedkv::sim {

// The table has, for each GPU, the time of a prompt of 512, 1024 and 2048
// tokens alone and of a decode step of 1 and of 64 sequences. The coefficients
// are those with the least sum of squared relative errors over the five, none
// negative. What a decode step takes per resident token is part of what it
// takes per sequence: the table has one context length only.
std::span<const StepTime> PublishedStepTimes() {
  static const std::array<StepTime, 2> presets = {{
      {.preset = "splitwise-h100-tp8-llama-2-70b",
       .model = "llama-2-70b",
       .source =
           "medians published with Splitwise (Patel et al., ISCA 2024; "
           "splitwise-sim, perf_model.csv): Llama-2-70B on 8 x H100, within 1 "
           "% of the table; contexts of about 576 tokens; not validated by us",
       .serial = {.per_step = 30'348'035'797'804,
                  .per_sequence = 268'028'567'786,
                  .per_computed_token = 42'158'372'873,
                  .per_prefill_attention = 9'273'217}},
      {.preset = "splitwise-a100-tp8-llama-2-70b",
       .model = "llama-2-70b",
       .source =
           "medians published with Splitwise (Patel et al., ISCA 2024; "
           "splitwise-sim, perf_model.csv): Llama-2-70B on 8 x A100, within 3 "
           "% of the table; contexts of about 576 tokens; not validated by us",
       .serial = {.per_step = 44'399'097'073'277,
                  .per_sequence = 331'815'519'634,
                  .per_computed_token = 93'198'588'596,
                  .per_prefill_attention = 19'430'609}},
  }};
  return presets;
}

}  // namespace pagedkv::sim
