// SPDX-License-Identifier: Apache-2.0
#include "backends/zmq/kv_event_publisher.h"

#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"

namespace pagedkv {
namespace {

using ByteView = std::span<const std::uint8_t>;
using Number = std::array<std::uint8_t, 8>;

constexpr int kLingerMilliseconds = 1000;
constexpr std::chrono::milliseconds kReplayInterval(100);
// Nobody needs more to ask: a request has 8 bytes.
constexpr std::int64_t kMaxRequestBytes = 1024;
constexpr Number kEndOfReplay = {0xff, 0xff, 0xff, 0xff,
                                 0xff, 0xff, 0xff, 0xff};

Number BigEndian(std::uint64_t number) {
  Number bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(number >> (56 - 8 * i));
  }
  return bytes;
}

ByteView BytesOf(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

absl::Status OptionError(std::string_view what, std::int64_t value) {
  return absl::InvalidArgumentError(
      absl::StrFormat("%s is %d; it must be at least %d", std::string(what),
                      value, what == "data_parallel_rank" ? 0 : 1));
}

// The endpoint of one rank.
absl::StatusOr<std::string> EndpointOfRank(const std::string& endpoint,
                                           int rank) {
  if (rank == 0 || endpoint.empty()) return endpoint;
  if (absl::StartsWith(endpoint, "inproc://")) {
    return absl::StrFormat("%s_dp%d", endpoint, rank);
  }
  const std::size_t colon = endpoint.rfind(':');
  int port = 0;
  if (!absl::StartsWith(endpoint, "tcp://") ||
      !absl::SimpleAtoi(endpoint.substr(colon + 1), &port) || port < 0 ||
      port > 0xffff - rank) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "endpoint \"%s\" has no port that rank %d can be added to; it must be "
        "tcp://HOST:PORT or inproc://NAME",
        endpoint, rank));
  }
  return absl::StrFormat("%s:%d", endpoint.substr(0, colon), port + rank);
}

bool IsBound(const std::string& endpoint) {
  return absl::StrContains(endpoint, "*") ||
         absl::StrContains(endpoint, "::") ||
         absl::StartsWith(endpoint, "ipc://") ||
         absl::StartsWith(endpoint, "inproc://");
}

// A socket of ZeroMQ. One thread at a time.
class Socket {
 public:
  Socket() = default;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { Close(); }

  // An `endpoint` that is used is replaced by where the socket really is.
  absl::Status Open(void* context, int type, int high_water_mark, bool bind,
                    std::string* endpoint) {
    socket_ = zmq_socket(context, type);
    if (socket_ == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("ZeroMQ has no socket: %s", zmq_strerror(errno)));
    }
    Set(ZMQ_SNDHWM, high_water_mark);
    Set(ZMQ_LINGER, kLingerMilliseconds);
    // Without it a bracketed IPv6 address is none.
    if (absl::StrContains(*endpoint, "::")) Set(ZMQ_IPV6, 1);
    if (type == ZMQ_ROUTER) Set(ZMQ_MAXMSGSIZE, kMaxRequestBytes);
    if ((bind ? zmq_bind : zmq_connect)(socket_, endpoint->c_str()) != 0) {
      const int error = errno;
      const std::string message =
          absl::StrFormat("cannot %s \"%s\": %s", bind ? "bind" : "connect to",
                          *endpoint, zmq_strerror(error));
      return error == EINVAL || error == EPROTONOSUPPORT
                 ? absl::InvalidArgumentError(message)
                 : absl::UnavailableError(message);
    }
    std::array<char, 1024> actual{};
    std::size_t size = actual.size();
    if (zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, actual.data(), &size) == 0) {
      *endpoint = actual.data();
    }
    return absl::OkStatus();
  }

  void Close() {
    if (socket_ != nullptr) zmq_close(socket_);
    socket_ = nullptr;
  }

  [[nodiscard]] bool is_open() const { return socket_ != nullptr; }

  // False, with errno, if ZeroMQ does not take the message.
  bool Send(std::initializer_list<ByteView> frames) {
    std::size_t left = frames.size();
    for (const ByteView frame : frames) {
      const int flags = --left > 0 ? ZMQ_SNDMORE : 0;
      while (zmq_send(socket_, frame.data(), frame.size(), flags) < 0) {
        if (errno != EINTR) return false;
      }
    }
    return true;
  }

  // The frames of a message, if one is there. No more than four of them are
  // kept: what has more is not for us.
  std::optional<std::vector<std::vector<std::uint8_t>>> TryReceive() {
    std::vector<std::vector<std::uint8_t>> frames;
    bool more = true;
    while (more) {
      zmq_msg_t message;
      zmq_msg_init(&message);
      if (zmq_msg_recv(&message, socket_, ZMQ_DONTWAIT) < 0) {
        const bool again = errno == EINTR;
        zmq_msg_close(&message);
        if (again) continue;
        return std::nullopt;
      }
      if (frames.size() < 4) {
        const auto* data =
            static_cast<const std::uint8_t*>(zmq_msg_data(&message));
        frames.emplace_back(data, data + zmq_msg_size(&message));
      }
      more = zmq_msg_more(&message) != 0;
      zmq_msg_close(&message);
    }
    return frames;
  }

 private:
  template <typename T>
  void Set(int option, T value) {
    zmq_setsockopt(socket_, option, &value, sizeof(value));
  }

  void* socket_ = nullptr;
};

}  // namespace

// The thread, and what it shares with those who publish.
class KvEventPublisher::Worker {
 public:
  explicit Worker(const KvEventPublisherOptions& options) : options_(options) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  ~Worker() {
    Shutdown();
    // Not started, it still has its sockets.
    publish_.Close();
    replay_.Close();
    if (options_.context == nullptr && context_ != nullptr) {
      while (zmq_ctx_term(context_) != 0 && errno == EINTR) {
      }
    }
  }

  absl::Status Start() {
    context_ = options_.context;
    if (context_ == nullptr) context_ = zmq_ctx_new();
    if (context_ == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("ZeroMQ has no context: %s", zmq_strerror(errno)));
    }
    const int rank = options_.data_parallel_rank;
    for (std::string* endpoint :
         {&options_.endpoint, &options_.replay_endpoint}) {
      absl::StatusOr<std::string> own = EndpointOfRank(*endpoint, rank);
      if (!own.ok()) return own.status();
      *endpoint = *std::move(own);
    }
    absl::Status status =
        publish_.Open(context_, ZMQ_PUB, options_.high_water_mark,
                      IsBound(options_.endpoint), &options_.endpoint);
    if (status.ok() && !options_.replay_endpoint.empty()) {
      // A peer that reads nothing loses its answer at the mark, so that one
      // answer fits below it, and hundreds do not.
      const auto most = static_cast<std::size_t>(
          std::numeric_limits<int>::max() - kAnswerSlack);
      status = replay_.Open(
          context_, ZMQ_ROUTER,
          static_cast<int>(std::min(options_.max_replay_batches, most)) +
              kAnswerSlack,
          /*bind=*/true, &options_.replay_endpoint);
    }
    if (!status.ok()) return status;
    try {
      thread_ = std::thread(&Worker::Run, this);
    } catch (const std::system_error& error) {
      return absl::ResourceExhaustedError(
          absl::StrFormat("there is no thread: %s", error.what()));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::uint64_t> Publish(std::vector<std::uint8_t> batch) {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [this] {
      return queue_.size() < options_.max_queued_batches || !status_.ok();
    });
    if (!status_.ok()) return status_;
    queue_.push_back(std::move(batch));
    const std::uint64_t number = num_queued_++;
    lock.unlock();
    work_.notify_one();
    return number;
  }

  void Shutdown() {
    {
      const std::lock_guard lock(mutex_);
      if (status_.ok()) {
        status_ = absl::FailedPreconditionError("the publisher was shut down");
      }
    }
    room_.notify_all();
    work_.notify_all();
    // Of several callers one joins, and the others wait for it.
    const std::lock_guard lock(join_mutex_);
    if (thread_.joinable()) thread_.join();
  }

  [[nodiscard]] const KvEventPublisherOptions& options() const {
    return options_;
  }

 private:
  static constexpr int kAnswerSlack = 1000;

  void Run() {
    while (true) {
      // In turns, so that neither can starve the other.
      const bool answered = replay_.is_open() && TryAnswer();
      std::optional<std::vector<std::uint8_t>> batch = Next(answered);
      if (batch.has_value()) {
        if (!Send(*std::move(batch))) break;
      } else if (!running_) {
        break;
      }
    }
    publish_.Close();
    replay_.Close();
  }

  // The next batch of the queue; none if there was none for a while (at once,
  // if there may be another request), or will be none any more.
  std::optional<std::vector<std::uint8_t>> Next(bool at_once) {
    std::unique_lock lock(mutex_);
    const auto ready = [this] { return !queue_.empty() || !status_.ok(); };
    if (at_once) {
      // Takes what there is.
    } else if (replay_.is_open()) {
      work_.wait_for(lock, kReplayInterval, ready);
    } else {
      work_.wait(lock, ready);
    }
    running_ = status_.ok();
    if (queue_.empty()) return std::nullopt;
    std::vector<std::uint8_t> batch = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    room_.notify_one();
    return batch;
  }

  bool Send(std::vector<std::uint8_t> batch) {
    const Number number = BigEndian(num_sent_);
    if (!publish_.Send({BytesOf(options_.topic), number, batch})) {
      const std::string reason = zmq_strerror(errno);
      const std::lock_guard lock(mutex_);
      status_ = absl::UnavailableError(
          absl::StrFormat("batch %d was not sent: %s", num_sent_, reason));
      queue_.clear();
      room_.notify_all();
      return false;
    }
    ++num_sent_;
    if (replay_.is_open() && options_.max_replay_batches > 0) {
      if (held_.size() == options_.max_replay_batches) held_.pop_front();
      held_.push_back(std::move(batch));
    }
    return true;
  }

  // Whether there was a request, be it a good one or not.
  bool TryAnswer() {
    const auto request = replay_.TryReceive();
    if (!request.has_value()) return false;
    if (request->size() != 3 || !(*request)[1].empty() ||
        (*request)[2].size() != sizeof(Number)) {
      return true;
    }
    const ByteView peer = (*request)[0];
    std::uint64_t start = 0;
    for (const std::uint8_t byte : (*request)[2]) start = start << 8 | byte;
    const std::uint64_t oldest = num_sent_ - held_.size();
    for (std::uint64_t n = std::max(start, oldest); n < num_sent_; ++n) {
      replay_.Send({peer, ByteView(), BytesOf(options_.topic), BigEndian(n),
                    held_[n - oldest]});
    }
    replay_.Send({peer, ByteView(), ByteView(), kEndOfReplay, ByteView()});
    return true;
  }

  // Set before the thread starts, then read only.
  KvEventPublisherOptions options_;
  void* context_ = nullptr;

  std::mutex mutex_;
  std::condition_variable work_;  // the queue is not empty, or status_ not OK
  std::condition_variable room_;  // the queue is not full, or status_ not OK
  // Under mutex_.
  std::deque<std::vector<std::uint8_t>> queue_;
  std::uint64_t num_queued_ = 0;
  absl::Status status_;  // OK until the end, then why it came

  std::mutex join_mutex_;
  std::thread thread_;

  // The thread's.
  Socket publish_;
  Socket replay_;
  bool running_ = true;
  std::uint64_t num_sent_ = 0;
  std::deque<std::vector<std::uint8_t>> held_;  // the last ones that were sent
};

absl::StatusOr<std::unique_ptr<KvEventPublisher>> KvEventPublisher::Create(
    const KvEventPublisherOptions& options) {
  if (options.data_parallel_rank < 0) {
    return OptionError("data_parallel_rank", options.data_parallel_rank);
  }
  if (options.high_water_mark < 1) {
    return OptionError("high_water_mark", options.high_water_mark);
  }
  if (options.max_queued_batches < 1) {
    return OptionError("max_queued_batches", 0);
  }
  auto worker = std::make_unique<Worker>(options);
  absl::Status status = worker->Start();
  if (!status.ok()) return status;
  return std::unique_ptr<KvEventPublisher>(
      new KvEventPublisher(std::move(worker)));
}

KvEventPublisher::KvEventPublisher(std::unique_ptr<Worker> worker)
    : worker_(std::move(worker)) {}

KvEventPublisher::~KvEventPublisher() = default;

absl::StatusOr<std::uint64_t> KvEventPublisher::Publish(
    std::vector<std::uint8_t> batch) {
  return worker_->Publish(std::move(batch));
}

void KvEventPublisher::Shutdown() { worker_->Shutdown(); }

const std::string& KvEventPublisher::endpoint() const {
  return worker_->options().endpoint;
}

const std::string& KvEventPublisher::replay_endpoint() const {
  return worker_->options().replay_endpoint;
}

}  // namespace pagedkv
