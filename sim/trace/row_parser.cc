// SPDX-License-Identifier: Apache-2.0
#include "sim/trace/row_parser.h"

#include "absl/strings/str_format.h"

namespace pagedkv::sim {

std::string UnknownFormat(std::string_view seen) {
  return absl::StrFormat(
      "unknown trace format: %s; known are the CSV headers %s and the JSON "
      "keys %s",
      seen, DescribeCsvFormats(), DescribeJsonlFormats());
}

}  // namespace pagedkv::sim
