# SPDX-License-Identifier: Apache-2.0
"""What the engine held is what `pagedkv sim` says of the same requests.

engine_simulator_test ENGINE PAGEDKV

Step by step, and to the slot: both write down what each slot of the pool was.
"""

import csv
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

# What both tell. The simulator's saturated queue shows one request at a time,
# so that its `waiting` is another number.
COLUMNS = ["capacity", "token", "reserved", "internal", "cached_idle", "tail",
           "running", "preemptions"]


def write_prompts(path, count, shared):
    rng = random.Random(5)
    text = "".join(chr(rng.randrange(97, 123)) for _ in range(60))
    with path.open("w", encoding="utf-8") as out:
        for _ in range(count):
            own = "".join(chr(rng.randrange(97, 123))
                          for _ in range(rng.randint(1, 40)))
            prompt = text[:rng.randint(0, 60)] + own if shared else own
            out.write(json.dumps({"prompt": prompt,
                                  "max_tokens": rng.randint(1, 30)}) + "\n")


class EngineSimulatorTest(unittest.TestCase):
    engine = ""
    pagedkv = ""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def rows(self, path):
        with path.open(encoding="utf-8") as file:
            return [{name: int(row[name]) for name in COLUMNS}
                    for row in csv.DictReader(file)]

    def compare(self, cache, policy, block_size, num_blocks, prefix="off",
                swap=None):
        """Runs both; returns the rows, which are the same."""
        limits = ["--num-blocks", str(num_blocks),
                  "--block-size", str(block_size),
                  "--max-seq-len", "140", "--max-num-seqs", "6",
                  "--max-num-batched-tokens", "50", "--prefix-cache", prefix]
        if swap:
            limits += ["--preemption", "swap", "--num-swap-blocks", str(swap)]
        prompts = self.folder / "prompts.jsonl"
        write_prompts(prompts, 25, prefix == "on")
        subprocess.run(
            [self.engine, "--tiny", "1", "--prompts", prompts,
             "--cache", cache, "--format", "jsonl",
             "--write-trace", self.folder / "trace.jsonl",
             "--memory-csv", self.folder / "memory.csv"] + limits,
            check=True, capture_output=True)
        subprocess.run(
            [self.pagedkv, "sim", "--trace", self.folder / "trace.jsonl",
             "--kv-bytes-per-token", "1", "--policies", policy,
             "--window", "all", "--weight", "iteration",
             "--out", self.folder / "report"] + limits,
            check=True, capture_output=True)
        held = self.rows(self.folder / "memory.csv")
        said = self.rows(self.folder / "report" / "timeseries.csv")
        self.assertEqual(len(held), len(said))
        for step, (here, there) in enumerate(zip(held, said)):
            self.assertEqual(here, there, f"{cache}, step {step}")
        return held

    def test_paged_memory(self):
        for block_size in (1, 3, 16, 17):
            self.compare("paged", f"paged-{block_size}", block_size,
                         3 + 600 // block_size)

    def test_paged_memory_that_is_too_small(self):
        for block_size in (1, 3, 16):
            rows = self.compare("paged", f"paged-{block_size}", block_size,
                                3 + 150 // block_size)
            self.assertGreater(sum(row["preemptions"] for row in rows), 0)

    def test_paged_memory_with_a_swap_space(self):
        for swap in (5, 100):
            rows = self.compare("paged", "paged-3", 3, 53, swap=swap)
            self.assertGreater(sum(row["preemptions"] for row in rows), 0)

    def test_prefix_cache(self):
        for num_blocks in (60, 16):
            rows = self.compare("paged", "paged-16", 16, num_blocks, "on")
            self.assertGreater(max(row["cached_idle"] for row in rows), 0)

    def test_contiguous_memory(self):
        rows = self.compare("contiguous", "contiguous-max-exact", 16, 40)
        self.assertEqual({row["token"] + row["reserved"] + row["internal"]
                          for row in rows} - {140, 280, 420, 560}, set())

    def test_concatenated_memory_that_suffices(self):
        self.compare("concat", "concat", 16, 60)


if __name__ == "__main__":
    EngineSimulatorTest.pagedkv = sys.argv.pop(2)
    EngineSimulatorTest.engine = sys.argv.pop(1)
    unittest.main()
