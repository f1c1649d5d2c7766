// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/read_options.h"

#include <map>
#include <string>

namespace pagedkv::sim {

CLI::Option* AddSessionsOption(CLI::App& command, SessionLoop& sessions) {
  const std::map<std::string, SessionLoop> loops = {
      {"recorded", SessionLoop::kRecorded},
      {"closed", SessionLoop::kClosed},
      {"open", SessionLoop::kOpen}};
  return command
      .add_option("--sessions", sessions,
                  "closed: turns of a session wait for the one before; open: "
                  "they do not; recorded: closed where there are delays, open "
                  "where there are times (default: recorded)")
      ->transform(CLI::CheckedTransformer(loops));
}

void AddReadOptions(CLI::App& command, WorkloadOptions& options) {
  command
      .add_option("--requests", options.requests,
                  "Only the first N requests (default: all)")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--max-seq-len", options.max_sequence_tokens,
                  "Drop and count requests of more tokens in all")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--trace-block-size", options.trace_block_tokens,
                  "Tokens per block id (default: as the format has it)")
      ->check(CLI::PositiveNumber);
  command.add_flag("--skip-malformed", options.skip_malformed,
                   "Count malformed rows instead of stopping");
  command.add_flag("--strict", options.strict,
                   "Refuse block ids that contradict each other");
  AddSessionsOption(command, options.sessions);
  command.add_flag("--sort", options.sort,
                   "Keep rows out of order of arrival instead of dropping "
                   "them, and sort");
}

}  // namespace pagedkv::sim
