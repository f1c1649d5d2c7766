// SPDX-License-Identifier: Apache-2.0

/// replay_decisions [--default] FILE...: replays recorded decisions of vLLM's
/// v1 manager and scheduler and compares each, with the option vllm_compatible,
/// or without it after --default. Prints `FILE: N records, M differ`, and the
/// first difference; exits 1 if any record differs, 2 if a file cannot be
/// replayed.

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "tests/integration/replay/pool_replayer.h"
#include "tests/integration/replay/recording.h"
#include "tests/integration/replay/sched_replayer.h"

namespace pagedkv::replay {
namespace {

struct Outcome {
  int records = 0;
  int differ = 0;
  std::string first_difference;
};

absl::StatusOr<std::unique_ptr<Replayer>> MakeReplayer(const Json& header,
                                                       bool vllm_compatible) {
  const Json& config = header.at("config");
  absl::StatusOr<KvCacheManager> manager = MakeManager(header, vllm_compatible);
  if (!manager.ok()) return manager.status();
  if (header.at("kind") == "pool") {
    return std::make_unique<PoolReplayer>(header, *std::move(manager));
  }
  if (header.at("kind") == "sched") {
    return SchedReplayer::Create(config, *std::move(manager));
  }
  return absl::InvalidArgumentError("the recording is neither pool nor sched");
}

absl::StatusOr<Outcome> Replay(const std::string& path, bool vllm_compatible) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError("cannot be read");
  std::string line;
  if (!std::getline(file, line)) return absl::InvalidArgumentError("is empty");
  absl::StatusOr<std::unique_ptr<Replayer>> replayer =
      MakeReplayer(Json::parse(line), vllm_compatible);
  if (!replayer.ok()) return replayer.status();
  Outcome outcome;
  while (std::getline(file, line)) {
    const Json record = Json::parse(line);
    const Json& expected = record.at("r");
    const Json found = (*replayer)->Apply(record);
    const absl::Status audit = (*replayer)->CheckInvariants();
    ++outcome.records;
    if (found == expected && audit.ok()) continue;
    if (++outcome.differ > 1) continue;
    outcome.first_difference = "record " + record.at("i").dump() + ": " +
                               (audit.ok() ? Json::diff(expected, found).dump()
                                           : std::string(audit.message()));
  }
  return outcome;
}

}  // namespace
}  // namespace pagedkv::replay

int main(int argc, char** argv) {
  const bool vllm_compatible =
      argc < 2 || std::string_view(argv[1]) != "--default";
  const int first = vllm_compatible ? 1 : 2;
  if (first >= argc) {
    std::fputs("usage: replay_decisions [--default] FILE...\n", stderr);
    return 2;
  }
  int status = 0;
  for (int i = first; i < argc; ++i) {
    try {  // the JSON library reports malformed files so
      const auto outcome = pagedkv::replay::Replay(argv[i], vllm_compatible);
      if (!outcome.ok()) {
        std::cerr << argv[i] << ": " << outcome.status().message() << "\n";
        status = 2;
        continue;
      }
      std::cout << argv[i] << ": " << outcome->records << " records, "
                << outcome->differ << " differ\n";
      if (outcome->differ > 0) {
        std::cout << "  " << outcome->first_difference << "\n";
        status = status == 2 ? 2 : 1;
      }
    } catch (const std::exception& error) {
      std::cerr << argv[i] << ": " << error.what() << "\n";
      status = 2;
    }
  }
  return status;
}
