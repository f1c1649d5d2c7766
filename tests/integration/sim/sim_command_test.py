# SPDX-License-Identifier: Apache-2.0
"""Runs `pagedkv sim` as its users do.

usage: sim_command_test.py PROGRAM
"""

import csv
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from decimal import Decimal
from pathlib import Path

PROGRAM = None
FILES = ["report.html", "report.json", "report.md", "requests.csv",
         "timeseries.csv"]
CAUSES = ["token", "reserved", "internal", "roundup", "cached_idle",
          "watermark", "blocked_fragmented", "blocked_capacity",
          "blocked_policy", "tail", "idle"]
SMALL = ["--workload", "sharegpt", "--requests", "500", "--model", "opt-13b",
         "--memory", "12GiB"]
FIXED = ["--clock", "fixed", "--step-time", "20ms"]
MODEL = ["--clock", "model", "--step-time-preset"]


def run(*arguments, cwd=None):
    return subprocess.run([PROGRAM, "sim", *arguments], cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=300)


def write_trace(path, rows, seed=20231116):
    """A trace like Azure's, of random lengths."""
    print(f"trace seed {seed}")
    lengths = random.Random(seed)
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for i in range(rows):
        lines.append(f"2023-11-16 18:{i // 600:02}:{i // 10 % 60:02}."
                     f"{i % 10}000000,{lengths.randint(4, 3000)},"
                     f"{lengths.randint(1, 300)}")
    path.write_bytes("\r\n".join(lines).encode())


class SimCommandTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def assert_refused(self, *arguments, message):
        """Exit code 2, one line on stderr with `message`, no output."""
        result = run(*arguments, cwd=self.folder)
        with self.subTest(arguments=arguments):
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, r"\Apagedkv: [^\n]+\n\Z")
            self.assertIn(message, result.stderr)

    def test_wrong_usage_is_refused_with_one_line(self):
        for arguments, message in [
            ([], "--trace FILE or --workload NAME"),
            (["--frobnicate"], "--frobnicate"),
            (["--requests", "many"], "--requests"),
            (["--seed", "-1"], "--seed"),
            ([*SMALL, "--requests", "3"], "--requests"),
            ([*SMALL, "--max-seq-len", "9" * 30], "--max-seq-len"),
            ([*SMALL, "--policies", "paged-0"], "paged-0"),
            ([*SMALL, "--policies", "paged-16384"], "paged-16384: num_blocks"),
            ([*SMALL, "--policies", "paged-16,"], "--policies"),
            ([*SMALL, "--policies", "paged-16,paged-16"], "more than once"),
            ([*SMALL, "--tp", "0"], "--tp"),
            ([*SMALL, "--tp", "3"], "3"),
            ([*SMALL, "--format", "yaml"], "table, json, csv or md"),
            ([*SMALL, "--prefix-cache", "on", "--eviction", "fifo"],
             "unknown --eviction"),
            ([*SMALL, "--clock", "model"], "--step-time-preset"),
            ([*SMALL, *MODEL, "missing.json"], "missing.json"),
            ([*SMALL, "--slo-ttft", "1s"], "--clock fixed or model"),
            ([*SMALL, *FIXED, "--demand"], "contradict"),
            ([*SMALL, "surplus"], "surplus"),
        ]:
            self.assert_refused(*arguments, message=message)

    def test_wrong_input_is_refused_with_one_line(self):
        options = ["--model", "opt-13b", "--memory", "12GiB", "--trace"]
        header = b"TIMESTAMP,ContextTokens,GeneratedTokens\n"
        self.assert_refused(*options, "missing.csv", message="missing.csv")
        self.assert_refused(*options, ".", message=".")
        for content, message in [
            (b"", "trace.csv"),
            (header, "trace.csv"),
            (header + b"2023-11-16 18:00:00.0,4,x\n", "trace.csv:2"),
            (header + b"2023-11-16 18:00:00.0,4,-4\n", "trace.csv:2"),
            (header + b"2023-11-16 18:00:00.0,4,99999999999999999999\n",
             "trace.csv:2"),
            (b"\xff\xfe\x00\x01", "trace.csv"),
            # All of it is longer than the context.
            (header + b"2023-11-16 18:00:00.0,4000,4\n", "trace.csv"),
        ]:
            (self.folder / "trace.csv").write_bytes(content)
            self.assert_refused(*options, "trace.csv", message=message)
        (self.folder / "config.json").write_text("{")
        self.assert_refused("--workload", "sharegpt", "--memory", "12GiB",
                            "--config", "config.json", message="config.json")

    def test_an_output_folder_that_can_not_be_made_is_refused(self):
        (self.folder / "file").write_text("")
        for out in ["file", "file/out"]:
            self.assert_refused(*SMALL, "--out", out, message=out)

    def test_a_full_disk_is_an_error(self):
        if not Path("/dev/full").exists():
            self.skipTest("no /dev/full here")
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = subprocess.run([PROGRAM, "sim", *SMALL], stdout=full,
                                    stderr=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, 2)
        self.assertIn("standard output", result.stderr)

    def test_the_same_inputs_give_the_same_bytes(self):
        contents = []
        for out in ["first", "second"]:
            result = run(*SMALL, "--out", out, cwd=self.folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(sorted(os.listdir(self.folder / out)), FILES)
            contents.append([(self.folder / out / name).read_bytes()
                             for name in FILES] + [result.stdout])
        self.assertEqual(*contents)

    def test_another_seed_gives_another_report(self):
        first, second = (run(*SMALL, "--format", "json", "--seed", seed)
                         for seed in ["1", "2"])
        self.assertNotEqual(json.loads(first.stdout)["hash"],
                            json.loads(second.stdout)["hash"])

    def test_the_hash_is_of_all_but_the_run(self):
        text = run(*SMALL, "--format", "json", "--timing").stdout
        report = json.loads(text)
        hashed = re.sub(r'\n  "hash": "[0-9a-f]{64}",', "", text)
        hashed = re.sub(r'\n  "run": \{[^}]*\},', "", hashed)
        self.assertEqual(hashlib.sha256(hashed.encode()).hexdigest(),
                         report["hash"])
        self.assertGreater(report["run"]["wall_s"], 0)
        untimed = json.loads(run(*SMALL, "--format", "json").stdout)
        self.assertEqual(untimed["hash"], report["hash"])
        self.assertIsNone(untimed["run"]["wall_s"])

    def check_files(self, out, policies, kept):
        with open(out / "timeseries.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual(list(dict.fromkeys(row["policy"] for row in rows)),
                         policies)
        for row in rows:
            self.assertEqual(sum(Decimal(row[cause]) for cause in CAUSES),
                             Decimal(row["capacity"]), row)
        report = json.loads((out / "report.json").read_text())
        with open(out / "requests.csv", newline="", encoding="utf-8") as file:
            requests = list(csv.DictReader(file))
        for policy in policies:
            own = [row for row in requests if row["policy"] == policy]
            self.assertEqual(len(own), kept)
            result = report["results"][policy]
            rejected = [row for row in own if row["blocked_cause"] == "rejected"]
            self.assertEqual(result["requests"]["rejected"], len(rejected))
            self.assertEqual(result["requests"]["finished"],
                             kept - len(rejected))
            self.assertEqual(result["preempt"]["count"],
                             sum(int(row["preemptions"]) for row in own))
            self.assertAlmostEqual(sum(result["causes_pct"].values()), 100, 5)
            # The run as a whole, by time, is what its rows say.
            time_s = sum(Decimal(row["window_s"]) for row in rows
                         if row["policy"] == policy)
            self.assertAlmostEqual(float(time_s), result["duration_s"], 5)
        return report

    def test_files_agree_with_each_other(self):
        policies = ["contiguous-max", "contiguous-pow2", "contiguous-oracle",
                    "contiguous-max-exact", "concat", "paged-16", "paged-128"]
        write_trace(self.folder / "trace.csv", 1500)
        for clock in [["--clock", "iteration"], FIXED]:
            result = run("--trace", "trace.csv", "--model", "llama-2-13b",
                         "--memory", "12GiB", "--policies", ",".join(policies),
                         "--out", "out", *clock, cwd=self.folder)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stderr, "")
            report = self.check_files(self.folder / "out", policies, 1500)
            self.assertEqual(report["warnings"], [])
            digest = hashlib.sha256(
                (self.folder / "trace.csv").read_bytes()).hexdigest()
            self.assertEqual(report["inputs"]["trace"]["sha256"], digest)

    def test_rejected_requests_are_reported(self):
        # 100 blocks are 1,600 slots: the longer requests never fit.
        write_trace(self.folder / "trace.csv", 300)
        result = run("--trace", "trace.csv", "--model", "llama-2-13b",
                     "--num-blocks", "100", "--policies", "paged-16",
                     "--out", "out", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        report = self.check_files(self.folder / "out", ["paged-16"], 300)
        rejected = report["results"]["paged-16"]["requests"]["rejected"]
        self.assertGreater(rejected, 0)
        self.assertIn(f"rejected {rejected} requests", result.stderr)

    def test_what_does_not_fit_the_context_is_dropped_and_said(self):
        write_trace(self.folder / "trace.csv", 300)
        result = run("--trace", "trace.csv", "--model", "opt-13b", "--memory",
                     "12GiB", "--format", "json", cwd=self.folder)
        report = json.loads(result.stdout)
        dropped = report["inputs"]["trace"]["dropped"]["over_max_seq"]
        self.assertGreater(dropped, 0)
        self.assertEqual(
            result.stderr,
            f"pagedkv: warning: dropped {dropped} of 300 requests of "
            "trace.csv: longer than 2,048 tokens, the context of opt-13b; "
            "--max-seq-len sets another limit\n")
        self.assertEqual(len(report["warnings"]), 1)

    def test_demand_needs_no_pool_and_blocks_nobody(self):
        write_trace(self.folder / "trace.csv", 600)
        result = run("--trace", "trace.csv", "--model", "llama-2-13b",
                     "--demand", *FIXED, "--format", "json", "--policies",
                     "contiguous-max-exact,paged-16", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        results = json.loads(result.stdout)["results"]
        self.assertGreater(results["contiguous-max-exact"]["demand_peak"],
                           results["paged-16"]["demand_peak"])
        for policy in results.values():
            self.assertEqual(set(policy["admit"]["blocked_s"].values()), {0})

    def test_a_clock_that_models_time_gives_latency_and_goodput(self):
        write_trace(self.folder / "trace.csv", 1000)
        common = ["--trace", "trace.csv", "--model", "llama-3.1-8b",
                  "--num-blocks", "3000", "--policies", "paged-16", *MODEL]
        level = ["--slo-ttft", "100ms", "--slo-tpot", "7ms"]
        result = run(*common, "roofline", "--gpu", "h100", *level, "--out",
                     "out", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("a bound, not a measurement", result.stdout)
        report = self.check_files(self.folder / "out", ["paged-16"], 1000)
        self.assertEqual(report["clock"]["preset"], "roofline")
        paged = report["results"]["paged-16"]
        with open(self.folder / "out" / "requests.csv", newline="",
                  encoding="utf-8") as file:
            requests = [{key: float(row[key])
                         for key in ["arrival_s", "admit_s", "first_token_s",
                                     "finish_s", "output", "preemptions"]}
                        for row in csv.DictReader(file)]
        # The report's figures are those of the rows.
        times = {
            "ttft_s": [r["first_token_s"] - r["arrival_s"] for r in requests],
            "tpot_s": [(r["finish_s"] - r["first_token_s"]) /
                       (r["output"] - 1) for r in requests if r["output"] > 1],
            "e2e_s": [r["finish_s"] - r["arrival_s"] for r in requests],
            "queue_s": [r["admit_s"] - r["arrival_s"] for r in requests]}
        for name, values in times.items():
            values.sort()
            figures = paged["latency"][name]
            self.assertAlmostEqual(figures["max"], values[-1], 5)
            self.assertAlmostEqual(figures["mean"], sum(values) / len(values),
                                   5)
            for quantile, figure in [(50, "p50"), (90, "p90"), (99, "p99")]:
                exact = values[-(-quantile * len(values) // 100) - 1]
                self.assertAlmostEqual(figures[figure], exact,
                                       delta=0.001 * exact + 1e-5)
        self.assertAlmostEqual(
            paged["throughput"]["output_tokens_per_s"],
            sum(r["output"] for r in requests) / paged["duration_s"], 2)
        self.assertGreater(paged["goodput"]["requests_pct"], 0)
        self.assertLess(paged["goodput"]["requests_pct"], 100)

        # Less efficient hardware is slower, and never better.
        slower = run(*common, "roofline", "--gpu", "h100", *level, "--format",
                     "json", "--compute-efficiency", "0.5",
                     "--bandwidth-efficiency", "0.5", cwd=self.folder)
        slow = json.loads(slower.stdout)["results"]["paged-16"]
        self.assertGreater(slow["latency"]["tpot_s"]["mean"],
                           1.5 * paged["latency"]["tpot_s"]["mean"])
        self.assertLess(slow["goodput"]["requests_pct"],
                        paged["goodput"]["requests_pct"])

    def test_a_demand_run_may_have_a_model_of_time(self):
        write_trace(self.folder / "trace.csv", 600)
        result = run("--trace", "trace.csv", "--model", "llama-2-13b",
                     "--demand", *MODEL, "roofline", "--gpu", "h100",
                     "--format", "json", "--policies",
                     "contiguous-max-exact,contiguous-pow2,concat,paged-16",
                     cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        results = json.loads(result.stdout)["results"]
        for policy in results.values():
            self.assertEqual(set(policy["admit"]["blocked_s"].values()), {0})
            self.assertEqual(policy["latency"],
                             results["paged-16"]["latency"])

    def test_each_format_is_itself(self):
        table = run(*SMALL).stdout
        self.assertTrue(table.startswith("pool: 15,728 slots"), table)
        self.assertRegex(table, r"\npaged-16 +\| +[0-9.]+ \+- [0-9.]+ \|")
        # Not a terminal, so that the bar of the causes is of ASCII.
        self.assertRegex(table, r"\npaged-16 +\|#{40,50}[^#\n]*\|\n")
        self.assertTrue(table.isascii())
        rows = list(csv.DictReader(run(*SMALL, "--format", "csv")
                                   .stdout.splitlines()))
        self.assertEqual([row["policy"] for row in rows],
                         ["contiguous-max", "contiguous-pow2",
                          "contiguous-oracle", "paged-16"])
        markdown = run(*SMALL, "--format", "md").stdout
        self.assertIn("\n| paged-16 | ", markdown)

    def test_a_chrome_trace_has_the_schedule_of_every_policy(self):
        write_trace(self.folder / "trace.csv", 200)
        policies = ["contiguous-pow2", "paged-16"]
        result = run("--trace", "trace.csv", "--model", "llama-2-13b",
                     "--memory", "4GiB", *FIXED, "--policies",
                     ",".join(policies), "--chrome-trace", "trace.json",
                     "--format", "json", cwd=self.folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        results = json.loads(result.stdout)["results"]
        events = json.loads((self.folder / "trace.json").read_text())
        names = {event["pid"]: event["args"]["name"] for event in events
                 if event["name"] == "process_name"}
        self.assertEqual(list(names.values()), policies)
        for process, policy in names.items():
            own = [event for event in events
                   if event["pid"] == process and event["ph"] != "M"]
            times = [event["ts"] for event in own]
            self.assertEqual(times, sorted(times))
            self.assertEqual(
                sum(event["ph"] == "X" for event in own),
                results[policy]["steps"])
            open_slices = {}
            preempted = finished = 0
            for event in own:
                self.assertIn(event["ph"], "XCbe")
                stack = open_slices.setdefault(event.get("id"), [])
                if event["ph"] == "b":
                    stack.append(event["name"])
                    preempted += event["name"] == "preempted"
                elif event["ph"] == "e":
                    self.assertEqual(stack.pop(), event["name"])
                    finished += event["name"] == "request"
            self.assertFalse(any(open_slices.values()))
            self.assertEqual(finished,
                             results[policy]["requests"]["finished"])
            self.assertEqual(preempted, results[policy]["preempt"]["count"])
        self.assertGreater(results["paged-16"]["preempt"]["count"], 0)

    def test_the_memory_map_needs_a_page(self):
        for option in ["--map-from", "--map-span"]:
            self.assert_refused(*SMALL, option, "5s", message=option)
        self.assert_refused(*SMALL, "--out", "out", "--map-from", "5",
                            message="--map-from")
        self.assert_refused(*SMALL, "--out", "out", "--map-span", "0s",
                            message="--map-span")

    def interrupt(self, with_signal):
        out = self.folder / "out"
        out.mkdir()
        (out / "report.json").write_text("older")
        with subprocess.Popen(
                [PROGRAM, "sim", "--workload", "sharegpt", "--requests",
                 "1000000", "--model", "opt-13b", "--memory", "12GiB",
                 "--out", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True) as process:
            deadline = time.monotonic() + 120
            while len(os.listdir(out)) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertIsNone(process.poll())
            process.send_signal(with_signal)
            output, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 130, errors)
        self.assertEqual(output, "")
        self.assertEqual(errors, "pagedkv: interrupted\n")
        self.assertEqual(os.listdir(out), ["report.json"])
        self.assertEqual((out / "report.json").read_text(), "older")

    def test_ctrl_c_leaves_nothing_half_done(self):
        self.interrupt(signal.SIGINT)

    def test_termination_leaves_nothing_half_done(self):
        self.interrupt(signal.SIGTERM)

    def test_the_admission_log_accounts_for_every_wait(self):
        run(*SMALL, "--policies", "contiguous-max,paged-16", "--out", "out",
            "--admission-log", "waits.csv", cwd=self.folder)
        report = json.loads((self.folder / "out/report.json").read_text())
        with open(self.folder / "waits.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        causes = {"capacity": "blocked_capacity", "cap": "blocked_policy",
                  "fragmentation": "blocked_fragmented",
                  "watermark": "watermark"}
        for policy, result in report["results"].items():
            for name, seconds in result["admit"]["blocked_s"].items():
                logged = sum(float(row["duration_s"]) for row in rows
                             if row["policy"] == policy
                             and row["cause"] == causes[name])
                self.assertAlmostEqual(logged, seconds, places=6)
        self.assertGreater(len(rows), 10)

    def test_help_explains_every_option(self):
        text = run("--help").stdout
        for option in ["--trace", "--workload", "--policies", "--model",
                       "--config", "--kv-bytes-per-token", "--memory",
                       "--num-blocks", "--gpu", "--demand", "--max-seq-len",
                       "--dtype", "--clock", "--step-time", "--saturate",
                       "--step-time-preset", "--compute-efficiency",
                       "--bandwidth-efficiency", "--slo-ttft", "--slo-tpot",
                       "--rate", "--requests", "--seed", "--max-num-seqs",
                       "--max-num-batched-tokens", "--watermark",
                       "--prefix-cache", "--weight", "--window", "--format",
                       "--out", "--skip-malformed", "--strict",
                       "--map-from", "--map-span", "--chrome-trace"]:
            self.assertIn(option + " ", text)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
