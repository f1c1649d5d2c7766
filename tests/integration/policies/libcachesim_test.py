#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The eviction policies against libCacheSim: libcachesim_test REPLAY_POLICY

Replays the same seeded traces here and there and compares the hits. Equal they
must be where both follow the same rules; where they do not, COMPARISONS says
why, and how far they may be apart. Exits 77 where there is no libcachesim.
"""

import itertools
import random
import subprocess
import sys

try:
    import libcachesim
    from libcachesim import libcachesim_python
    from libcachesim.cache import CacheBase, _create_common_params
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

CAPACITIES = [20, 100, 500, 1000]
REQUESTS = 40000
HASH_POWER = 13  # of libCacheSim's table: the default takes 128 MiB a cache


def zipf(rng, requests, contents, skew):
    weights = [1 / (i + 1)**skew for i in range(contents)]
    return rng.choices(range(1, contents + 1), weights, k=requests)


def interleaved(requests, others):
    """Every thousand requests, a list of others."""
    mixed = []
    for i in range(0, len(requests), 1000):
        mixed += requests[i:i + 1000] + next(others)
    return mixed


def traces(seed):
    """Yields (name, whether popularity is the same throughout, contents)."""
    rng = random.Random(seed)
    popular = zipf(rng, REQUESTS, 5000, 0.9)
    yield "zipf", True, popular
    yield "scan", True, interleaved(popular, (
        [10**6 + 200 * i + j for j in range(200)] for i in itertools.count()))
    yield "loop", True, interleaved(popular, itertools.repeat(
        [10**7 + j for j in range(300)]))
    yield "drift", False, [
        700 * phase + content for phase in range(6)
        for content in zipf(rng, REQUESTS // 6, 3000, 0.8)]


def request_for(content):
    request = libcachesim.Request()
    request.obj_id = content
    request.obj_size = 1
    return request


def hits_of(cache, contents):
    return sum(cache.get(request_for(content)) for content in contents)


def hits_evicting_first(cache, contents, capacity):
    """Makes room before the new content is inserted, not after."""
    hits = 0
    for content in contents:
        request = request_for(content)
        if cache.find(request) is not None:
            hits += 1
            continue
        if cache.get_n_obj() >= capacity:
            cache.evict(request)
        cache.insert(request)
    return hits


def oracle(kind):
    return lambda contents, capacity: hits_of(
        getattr(libcachesim, kind)(capacity, hashpower=HASH_POWER), contents)


def gdsf(contents, capacity):
    # Its own `get` inserts first, so that new content can be its own victim.
    return hits_evicting_first(
        libcachesim.GDSF(capacity, hashpower=HASH_POWER), contents, capacity)


def slru(contents, capacity):
    parameters = _create_common_params(capacity, hashpower=HASH_POWER)
    return hits_of(
        CacheBase(libcachesim_python.SLRU_init(parameters, "seg-size=1:4")),
        contents)


def equal(_):
    """All the same."""
    return 0, 0


def fixed_segments(_):
    """Its protected segment takes new content while it has room; ours takes
    what was hit only, so probation has the rest of the capacity."""
    return -0.01, 0.02


def other_sketch(stationary):
    """It ages its counters after 32 times the capacity of its main segments,
    ours after 10 times the capacity; counts hits in the main segments only, and
    what leaves the window once more; and fills the window beyond its size at
    first. So it follows a change of popularity late: there ours is better."""
    return (-0.02, 0.02) if stationary else (0, 1)


# Policy here, policy there, how far ours may be apart as a share of the
# requests, and the smallest capacity at which the other works.
COMPARISONS = [
    ("lru", oracle("LRU"), equal, 1),
    ("lfu", oracle("LFU"), equal, 1),
    ("sieve", oracle("Sieve"), equal, 1),
    ("s3-fifo", oracle("S3FIFO"), equal, 20),
    ("arc", oracle("ARC"), equal, 1),
    ("gdsf", gdsf, equal, 1),
    ("slru", slru, fixed_segments, 5),
    ("tinylfu", oracle("WTinyLFU"), other_sketch, 100),
]


def main(replay_policy):
    failed = compared = 0
    for seed in (1, 2):
        for name, stationary, contents in traces(seed):
            ids = " ".join(map(str, contents))
            for capacity, (policy, other, rule, smallest) in itertools.product(
                    CAPACITIES, COMPARISONS):
                if capacity < smallest:
                    continue
                ours = int(subprocess.run(
                    [replay_policy, policy, str(capacity)], input=ids,
                    capture_output=True, text=True, check=True).stdout)
                theirs = other(contents, capacity)
                lowest, highest = rule(stationary)
                apart = (ours - theirs) / len(contents)
                good = lowest <= apart <= highest
                compared += 1
                failed += not good
                print(f"{'ok    ' if good else 'FAILED'} {policy} of {capacity} "
                      f"blocks, {name} seed {seed}: {ours} hits, libCacheSim "
                      f"{theirs} ({apart:+.3%} of {len(contents)})")
    print(f"{compared - failed} of {compared} comparisons hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
