// SPDX-License-Identifier: Apache-2.0
#include "sim/cli/sweep_points.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "sim/cli/sim_command.h"
#include "sim/study/option_checks.h"
#include "sim/study/sweep_values.h"

namespace pagedkv::sim {
namespace {

/// Of the paged policies, not of --num-blocks: what a sweep is about.
constexpr std::string_view kBlockSize = "block-size";

absl::Status CheckNames(const CLI::App& command,
                        const std::vector<SweepParameter>& parameters) {
  CLI::App known;
  SimOptions unused;
  AddSimOptions(known, unused);
  for (const SweepParameter& parameter : parameters) {
    const std::string option = "--" + parameter.name;
    if (parameter.name.empty() ||
        known.get_option_no_throw(option) == nullptr) {
      return OptionError(absl::StrFormat(
          "--sweep: '%s' is no option that can be swept: pagedkv sim --help "
          "lists them",
          parameter.name));
    }
    const CLI::Option* given = command.get_option_no_throw(option);
    if (parameter.name != kBlockSize && given != nullptr && !given->empty()) {
      return OptionError(
          absl::StrFormat("%s and --sweep %s contradict each other: give one",
                          option, parameter.name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> GivenSimArguments(const CLI::App& command) {
  CLI::App known;
  SimOptions unused;
  AddSimOptions(known, unused);
  std::vector<std::string> arguments;
  for (const CLI::Option* option : command.get_options()) {
    const std::string name = option->get_name();
    if (option->empty() || known.get_option_no_throw(name) == nullptr) continue;
    for (const std::string& value : option->results()) {
      arguments.push_back(absl::StrCat(name, "=", value));
    }
  }
  return arguments;
}

absl::StatusOr<SimOptions> ParseSimArguments(
    const std::vector<std::string>& arguments) {
  CLI::App app;
  SimOptions options;
  AddSimOptions(app, options);
  try {
    // CLI11 takes them from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  return options;
}

absl::StatusOr<std::vector<SweepPoint>> MakeSweepPoints(
    const CLI::App& command, const std::vector<SweepParameter>& parameters) {
  absl::Status names = CheckNames(command, parameters);
  if (!names.ok()) return names;
  absl::StatusOr<std::vector<std::vector<std::string>>> combinations =
      SweepCombinations(parameters);
  if (!combinations.ok()) return combinations.status();
  const std::vector<std::string> given = GivenSimArguments(command);
  std::vector<SweepPoint> points;
  for (std::vector<std::string>& values : *combinations) {
    std::vector<std::string> arguments = given;
    std::optional<std::int32_t> block_size;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (parameters[i].name != kBlockSize) {
        arguments.push_back("--" + parameters[i].name + '=' + values[i]);
        continue;
      }
      block_size.emplace();
      if (!absl::SimpleAtoi(values[i], &*block_size) || *block_size < 1) {
        return OptionError(absl::StrFormat(
            "--sweep: block-size '%s' is no number of tokens", values[i]));
      }
    }
    absl::StatusOr<SimOptions> options = ParseSimArguments(arguments);
    if (!options.ok()) return InOption("--sweep", options.status());
    if (block_size) {
      absl::Status set = SetPagedBlockSize(*block_size, *options);
      if (!set.ok()) return set;
    }
    points.push_back({std::move(values), *std::move(options)});
  }
  return points;
}

}  // namespace pagedkv::sim
