# SPDX-License-Identifier: Apache-2.0
"""Runs `pagedkv sim --sweep`, `pagedkv plan` and `pagedkv diff`.

usage: answers_test.py PROGRAM SCHEMA_FOLDER
"""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = None
SCHEMAS = None
SMALL = ["--workload", "sharegpt", "--requests", "200", "--model", "opt-13b"]
POOL = ["--memory", "4GiB"]
FIXED = ["--clock", "fixed", "--step-time", "20ms"]


def run(*arguments, cwd=None):
    return subprocess.run([PROGRAM, *arguments], cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=300)


def hash_of(text):
    """What the text of a document is hashed without."""
    text = re.sub(r'\n  "hash": "[0-9a-f]{64}",', "", text)
    text = re.sub(r'\n  "run": \{[^}]*\},', "", text)
    return hashlib.sha256(text.encode()).hexdigest()


class AnswersTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def ok(self, *arguments, code=0):
        result = run(*arguments, cwd=self.folder)
        self.assertEqual(result.returncode, code, result.stderr)
        return result.stdout

    def assert_refused(self, *arguments, message):
        """Exit code 2, one line on stderr with `message`, no output."""
        result = run(*arguments, cwd=self.folder)
        with self.subTest(arguments=arguments):
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, r"\Apagedkv: [^\n]+\n\Z")
            self.assertIn(message, result.stderr)

    def assert_valid(self, document, schema):
        try:
            import jsonschema
        except ImportError:
            return  # report_schema_test.py says so
        schema = json.loads((SCHEMAS / schema).read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.Draft202012Validator(schema).validate(document)

    # ---- sweep ----

    def test_a_sweep_is_every_combination(self):
        sweep = ["sim", *SMALL, "--policies", "paged-16,contiguous-max",
                 "--sweep", "memory=2GiB..4GiB*2", "--sweep",
                 "max-num-seqs=8,64", "--out", "out"]
        table = self.ok(*sweep)
        self.assertIn("sweep: 4 combinations of memory, max-num-seqs\n", table)
        self.assertEqual(sorted(os.listdir(self.folder / "out")),
                         ["sweep.csv", "sweep.html", "sweep.json",
                          "sweep.md"])
        text = (self.folder / "out/sweep.json").read_text()
        document = json.loads(text)
        self.assertEqual(document["hash"], hash_of(text))
        self.assert_valid(document, "sweep.schema.json")
        self.assertEqual([each["parameters"] for each in document["runs"]],
                         [{"memory": memory, "max-num-seqs": seqs}
                          for memory in ["2GiB", "4GiB"]
                          for seqs in ["8", "64"]])
        rows = list(csv.DictReader(
            (self.folder / "out/sweep.csv").read_text().splitlines()))
        self.assertEqual(len(rows), 8)
        self.assertEqual({row["policy"] for row in rows},
                         {"paged-16", "contiguous-max"})
        # The last combination, and what sim says of it.
        alone = self.ok("sim", *SMALL, *POOL, "--max-num-seqs", "64",
                        "--policies", "paged-16,contiguous-max", "--format",
                        "json")
        report = json.loads(alone)
        version = report.pop("run")
        self.assertEqual(document["runs"][3]["report"], report)
        report["run"] = version
        self.assert_valid(report, "report.schema.json")

    def test_the_number_of_threads_does_not_show(self):
        sweep = ["sim", *SMALL, *POOL, "--policies", "paged-16", "--sweep",
                 "seed=1..3", "--sweep", "watermark=0,0.1", "--format", "json"]
        one = self.ok(*sweep, "--threads", "1")
        self.assertEqual(self.ok(*sweep, "--threads", "5"), one)
        self.assertEqual(self.ok(*sweep), one)

    def test_the_knee_of_the_block_size_is_said(self):
        table = self.ok("sim", *SMALL, *POOL, "--policies", "paged-16",
                        "--sweep", "block-size=8..128*2")
        self.assertRegex(table, r"\nknee of the block size: 16 tokens waste "
                                r"1\.\d %, beside 0\.\d % with 8, for 2x fewer "
                                r"blocks; 32 waste \d\.\d %\n")

    def test_what_cannot_be_swept_is_refused(self):
        for sweep, message in [
            (["colour=1"], "'colour' is no option"),
            (["format=json,md"], "'format' is no option"),
            (["memory=1GiB"], "--memory and --sweep memory"),
            (["seed"], "names no values"),
            (["seed=1..0"], "ends below its begin"),
            (["seed=1,2", "--sweep", "seed=3"], "more than once"),
            (["max-num-seqs=4,x"], "x"),
            (["model=opt-13b"], "--model"),
            (["dtype=fp8,fp7"], "dtype=fp7"),
            (["block-size=0"], "block-size '0'"),
        ]:
            self.assert_refused("sim", *SMALL, *POOL, "--sweep", *sweep,
                                message=message)

    # ---- diff ----

    def report(self, name, *arguments):
        (self.folder / name).write_text(
            self.ok("sim", *SMALL, *POOL, *arguments, "--format", "json"))
        return name

    def test_equal_reports_are_equal(self):
        for name in ["a.json", "b.json"]:
            self.report(name)
        self.assertIn("the reports are equal\n",
                      self.ok("diff", "a.json", "b.json"))

    def test_a_regression_is_exit_code_1(self):
        self.report("a.json", "--policies", "paged-16")
        self.report("b.json", "--policies", "paged-16", "--watermark", "0.3")
        worse = json.loads(self.ok("diff", "a.json", "b.json", "--format",
                                   "json", code=1))
        self.assertIn({"policy": "paged-16", "figure": "effective_pct",
                       "verdict": "regression"},
                      [{key: change[key]
                        for key in ["policy", "figure", "verdict"]}
                       for change in worse["changes"]])
        self.assertIn("paged-16.watermark is 0.0 and 0.3", worse["notes"])
        self.assertIn("no figure changed",
                      self.ok("diff", "a.json", "b.json", "--tol", "1e9"))

    def test_an_improvement_alone_is_exit_code_0(self):
        for name, seqs in [("a.json", "1"), ("b.json", "64")]:
            self.report(name, "--policies", "contiguous-max", "--max-num-seqs",
                        seqs, "--window", "all")
        # Twice the batch in half the time; a fuller pool wastes more of it.
        table = self.ok("diff", "a.json", "b.json", "--tol", "40")
        self.assertRegex(table, r"\ncontiguous-max \| batch.mean +\| "
                                r"improvement")
        self.assertRegex(table, r"\n0 regressions, [1-9]\d* improvements, ")
        self.ok("diff", "b.json", "a.json", "--tol", "40", code=1)

    def test_another_question_is_refused(self):
        self.report("a.json")
        for arguments, message in [
            (["--seed", "5"], "inputs.trace.sha256"),
            (["--max-seq-len", "1024"], "model.max_seq_len"),
            ([*FIXED, "--saturate"], "clock."),
        ]:
            self.report("b.json", *arguments)
            self.assert_refused("diff", "a.json", "b.json", message=message)
        (self.folder / "b.json").write_text(
            self.ok("sim", *SMALL, "--memory", "5GiB", "--format", "json"))
        self.assert_refused("diff", "a.json", "b.json", message="pool.slots")

    def test_an_edited_report_is_refused(self):
        self.report("a.json")
        text = (self.folder / "a.json").read_text()
        (self.folder / "b.json").write_text(
            text.replace('"finished": 200', '"finished": 201'))
        self.assert_refused("diff", "a.json", "b.json",
                            message="b.json: the report was edited")
        for content, message in [
            ("", "b.json"), ("{", "b.json:1:2"), ("[]", "no report"),
            ('{"schema": "pagedkv.report/9"}', "pagedkv.report/9"),
        ]:
            (self.folder / "b.json").write_text(content)
            self.assert_refused("diff", "a.json", "b.json", message=message)
        self.assert_refused("diff", "a.json", "missing.json",
                            message="missing.json")
        self.assert_refused("diff", "a.json", ".", message=".: ")
        self.assert_refused("diff", "a.json", "a.json", "--tol", "-1",
                            message="--tol")

    def test_sweeps_can_be_compared(self):
        for name, extra in [("a.json", []), ("b.json", ["--watermark", "0.3"])]:
            (self.folder / name).write_text(self.ok(
                "sim", *SMALL, *POOL, "--policies", "paged-16", "--sweep",
                "seed=1,2", *extra, "--format", "json"))
        self.assertIn("equal", self.ok("diff", "a.json", "a.json"))
        table = self.ok("diff", "a.json", "b.json", code=1)
        self.assertRegex(table, r"\nseed=2 \| paged-16 \| effective_pct +\| "
                                r"regression")

    # ---- plan ----

    def plan(self, *arguments, code=0):
        text = self.ok("plan", *SMALL, *arguments, "--format", "json",
                       code=code)
        document = json.loads(text)
        self.assertEqual(document["hash"], hash_of(text))
        self.assert_valid(document, "plan.schema.json")
        return document

    def test_plan_finds_the_smallest_pool(self):
        document = self.plan("--minimize", "memory",
                             "--target-preemption-rate", "0.05", "--policies",
                             "paged-16,contiguous-max")
        best = document["best"]
        self.assertEqual(best["contiguous-max"]["slots"], 2048)
        blocks = best["paged-16"]["num_blocks"]
        # It holds when it is asked for, and two percent less does not.
        for number, meets in [(blocks, True), (blocks * 98 // 100, False)]:
            report = json.loads(self.ok(
                "sim", *SMALL, "--num-blocks", str(number), "--policies",
                "paged-16", "--format", "json"))
            preemptions = report["results"]["paged-16"]["preempt"]["count"]
            self.assertEqual(preemptions / 200 <= 0.05, meets, number)

    def test_plan_finds_the_highest_rate(self):
        document = self.plan(*POOL, *FIXED, "--maximize", "rate",
                             "--target-ttft-p99", "1s")
        rate = document["best"]["paged-16"]["rate_rps"]
        report = json.loads(self.ok(
            "sim", *SMALL, *POOL, *FIXED, "--rate", str(rate), "--policies",
            "paged-16", "--format", "json"))
        p99 = report["results"]["paged-16"]["latency"]["ttft_s"]["p99"]
        self.assertLessEqual(p99, 1)

    def test_plan_finds_the_fewest_gpus(self):
        document = self.plan(*FIXED, "--minimize", "gpus", "--gpu", "l40s",
                             "--rate", "100", "--target-ttft-p99", "200ms")
        best = document["best"]["paged-16"]
        self.assertEqual(best["gpus"],
                         best["replicas"] * best["tensor_parallel"])

    def test_what_nothing_meets_is_exit_code_1(self):
        document = self.plan("--minimize", "memory", "--target-batch", "1000",
                             code=1)
        self.assertEqual(document["best"], {})

    def test_wrong_plans_are_refused(self):
        for arguments, message in [
            (["--target-batch", "1"], "--minimize"),
            (["--minimize", "memory"], "give a target"),
            (["--minimize", "time", "--target-batch", "1"], "--minimize"),
            (["--minimize", "memory", "--target-ttft-p99", "1"], "1.5s"),
            (["--minimize", "memory", "--target-ttft-p99", "1s"],
             "has no such figure"),
            (["--minimize", "memory", "--target-batch", "1", *POOL],
             "--memory"),
            (["--minimize", "gpus", "--target-batch", "1"], "--gpu"),
            (["--maximize", "rate", "--target-batch", "1", *POOL],
             "arrival times"),
        ]:
            self.assert_refused("plan", *SMALL, *arguments, message=message)

    # ---- cost ----

    def test_waste_has_a_price_where_time_is_modelled(self):
        report = json.loads(self.ok(
            "sim", *SMALL, *POOL, *FIXED, "--usd-per-gpu-hour", "3", "--tp",
            "2", "--policies", "paged-16", "--format", "json"))
        self.assert_valid(report, "report.schema.json")
        self.assertEqual(report["cost"], {"gpus": 2, "usd_per_gpu_hour": 3})
        result = report["results"]["paged-16"]
        cost = result["cost"]
        self.assertAlmostEqual(
            cost["usd"], cost["gpu_equiv"] * 3 * result["duration_s"] / 3600, 5)
        tokens = report["inputs"]["trace"]["tokens"]["output"]
        self.assertAlmostEqual(
            cost["usd_per_million_output_tokens"],
            2 * 3 * result["duration_s"] / 3600 / tokens * 1e6, 4)
        unpriced = json.loads(self.ok("sim", *SMALL, *POOL, "--format", "json"))
        for result in unpriced["results"].values():
            self.assertIsNone(result["cost"]["usd"])
            self.assertGreaterEqual(result["cost"]["gpu_equiv"], 0)
        self.assert_refused("sim", *SMALL, *POOL, "--usd-per-gpu-hour", "0",
                            message="--usd-per-gpu-hour")


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    SCHEMAS = Path(sys.argv.pop(1))
    unittest.main()
