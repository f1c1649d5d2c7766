// SPDX-License-Identifier: Apache-2.0
#include "backends/zmq/kv_event_publisher.h"

#include <zmq.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagedkv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Frames = std::vector<std::string>;

std::string Number(std::uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>(number >> shift));
  }
  return bytes;
}

std::vector<std::uint8_t> Bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

class Peer {
 public:
  Peer(void* context, int type, const std::string& endpoint)
      : socket_(zmq_socket(context, type)) {
    const int unlimited = 0;
    const int timeout_milliseconds = 20'000;
    zmq_setsockopt(socket_, ZMQ_RCVHWM, &unlimited, sizeof(unlimited));
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &timeout_milliseconds,
                   sizeof(timeout_milliseconds));
    if (type == ZMQ_SUB) zmq_setsockopt(socket_, ZMQ_SUBSCRIBE, "", 0);
    EXPECT_EQ(zmq_connect(socket_, endpoint.c_str()), 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer() { zmq_close(socket_); }

  void Send(const Frames& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      zmq_send(socket_, frames[i].data(), frames[i].size(),
               i + 1 < frames.size() ? ZMQ_SNDMORE : 0);
    }
  }

  // Empty: nothing came in time.
  Frames Receive() {
    Frames frames;
    int more = 1;
    while (more != 0) {
      std::vector<char> buffer(1000);
      const int size = zmq_recv(socket_, buffer.data(), buffer.size(), 0);
      if (size < 0) return {};
      frames.emplace_back(buffer.data(), static_cast<std::size_t>(size));
      std::size_t more_size = sizeof(more);
      zmq_getsockopt(socket_, ZMQ_RCVMORE, &more, &more_size);
    }
    return frames;
  }

 private:
  void* socket_;
};

class KvEventPublisherTest : public testing::Test {
 protected:
  ~KvEventPublisherTest() override { zmq_ctx_term(context_); }

  // With this test's context, over which `inproc:` reaches a subscriber.
  std::unique_ptr<KvEventPublisher> Create(KvEventPublisherOptions options) {
    options.context = context_;
    auto publisher = KvEventPublisher::Create(options);
    EXPECT_TRUE(publisher.ok()) << publisher.status();
    return *std::move(publisher);
  }

  // The number of the first message that arrives: those that are sent before
  // the subscription has arrived are lost.
  static std::uint64_t Warm(KvEventPublisher& publisher, Peer& subscriber) {
    std::atomic<bool> arrived = false;
    std::uint64_t last = 0;
    std::thread thread([&] {
      while (!arrived) {
        last = *publisher.Publish(Bytes("warm"));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    Frames frames = subscriber.Receive();
    arrived = true;
    thread.join();
    while (frames.size() == 3 && frames[1] != Number(last)) {
      frames = subscriber.Receive();
    }
    return last;
  }

  void* context_ = zmq_ctx_new();
};

TEST_F(KvEventPublisherTest, BatchesOfManyThreadsArriveOnceAndInOrder) {
  constexpr int kThreads = 4;
  constexpr int kBatches = 500;
  constexpr std::uint64_t kAll = kThreads * std::uint64_t{kBatches};
  // So short a queue that publishers block, again and again.
  const auto publisher = Create(
      {.endpoint = "inproc://events", .topic = "t", .max_queued_batches = 2});
  Peer subscriber(context_, ZMQ_SUB, publisher->endpoint());
  const std::uint64_t last = Warm(*publisher, subscriber);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&publisher, thread] {
      for (int i = 0; i < kBatches; ++i) {
        const auto number = publisher->Publish(
            Bytes(std::to_string(thread) + ":" + std::to_string(i)));
        ASSERT_TRUE(number.ok()) << number.status();
      }
    });
  }
  std::vector<int> next(kThreads, 0);
  for (std::uint64_t i = 1; i <= kAll; ++i) {
    const Frames frames = subscriber.Receive();
    ASSERT_EQ(frames.size(), 3);
    EXPECT_EQ(frames[0], "t");
    ASSERT_EQ(frames[1], Number(last + i));
    const int thread = frames[2][0] - '0';
    EXPECT_EQ(std::stoi(frames[2].substr(2)),
              next[static_cast<std::size_t>(thread)]++);
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(KvEventPublisherTest, AnswersReplayRequestsWhileOthersPublish) {
  const auto publisher = Create({.endpoint = "inproc://events",
                                 .replay_endpoint = "inproc://replay",
                                 .topic = "t",
                                 .max_replay_batches = 100});
  std::atomic<bool> done = false;
  std::thread thread([&] {
    while (!done) {
      ASSERT_TRUE(publisher->Publish(Bytes("x")).ok());
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  });
  for (int i = 0; i < 20; ++i) {
    Peer dealer(context_, ZMQ_DEALER, publisher->replay_endpoint());
    dealer.Send({"", "nonsense, and too long"});
    dealer.Send({"", Number(0)});
    std::vector<std::string> numbers;
    Frames frames = dealer.Receive();
    while (frames.size() == 4 && frames[2] != Number(~std::uint64_t{0})) {
      EXPECT_EQ(frames[1], "t");
      if (!numbers.empty()) {
        EXPECT_GT(frames[2], numbers.back());
      }
      numbers.push_back(frames[2]);
      frames = dealer.Receive();
    }
    EXPECT_THAT(frames, ElementsAre("", "", Number(~std::uint64_t{0}), ""));
    EXPECT_LE(numbers.size(), 100);
  }
  done = true;
  thread.join();
}

TEST_F(KvEventPublisherTest, ShutdownSendsTheRestAndThenRefuses) {
  const auto publisher = Create({.endpoint = "inproc://events"});
  Peer subscriber(context_, ZMQ_SUB, publisher->endpoint());
  const std::uint64_t last = Warm(*publisher, subscriber);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(publisher->Publish(Bytes("x")).ok());
  }
  std::thread other([&] { publisher->Shutdown(); });
  publisher->Shutdown();
  other.join();
  EXPECT_EQ(publisher->Publish(Bytes("x")).status().code(),
            absl::StatusCode::kFailedPrecondition);
  for (std::uint64_t i = 1; i <= 100; ++i) {
    EXPECT_THAT(subscriber.Receive(), ElementsAre("", Number(last + i), "x"));
  }
}

TEST_F(KvEventPublisherTest, AnEndpointThatIsTakenIsUnavailable) {
  const auto first = KvEventPublisher::Create(
      {.endpoint = "tcp://*:*", .replay_endpoint = "tcp://127.0.0.1:*"});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT((*first)->endpoint(), HasSubstr("tcp://0.0.0.0:"));
  const auto second = KvEventPublisher::Create(
      {.endpoint = "tcp://127.0.0.1:*",
       .replay_endpoint = (*first)->replay_endpoint()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cannot bind"));
}

TEST_F(KvEventPublisherTest, RanksShiftThePortOrHaveASuffix) {
  const auto rank = Create({.endpoint = "inproc://events",
                            .replay_endpoint = "inproc://replay",
                            .data_parallel_rank = 3});
  EXPECT_EQ(rank->endpoint(), "inproc://events_dp3");
  EXPECT_EQ(rank->replay_endpoint(), "inproc://replay_dp3");
}

TEST_F(KvEventPublisherTest, OptionsThatMakeNoSenseAreRefused) {
  const auto complaint = [](const KvEventPublisherOptions& options) {
    const auto publisher = KvEventPublisher::Create(options);
    EXPECT_EQ(publisher.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(publisher.status().message());
  };
  EXPECT_THAT(complaint({.endpoint = ""}), HasSubstr("cannot connect to \"\""));
  EXPECT_THAT(complaint({.endpoint = "nonsense*"}), HasSubstr("cannot bind"));
  EXPECT_THAT(complaint({.data_parallel_rank = -1}),
              HasSubstr("data_parallel_rank is -1; it must be at least 0"));
  EXPECT_THAT(complaint({.high_water_mark = 0}), HasSubstr("at least 1"));
  EXPECT_THAT(complaint({.max_queued_batches = 0}), HasSubstr("at least 1"));
  for (const char* endpoint :
       {"ipc:///tmp/x", "tcp://*:*", "tcp://*:65535", "tcp://*"}) {
    EXPECT_THAT(complaint({.endpoint = endpoint, .data_parallel_rank = 1}),
                HasSubstr("has no port that rank 1 can be added to"));
  }
}

}  // namespace
}  // namespace pagedkv
