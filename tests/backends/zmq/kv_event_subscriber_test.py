#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A subscriber as routers for vLLM are: pyzmq receives, msgspec decodes.

  kv_event_subscriber_test.py PUBLISH_EVENTS

The structures are declared as vLLM declares its own, so that what they accept,
its subscribers accept.
"""

import socket
import subprocess
import sys
import time
import unittest
from typing import Any, Optional, Union

try:
    import msgspec
    import zmq
except ImportError as error:
    print(f"skipped: {error}; tools/test installs what is missing")
    sys.exit(77)

PUBLISH_EVENTS = sys.argv.pop(1)
END_OF_REPLAY = b"\xff" * 8
Hash = Union[bytes, int]


def event_types(array_like):
    """vLLM's batch and event types, in their map or their array form."""
    common = {"array_like": array_like, "omit_defaults": True, "gc": False,
              "tag": True}

    class BlockStored(msgspec.Struct, **common):
        block_hashes: list[Hash]
        parent_block_hash: Optional[Hash]
        token_ids: list[int]
        block_size: int
        lora_id: Optional[int]
        medium: Optional[str]
        lora_name: Optional[str]
        extra_keys: Optional[list[Optional[tuple[Any, ...]]]] = None
        group_idx: Optional[int] = None
        kv_cache_spec_kind: Optional[str] = None
        kv_cache_spec_sliding_window: Optional[int] = None

    class BlockRemoved(msgspec.Struct, **common):
        block_hashes: list[Hash]
        medium: Optional[str]
        group_idx: Optional[int] = None

    class AllBlocksCleared(msgspec.Struct, **common):
        pass

    class KVEventBatch(msgspec.Struct, array_like=True, omit_defaults=True,
                       gc=False):
        ts: float
        events: list[Union[BlockStored, BlockRemoved, AllBlocksCleared]]
        data_parallel_rank: Optional[int] = None

    return KVEventBatch, BlockStored, BlockRemoved, AllBlocksCleared


class Publisher:
    """The program under test: publishes what it is told."""

    def __init__(self, endpoint="tcp://127.0.0.1:*",
                 replay="tcp://127.0.0.1:*", rank=0, topic="kv", form="map",
                 max_replay=10000):
        self.process = subprocess.Popen(
            [PUBLISH_EVENTS, endpoint, replay, str(rank), topic, form,
             str(max_replay)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().strip()
        self.replay_endpoint = self.process.stdout.readline().strip()

    def publish(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def stop(self):
        """Its exit status, once it has read all that it was told."""
        self.process.stdin.close()
        status = self.process.wait(timeout=30)
        self.process.stdout.close()
        return status

    def kill(self):
        self.process.kill()
        self.stop()


def two_free_ports():
    """A free port whose successor is free as well."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class KvEventSubscriberTest(unittest.TestCase):
    def setUp(self):
        self.context = zmq.Context()
        self.addCleanup(self.context.term)

    def start(self, **options):
        publisher = Publisher(**options)
        self.addCleanup(publisher.kill)
        return publisher

    def socket(self, kind):
        """One that gives up after 10 s without a message."""
        result = self.context.socket(kind)
        result.setsockopt(zmq.RCVTIMEO, 10000)
        self.addCleanup(result.close, linger=0)
        return result

    def subscribe(self, publisher, topic=b"kv", bind=None):
        """A subscriber that has begun to receive, and the last number so far:
        what a publisher sends before the subscription arrives gets lost."""
        subscriber = self.socket(zmq.SUB)
        subscriber.setsockopt(zmq.SUBSCRIBE, topic)
        if bind is None:
            subscriber.connect(publisher.endpoint)
        else:
            subscriber.bind(bind)
        deadline = time.monotonic() + 30
        number = -1
        while not subscriber.poll(50):
            self.assertLess(time.monotonic(), deadline, "nothing arrives")
            number = publisher.publish("cleared")
        while self.receive(subscriber)[1] < number:
            pass
        return subscriber, number

    def receive(self, subscriber):
        topic, number, payload = subscriber.recv_multipart()
        return topic, int.from_bytes(number, "big"), payload

    def replay(self, publisher, start, extra_frames=()):
        """The answer to a request, its end marker left out."""
        dealer = self.socket(zmq.DEALER)
        dealer.connect(publisher.replay_endpoint)
        for frames in extra_frames:
            dealer.send_multipart(frames)
        dealer.send_multipart([b"", start.to_bytes(8, "big")])
        messages = []
        while True:
            empty, topic, number, payload = dealer.recv_multipart()
            self.assertEqual(empty, b"")
            if number == END_OF_REPLAY:
                self.assertEqual((topic, payload), (b"", b""))
                return messages
            messages.append((topic, int.from_bytes(number, "big"), payload))

    def test_events_of_all_types_in_both_forms(self):
        for form in ["map", "array"]:
            with self.subTest(form=form):
                batch_type, stored, removed, cleared = event_types(
                    form == "array")
                publisher = self.start(form=form, topic="kv@model")
                subscriber, last = self.subscribe(publisher)
                self.assertEqual(
                    publisher.publish("stored:5 removed:5 cleared"), last + 1)
                self.assertEqual(publisher.publish("stored:6"), last + 2)
                topic, number, payload = self.receive(subscriber)
                self.assertEqual((topic, number), (b"kv@model", last + 1))
                batch = msgspec.msgpack.decode(payload, type=batch_type)
                self.assertEqual(batch, batch_type(
                    ts=1.5, data_parallel_rank=0, events=[
                        stored([5], None, [1, 2], 2, None, "GPU", "lora",
                               [("lora", "salt")], 1, "sliding_window", 128),
                        removed([5], "GPU", 1), cleared()]))
                self.assertEqual(self.receive(subscriber)[1], last + 2)
                self.assertEqual(publisher.stop(), 0)

    def test_other_topics_are_filtered_out(self):
        publisher = self.start(topic="other")
        subscriber = self.socket(zmq.SUB)
        subscriber.setsockopt(zmq.SUBSCRIBE, b"kv")
        subscriber.connect(publisher.endpoint)
        self.subscribe(publisher, topic=b"other")
        self.assertFalse(subscriber.poll(200))

    def test_a_late_subscriber_sees_the_gap_and_asks_for_the_rest(self):
        publisher = self.start()
        batch_type = event_types(False)[0]
        for i in range(5):
            self.assertEqual(publisher.publish(f"stored:{i}"), i)
        subscriber, last = self.subscribe(publisher)
        self.assertGreaterEqual(last, 5)
        missed = self.replay(publisher, 0)
        self.assertEqual([number for _, number, _ in missed],
                         list(range(last + 1)))
        for topic, number, payload in missed[:5]:
            self.assertEqual(topic, b"kv")
            batch = msgspec.msgpack.decode(payload, type=batch_type)
            self.assertEqual(batch.events[0].block_hashes, [number])
        # What is sent later comes once, to the subscription only.
        self.assertEqual(publisher.publish("stored:9"), last + 1)
        self.assertEqual(self.receive(subscriber)[1], last + 1)

    def test_replay_begins_where_it_is_asked_to_and_as_far_back_as_it_can(self):
        publisher = self.start(max_replay=4)
        subscriber, last = self.subscribe(publisher)
        for i in range(10):
            last = publisher.publish(f"stored:{i}")
        while self.receive(subscriber)[1] < last:
            pass

        def numbers(start):
            return [number for _, number, _ in self.replay(publisher, start)]

        self.assertEqual(numbers(last - 1), [last - 1, last])
        self.assertEqual(numbers(0), list(range(last - 3, last + 1)))
        self.assertEqual(numbers(last + 1), [])

    def test_what_is_no_request_gets_no_answer_and_does_no_harm(self):
        publisher = self.start()
        publisher.publish("stored:1")
        answer = self.replay(publisher, 0, extra_frames=[
            [b""], [b"", b"short"], [b"full", b"\0" * 8],
            [b"", b"\0" * 8, b"", b"", b"", b""], [b"\0" * 8]])
        self.assertEqual([number for _, number, _ in answer], [0])
        # Longer than any request: the connection is closed.
        dealer = self.socket(zmq.DEALER)
        dealer.connect(publisher.replay_endpoint)
        dealer.send_multipart([b"", b"\0" * 100000])
        self.assertFalse(dealer.poll(300))
        self.assertEqual(len(self.replay(publisher, 0)), 1)
        self.assertEqual(publisher.stop(), 0)

    def test_ranks_have_ports_of_their_own(self):
        port = two_free_ports()
        batch_type = event_types(False)[0]
        publishers = [self.start(endpoint=f"tcp://*:{port}", replay="",
                                 rank=rank) for rank in range(2)]
        for rank, publisher in enumerate(publishers):
            self.assertTrue(publisher.endpoint.endswith(f":{port + rank}"))
            publisher.endpoint = f"tcp://127.0.0.1:{port + rank}"
            subscriber, _ = self.subscribe(publisher)
            publisher.publish("stored:1")
            batch = msgspec.msgpack.decode(self.receive(subscriber)[2],
                                           type=batch_type)
            self.assertEqual(batch.data_parallel_rank, rank)

    def test_connects_where_it_does_not_bind(self):
        port = two_free_ports()
        publisher = self.start(endpoint=f"tcp://127.0.0.1:{port}")
        subscriber, last = self.subscribe(publisher,
                                          bind=f"tcp://127.0.0.1:{port}")
        self.assertEqual(publisher.publish("stored:1"), last + 1)
        self.assertEqual(self.receive(subscriber)[1], last + 1)

    def test_what_was_queued_is_sent_before_the_end(self):
        publisher = self.start()
        subscriber, last = self.subscribe(publisher)
        for i in range(500):
            publisher.publish(f"stored:{i % 256}")
        self.assertEqual(publisher.stop(), 0)
        for i in range(500):
            self.assertEqual(self.receive(subscriber)[1], last + 1 + i)


if __name__ == "__main__":
    unittest.main()
