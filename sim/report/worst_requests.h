// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_REPORT_WORST_REQUESTS_H_
#define SIM_REPORT_WORST_REQUESTS_H_

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <vector>

namespace pagedkv::sim {

/// As many requests as a list of the worst has.
inline constexpr std::size_t kNumWorst = 10;

/// Puts `request` where it belongs in `worst`, which has the greatest `badness`
/// first and the lower id first among equals, and no more than `kNumWorst`.
template <typename Request, typename Badness>
void KeepWorst(const Request& request, Badness Request::* badness,
               std::vector<Request>& worst) {
  const auto worse = [badness](const Request& a, const Request& b) {
    return std::tuple(b.*badness, a.id) < std::tuple(a.*badness, b.id);
  };
  if (worst.size() == kNumWorst) {
    if (!worse(request, worst.back())) return;
    worst.pop_back();
  }
  worst.insert(std::upper_bound(worst.begin(), worst.end(), request, worse),
               request);
}

}  // namespace pagedkv::sim

#endif  // SIM_REPORT_WORST_REQUESTS_H_
