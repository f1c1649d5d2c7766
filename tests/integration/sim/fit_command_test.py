# SPDX-License-Identifier: Apache-2.0
"""Runs `pagedkv fit` as its users do.

usage: fit_command_test.py PROGRAM
"""

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = None

BLOCKS = 500
# What the made-up engine takes: femtoseconds.
TRUE_COST = {"per_step": 12 * 10**12, "per_sequence": 30 * 10**9,
             "per_computed_token": 70 * 10**9,
             "per_prefill_attention": 3 * 10**6,
             "per_resident_token": 200 * 10**6}


def run(*arguments, cwd=None):
    return subprocess.run([PROGRAM, *arguments], cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=300)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_run(folder, num_requests=60, seed=20240917):
    """A run of an engine that is itself a simulation with `TRUE_COST`."""
    print(f"seed {seed}")
    lengths = random.Random(seed)
    arrival_ns = 0
    workload = []
    for _ in range(num_requests):
        workload.append({"input_toks": lengths.randint(20, 1200),
                         "output_toks": lengths.randint(1, 200),
                         "arrival_time_ns": arrival_ns})
        arrival_ns += lengths.randint(0, 300_000_000)
    write_lines(folder / "workload.jsonl", workload)
    (folder / "engine.json").write_text(json.dumps(
        {"schema": "pagedkv.step_time/1", "preset": "engine",
         "source": "made up", "serial": TRUE_COST}))
    result = run("sim", "--trace", "workload.jsonl", "--max-seq-len", "4096",
                 "--num-blocks", str(BLOCKS), "--policies", "paged-16",
                 "--max-num-seqs", "64", "--max-num-batched-tokens", "1024",
                 "--clock", "model", "--step-time-preset", "engine.json",
                 "--out", "engine", cwd=folder)
    assert result.returncode == 0, result.stderr
    with open(folder / "engine" / "requests.csv", newline="",
              encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    zero = 5000.0
    write_lines(folder / "requests.jsonl", [
        {"request_id": f"bench-{row['id']}",
         "queued_ts": zero + float(row["arrival_s"]),
         "scheduled_ts": zero + float(row["admit_s"]),
         "first_token_ts": zero + float(row["first_token_s"]),
         "last_token_ts": zero + float(row["finish_s"])} for row in rows])
    (folder / "meta.json").write_text(json.dumps(
        {"model": "acme/engine", "kv_cache": {
            "num_gpu_blocks": BLOCKS, "block_size": 16,
            "enable_prefix_caching": False},
         "engine_kwargs": {"max_num_seqs": 64,
                           "max_num_batched_tokens": 1024}}))


class FitCommandTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_what_is_fitted_drives_a_simulation(self):
        write_run(self.folder)
        result = run("fit", ".", "--format", "json", "--check", "--out",
                     "fit.json", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        report = json.loads(result.stdout)
        self.assertTrue(report["all_met"])
        self.assertEqual(report["fit"]["start"], "guess")
        self.assertEqual(len(report["held_out"]), 2)
        for held_out in report["held_out"]:
            self.assertEqual(held_out["fitted"]["requests"] +
                             held_out["unseen"]["requests"], 60)
        preset = json.loads((self.folder / "fit.json").read_text())
        self.assertEqual(preset, report["step_time"])
        result = run("sim", "--workload", "sharegpt", "--requests", "50",
                     "--max-seq-len", "4096", "--num-blocks", "500", "--clock",
                     "model", "--step-time-preset", "fit.json", "--format",
                     "json", "--policies", "paged-16", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        clock = json.loads(result.stdout)["clock"]
        self.assertEqual(clock["preset"], preset["preset"])
        self.assertEqual(clock["step_time_fs"]["serial"], preset["serial"])

    def test_the_table_names_targets_and_unseen_requests(self):
        write_run(self.folder, num_requests=20)
        first, second = (run("fit", ".", cwd=self.folder) for _ in range(2))
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertEqual(first.stdout, second.stdout)
        for text in ["ttft_p50_s", "tpot_p50_ms", "every second",
                     "the first half", "assumed: there is no timeseries.csv"]:
            self.assertIn(text, first.stdout)

    def test_a_missed_target_fails_a_check_only(self):
        write_run(self.folder, num_requests=20)
        # An engine that says of itself what it never was.
        (self.folder / "timeseries.csv").write_text(
            "t,running\n0.5,50\n1,0\n1.5,50\n")
        result = run("fit", ".", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("| NO", result.stdout)
        result = run("fit", ".", "--check", cwd=self.folder)
        self.assertEqual(result.returncode, 1, result.stderr)

    def test_mistakes_are_refused_with_one_line(self):
        write_run(self.folder, num_requests=3)
        broken = self.folder / "broken"
        broken.mkdir()
        few = self.folder / "few"
        few.mkdir()
        for name in ["meta.json", "workload.jsonl"]:
            (few / name).write_bytes((self.folder / name).read_bytes())
        write_lines(few / "requests.jsonl", [{"queued_ts": 1}])
        for arguments, message in [
            ([], "RUN_DIR"),
            (["missing"], "missing: no folder"),
            (["fit.json"], "fit.json: no folder"),
            (["broken"], "broken/meta.json"),
            (["few"], "fewer than two of the requests"),
            ([".", "--format", "md"], "table or json"),
            ([".", "--out", "missing/fit.json"], "missing/fit.json"),
        ]:
            with self.subTest(arguments=arguments):
                result = run("fit", *arguments, cwd=self.folder)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertEqual(result.stdout, "")
                self.assertRegex(result.stderr, r"\Apagedkv: [^\n]+\n\Z")
                self.assertIn(message, result.stderr)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
