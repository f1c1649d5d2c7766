// SPDX-License-Identifier: Apache-2.0
#ifndef BACKENDS_ZMQ_KV_EVENT_PUBLISHER_H_
#define BACKENDS_ZMQ_KV_EVENT_PUBLISHER_H_

/// Batches of events over ZeroMQ, as vLLM's ZmqEventPublisher sends them.
/// Source: vllm/distributed/kv_events.py of vLLM at 48ebd6f2.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pagedkv {

struct KvEventPublisherOptions {
  /// Bound if it has a `*` or `::`, or is ipc: or inproc:; else connected to.
  std::string endpoint = "tcp://*:5557";
  /// Where subscribers ask for what they missed; always bound. Empty: nowhere.
  std::string replay_endpoint = {};
  /// The first frame of each message, by which subscribers filter; UTF-8.
  std::string topic = {};
  /// Added to the port of both endpoints (of inproc: a suffix "_dp<rank>"), so
  /// that all ranks have the same options. Others than 0 need tcp: or inproc:.
  int data_parallel_rank = 0;
  /// Messages that wait for one slow subscriber. Further ones it does not get,
  /// and sees that by their numbers.
  int high_water_mark = 100'000;
  /// Batches that wait for the thread. When so many do, `Publish` blocks.
  std::size_t max_queued_batches = 100'000;
  /// The youngest batches, which can be asked for again.
  std::size_t max_replay_batches = 10'000;
  /// A ZeroMQ context (zmq_ctx_new) to share, as inproc: demands. It must be
  /// there until the publisher is gone. Null: one of its own.
  void* context = nullptr;
};

/// Sends batches, as bytes, from a thread of its own. A message is [topic,
/// number of the batch, batch]; numbers count from 0, 8 bytes big-endian.
///
/// A request to the replay endpoint is [empty, number]. Each batch that is
/// still held, from that number on, answers as [empty, topic, number, batch],
/// and [empty, empty, number -1, empty] ends the answer. What is no such
/// request gets none. Requests are looked at between batches, and every 0.1 s
/// when there are none.
///
/// Invariant: batches are sent in the order of their numbers, each once.
/// Thread-safe, but for the destructor.
class KvEventPublisher {
 public:
  /// InvalidArgument if an endpoint or option is none; Unavailable, with
  /// ZeroMQ's reason, if an endpoint cannot be had; ResourceExhausted if there
  /// is no thread or no socket.
  static absl::StatusOr<std::unique_ptr<KvEventPublisher>> Create(
      const KvEventPublisherOptions& options);
  /// As `Shutdown`.
  ~KvEventPublisher();
  KvEventPublisher(const KvEventPublisher&) = delete;
  KvEventPublisher& operator=(const KvEventPublisher&) = delete;

  /// Queues what `EncodeEventBatch` gave. Blocks while the queue is full. The
  /// batch's number; FailedPrecondition after `Shutdown`, Unavailable once
  /// ZeroMQ could not send.
  absl::StatusOr<std::uint64_t> Publish(std::vector<std::uint8_t> batch);

  /// Sends what is queued, then ends the thread and closes the sockets; what
  /// subscribers have not taken a second later is lost. Who blocks in `Publish`
  /// is sent away. May be called again.
  void Shutdown();

  /// Where it really is: with its port even if `*` was asked for. Empty:
  /// nowhere.
  [[nodiscard]] const std::string& endpoint() const;
  [[nodiscard]] const std::string& replay_endpoint() const;

 private:
  class Worker;
  explicit KvEventPublisher(std::unique_ptr<Worker> worker);

  std::unique_ptr<Worker> worker_;
};

}  // namespace pagedkv

#endif  // BACKENDS_ZMQ_KV_EVENT_PUBLISHER_H_
