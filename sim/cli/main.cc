// SPDX-License-Identifier: Apache-2.0
// The command line program `pagedkv`: its subcommands and exit codes.
#include <exception>

#include "absl/status/status.h"

#include "sim/cli/calc_command.h"
#include "sim/cli/command.h"
#include "sim/cli/diff_command.h"
#include "sim/cli/fit_command.h"
#include "sim/cli/hitcurve_command.h"
#include "sim/cli/plan_command.h"
#include "sim/cli/reproduce_paper_command.h"
#include "sim/cli/sim_command.h"
#include "sim/cli/trace_command.h"

int main(int argc, char** argv) {
  CLI::App app(
      "KV cache memory of large-language-model servers: what a model takes, "
      "and what a workload wastes.",
      "pagedkv");
  app.set_version_flag("--version", "pagedkv " PAGEDKV_VERSION);
  // One is required, but then an unknown one would go unnamed: see below.
  app.require_subcommand(0, 1);

  int exit_code = pagedkv::sim::kExitOk;
  pagedkv::sim::AddSimCommand(app, exit_code);
  pagedkv::sim::AddCalcCommand(app, exit_code);
  pagedkv::sim::AddDiffCommand(app, exit_code);
  pagedkv::sim::AddHitcurveCommand(app, exit_code);
  pagedkv::sim::AddPlanCommand(app, exit_code);
  pagedkv::sim::AddReproducePaperCommand(app, exit_code);
  pagedkv::sim::AddTraceCommand(app, exit_code);
  pagedkv::sim::AddFitCommand(app, exit_code);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 reports by exceptions: help and version too, with code 0.
    if (error.get_exit_code() == 0) return app.exit(error);
    return pagedkv::sim::ReportBadInput(
        absl::InvalidArgumentError(error.what()));
  } catch (const std::exception& error) {  // of the standard library: memory
    return pagedkv::sim::ReportBadInput(
        absl::ResourceExhaustedError(error.what()));
  }
  if (app.get_subcommands().empty()) {
    return pagedkv::sim::ReportBadInput(absl::InvalidArgumentError(
        "a subcommand is required: pagedkv --help lists them"));
  }
  return exit_code;
}
