// SPDX-License-Identifier: Apache-2.0
#ifndef EXAMPLES_ENGINE_REPORT_H_
#define EXAMPLES_ENGINE_REPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "examples/engine/answers.h"
#include "examples/engine/engine.h"

namespace pagedkv::engine {

/// What a run took, in lines for people that begin with the cache's name.
std::string Report(std::string_view cache, const Engine& engine,
                   std::int64_t num_tokens, double seconds);

/// The requests as `pagedkv sim --trace` reads them: all there from the start,
/// with the lengths that the answers had. A block of the trace is one token, so
/// that it says exactly what requests have in common.
std::string Trace(const std::vector<EngineRequest>& requests,
                  const std::map<Answers::Key, Answer>& answers);

}  // namespace pagedkv::engine

#endif  // EXAMPLES_ENGINE_REPORT_H_
