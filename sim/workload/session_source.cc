// SPDX-License-Identifier: Apache-2.0
#include "sim/workload/session_source.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "sim/trace/mix64.h"

namespace pagedkv::sim {
namespace {

constexpr std::int64_t kMaxRequests = 1'000'000'000;
constexpr std::int64_t kNsPerMs = 1'000'000;
/// Pairs of lengths that are too long are drawn again so often; after that the
/// shortest are taken, which a description must leave room for.
constexpr int kMaxDraws = 1000;

/// What a stream of random numbers, or a content, is for.
enum class Use : std::uint64_t { kStarts, kSession, kText, kOwn, kBranch };

std::int64_t RoundDown(std::int64_t ns, const ArrivalSpec& arrivals) {
  return ns - ns % arrivals.tick_ns;
}

std::uint64_t Key(std::uint64_t seed, Use use, std::uint64_t a,
                  std::uint64_t b = 0, std::uint64_t c = 0) {
  std::uint64_t key = Mix64(seed + static_cast<std::uint64_t>(use) + 1);
  for (const std::uint64_t part : {a, b, c}) key = Mix64(key + part + 1);
  return key;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionSource>> SessionSource::Create(
    WorkloadSpec spec, std::int64_t count, double requests_per_s,
    std::uint64_t seed) {
  if (count < 1 || count > kMaxRequests) {
    return absl::InvalidArgumentError(
        absl::StrCat("requests: expected 1 to ", kMaxRequests, " for workload ",
                     spec.name, ", found ", count));
  }
  if (requests_per_s < 0 || !std::isfinite(requests_per_s)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rate: expected a number of requests per second above 0, "
                     "found ",
                     requests_per_s));
  }
  const double speed =
      requests_per_s > 0 ? requests_per_s / spec.requests_per_s() : 1.0;
  // Not make_unique: the constructor is private.
  std::unique_ptr<SessionSource> source(
      new SessionSource(std::move(spec), count, seed));
  std::optional<std::int64_t> first_ns;
  const std::vector<WorkloadClass>& classes = source->spec_.classes;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    ClassState& state = source->classes_.emplace_back();
    state.starts.emplace(classes[i].arrivals, speed,
                         Random(seed, Key(seed, Use::kStarts, i)));
    state.next_start_ns = state.starts->Next();
    if (state.next_start_ns.has_value() &&
        (!first_ns.has_value() || *state.next_start_ns < *first_ns)) {
      first_ns = state.next_start_ns;
    }
    for (const SharedTexts& texts : classes[i].shared) {
      state.popularity.emplace_back(texts.count, texts.zipf_thousandths);
    }
  }
  source->origin_ns_ = first_ns.value_or(0);
  return source;
}

absl::StatusOr<bool> SessionSource::Next(TraceRequest& request) {
  if (next_id_ == count_) return false;
  if (absl::Status started = StartSessions(); !started.ok()) return started;
  std::pop_heap(sessions_.begin(), sessions_.end(), ArrivesLater());
  Session session = std::move(sessions_.back());
  sessions_.pop_back();
  Emit(session, request);
  GoOn(std::move(session), request);
  return true;
}

absl::Status SessionSource::StartSessions() {
  for (;;) {
    std::size_t next = classes_.size();
    for (std::size_t i = 0; i < classes_.size(); ++i) {
      if (!classes_[i].next_start_ns.has_value()) continue;
      if (next == classes_.size() || StartOf(i) < StartOf(next)) next = i;
    }
    if (next == classes_.size()) {
      if (!sessions_.empty()) return absl::OkStatus();
      return absl::InvalidArgumentError(
          "rate: so few requests per second put arrivals past 292 years");
    }
    if (!sessions_.empty() && sessions_.front().arrival_ns < StartOf(next)) {
      return absl::OkStatus();
    }
    Push(StartSession(next));
  }
}

std::int64_t SessionSource::StartOf(std::size_t class_index) const {
  return RoundDown(*classes_[class_index].next_start_ns - origin_ns_,
                   spec_.classes[class_index].arrivals);
}

SessionSource::Session SessionSource::StartSession(std::size_t class_index) {
  ClassState& state = classes_[class_index];
  const WorkloadClass& spec = spec_.classes[class_index];
  const std::uint64_t number = state.num_sessions++;
  Session session = {
      .arrival_ns = StartOf(class_index),
      .exact_ns = *state.next_start_ns - origin_ns_,
      .class_index = class_index,
      .content = Key(seed_, Use::kOwn, class_index, number),
      .random = Random(seed_, Key(seed_, Use::kSession, class_index, number)),
      .line = ContentLine(spec_.block)};
  state.next_start_ns = state.starts->Next();
  const ContentLine empty = session.line;
  for (int draws = 0; draws < kMaxDraws; ++draws) {
    session.line = empty;
    BeginWithSharedTexts(class_index, session);
    if (!DrawTurn(spec.first_message, session)) continue;
    const std::int64_t prompt = session.line.num_tokens() + session.message;
    session.turns_left = spec.turns.For(prompt).At(session.random.Word());
    return session;
  }
  session.line = empty;
  session.turns_left = 1;
  session.message = 1;
  session.answer = 1;
  return session;
}

void SessionSource::BeginWithSharedTexts(std::size_t class_index,
                                         Session& session) {
  const WorkloadClass& spec = spec_.classes[class_index];
  std::vector<std::int64_t> drawn;
  for (std::size_t i = 0; i < spec.shared.size(); ++i) {
    const SharedTexts& texts = spec.shared[i];
    const std::int64_t draws =
        std::min(texts.count, texts.draws.At(session.random.Word()));
    drawn.clear();
    while (static_cast<std::int64_t>(drawn.size()) < draws) {
      std::int64_t text =
          classes_[class_index].popularity[i].Draw(session.random);
      // The next in popularity for one that is there already.
      while (std::find(drawn.begin(), drawn.end(), text) != drawn.end()) {
        text = (text + 1) % texts.count;
      }
      drawn.push_back(text);
      const std::uint64_t content = Key(seed_, Use::kText, class_index, i,
                                        static_cast<std::uint64_t>(text));
      // A text has the same length wherever it is shown.
      const auto word = static_cast<std::uint32_t>(Mix64(content) >> 32);
      session.line.Append(content, texts.tokens.At(word));
    }
  }
}

bool SessionSource::DrawTurn(const Distribution& message, Session& session) {
  const WorkloadClass& spec = spec_.classes[session.class_index];
  session.message = message.At(session.random.Word());
  const std::int64_t prompt = session.line.num_tokens() + session.message;
  session.answer = spec.answer.For(prompt).At(session.random.Word());
  return prompt >= 1 && prompt + session.answer <= spec.max_context_tokens;
}

void SessionSource::Emit(Session& session, TraceRequest& request) {
  session.line.Append(session.content, session.message);
  request = {
      .id = next_id_++,
      .arrival_ns = session.arrival_ns,
      .prompt_tokens = static_cast<std::int32_t>(session.line.num_tokens()),
      .output_tokens = static_cast<std::int32_t>(session.answer),
      .block_ids = session.line.ids()};
  if (session.previous >= 0 && spec_.classes[session.class_index].closed_loop) {
    request.follows = session.previous;
    request.delay_ns = session.delay_ns;
  }
}

void SessionSource::GoOn(Session session, TraceRequest& request) {
  if (--session.turns_left == 0) return;
  const WorkloadClass& spec = spec_.classes[session.class_index];
  session.line.Append(session.content, session.answer);
  session.previous = request.id;
  const auto go_on = [&](Session& next) {
    if (!DrawTurn(spec.message, next)) return;
    next.delay_ns = spec.think_time_ms.At(next.random.Word()) * kNsPerMs;
    constexpr auto kMaxNs = std::numeric_limits<std::int64_t>::max();
    if (next.delay_ns > kMaxNs - next.exact_ns) return;
    if (spec.closed_loop) {
      next.arrival_ns += next.delay_ns;
      next.exact_ns = next.arrival_ns;
    } else {
      next.exact_ns += next.delay_ns;
      next.arrival_ns = RoundDown(next.exact_ns, spec.arrivals);
    }
    if (request.output_block_ids.empty()) {
      request.output_block_ids = next.line.IdsFrom(request.prompt_tokens);
    }
    Push(std::move(next));
  };
  const std::int64_t branches = spec.branches.At(session.random.Word());
  for (std::int64_t i = 0; i < branches; ++i) {
    Session branch = session;
    const auto number = static_cast<std::uint64_t>(i);
    branch.content =
        Key(seed_, Use::kBranch, session.content,
            static_cast<std::uint64_t>(session.turns_left), number);
    branch.random = Random(seed_, branch.content);
    branch.turns_left = 1;
    go_on(branch);
  }
  go_on(session);
}

void SessionSource::Push(Session session) {
  session.order = next_order_++;
  sessions_.push_back(std::move(session));
  std::push_heap(sessions_.begin(), sessions_.end(), ArrivesLater());
}

}  // namespace pagedkv::sim
