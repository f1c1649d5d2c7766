// SPDX-License-Identifier: Apache-2.0
#ifndef SIM_WORKLOAD_SESSION_SOURCE_H_
#define SIM_WORKLOAD_SESSION_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"

#include "sim/trace/request_source.h"
#include "sim/workload/content_line.h"
#include "sim/workload/random.h"
#include "sim/workload/session_starts.h"
#include "sim/workload/workload_spec.h"
#include "sim/workload/zipf.h"

namespace pagedkv::sim {

/// Generates a described workload, request by request, the first at 0. The same
/// arguments give the same requests on every machine; more requests begin with
/// the fewer ones, and sessions are the same at every rate: it changes only
/// when they start.
///
/// Turns come where they would arrive if every request took no time. Closed
/// loop, they have `follows` and `delay_ns`. Each request has block ids, and
/// one that others go on from has `output_block_ids`. Memory: the sessions that
/// are under way. Thread-compatible.
class SessionSource : public RequestSource {
 public:
  /// `count` requests; `requests_per_s` is as of the description, 0: its own.
  /// InvalidArgument if one of them is out of range.
  static absl::StatusOr<std::unique_ptr<SessionSource>> Create(
      WorkloadSpec spec, std::int64_t count, double requests_per_s,
      std::uint64_t seed);

  [[nodiscard]] absl::StatusOr<bool> Next(TraceRequest& request) override;

 private:
  struct ClassState {
    std::optional<SessionStarts> starts;
    std::optional<std::int64_t> next_start_ns;
    std::uint64_t num_sessions = 0;
    std::vector<Zipf> popularity;  // of each of its shared texts
  };
  /// A session under way, or a branch of one, which is a session of one turn.
  struct Session {
    std::int64_t arrival_ns = 0;  // of its next turn, as recorded
    std::int64_t exact_ns = 0;    // the same, before it was rounded to a tick
    std::uint64_t order = 0;      // among equal arrivals
    std::size_t class_index = 0;
    std::uint64_t content = 0;  // what is said in it only
    Random random{0, 0};
    ContentLine line;
    std::int64_t turns_left = 0;
    std::int64_t message = 0;  // of the next turn, as all below
    std::int64_t answer = 0;
    std::int64_t previous = -1;  // id of the turn before
    std::int64_t delay_ns = 0;
  };
  struct ArrivesLater {
    bool operator()(const Session& a, const Session& b) const {
      return a.arrival_ns != b.arrival_ns ? a.arrival_ns > b.arrival_ns
                                          : a.order > b.order;
    }
  };

  SessionSource(WorkloadSpec spec, std::int64_t count, std::uint64_t seed)
      : spec_(std::move(spec)), count_(count), seed_(seed) {}

  /// Starts the sessions that are due before any other turn is.
  absl::Status StartSessions();
  [[nodiscard]] Session StartSession(std::size_t class_index);
  /// Of the class's next session, which there is, as recorded.
  [[nodiscard]] std::int64_t StartOf(std::size_t class_index) const;
  void BeginWithSharedTexts(std::size_t class_index, Session& session);
  /// Draws the next turn; false where it would be too long.
  [[nodiscard]] bool DrawTurn(const Distribution& message, Session& session);
  void Emit(Session& session, TraceRequest& request);
  /// What goes on from the turn that was emitted last.
  void GoOn(Session session, TraceRequest& request);
  void Push(Session session);

  WorkloadSpec spec_;
  std::int64_t count_;
  std::uint64_t seed_;
  std::int64_t origin_ns_ = 0;  // start of the first session
  std::int64_t next_id_ = 0;
  std::uint64_t next_order_ = 0;
  std::vector<ClassState> classes_;
  std::vector<Session> sessions_;  // heap, the earliest turn first
};

}  // namespace pagedkv::sim

#endif  // SIM_WORKLOAD_SESSION_SOURCE_H_
