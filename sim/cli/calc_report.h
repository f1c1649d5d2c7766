// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_CLI_CALC_REPORT_H_
#define SIM_CLI_CALC_REPORT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "sim/cli/calc.h"

namespace pagedkv::sim {

enum class CalcFormat : std::uint8_t { kTable, kJson, kCsv, kMarkdown };

/// The whole answer as text that ends with a newline. JSON has the schema
/// pagedkv.calc/1: sorted keys, units in the names, sizes as exact bytes and as
/// GB and GiB rounded to six decimals; `kv_cache_groups` only if the model has
/// several. CSV is the same as `key,value` lines, with the path of each JSON
/// value as its key.
[[nodiscard]] std::string RenderCalc(const CalcResult& result,
                                     CalcFormat format);

}  // namespace pagedkv::sim

#endif  // SIM_CLI_CALC_REPORT_H_
