// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_BUILTIN_WORKLOAD_H_
#define SIM_WORKLOAD_BUILTIN_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "pagedkv/types.h"
#include "sim/trace/request_source.h"
#include "sim/trace/trace_request.h"
#include "sim/workload/quantile_table.h"

namespace pagedkv::sim {

/// How prompts share their beginnings. Every prompt begins with one block that
/// all share. Some go on from an earlier prompt, as the next turn of a
/// conversation does; the rest is content not seen before.
struct PrefixReuse {
  BlockSize block;
  std::int32_t continued;          ///< requests that go on, in 1/10,000
  QuantileTable continued_prompt;  ///< their prompts, in tokens
  QuantileTable reused;    ///< their blocks seen before, in 1/10,000 of them
  QuantileTable distance;  ///< how many requests ago that prompt was
};

/// The requests of another service among those of a workload.
struct OtherRequests {
  std::uint32_t share;  ///< of all requests, in 2^-32
  QuantileTable prompt;
  QuantileTable output;
};

/// A workload for a machine without any trace: drawn from published statistics,
/// no row of a trace is in it. Prompt and output lengths are independent of
/// each other, arrivals are Poisson.
struct BuiltinWorkload {
  std::string_view name;
  std::string_view source;    ///< of the statistics
  std::int64_t num_requests;  ///< by default
  double rate;                ///< arrivals per second, by default
  QuantileTable prompt;       ///< with `reuse`: of those that do not go on
  QuantileTable output;
  TokenCount max_total;                   ///< longer pairs are drawn again
  const PrefixReuse* reuse;               ///< null: requests without block ids
  const OtherRequests* others = nullptr;  ///< null: all are of one kind

  /// InvalidArgument lists the known names.
  static absl::StatusOr<const BuiltinWorkload*> Find(std::string_view name);
  static std::span<const BuiltinWorkload> All();

  /// `count` requests at a mean of `rate_per_s`, the first at 0. The same
  /// arguments give the same requests on every machine; more requests begin
  /// with the fewer ones, and the rate changes nothing but arrivals.
  /// InvalidArgument unless 1 <= count <= 10^8, and as `PoissonArrivals`.
  ///
  /// They are generated as they are asked for, in memory that does not depend
  /// on their number. The workload must outlive the source.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<RequestSource>> Open(
      std::int64_t count, double rate_per_s, std::uint64_t seed) const;
  /// The same requests at once.
  [[nodiscard]] absl::StatusOr<std::vector<TraceRequest>> Generate(
      std::int64_t count, double rate_per_s, std::uint64_t seed) const;
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_BUILTIN_WORKLOAD_H_
