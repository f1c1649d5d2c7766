// SPDX-License-Identifier: Apache-2.0
//
// Before libFuzzer reads its first folder of inputs, puts the seeds there.

#include <cstddef>
#include <fstream>
#include <ios>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  for (int i = 1; i < *argc; ++i) {
    const std::string folder = (*argv)[i];
    if (folder.starts_with('-')) continue;
    const auto seeds = pagedkv::FuzzSeeds();
    for (std::size_t seed = 0; seed < seeds.size(); ++seed) {
      std::ofstream file(folder + "/seed-" + std::to_string(seed),
                         std::ios::binary);
      file.write(reinterpret_cast<const char*>(seeds[seed].data()),
                 static_cast<std::streamsize>(seeds[seed].size()));
    }
    break;
  }
  return 0;
}
