#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same prompts in three kinds of memory: demo.py ENGINE PAGEDKV [MODEL]

Answers prompts.jsonl from paged, contiguous and concatenated memory, prints the
answers once, and says what memory each took: as the engine counted it, and as
`pagedkv sim` says of the same requests. Exits 1 if the answers differ, or if
paged or contiguous memory was not as the simulator says. Without a model it
takes the tiny one, which was not trained.
"""

import csv
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
POLICIES = {"paged": "paged-16", "contiguous": "contiguous-max-exact",
            "concat": "concat"}
LIMITS = ["--num-blocks", "128", "--block-size", "16", "--max-seq-len", "512",
          "--max-num-seqs", "8", "--max-num-batched-tokens", "256"]
SLOTS = ("token", "reserved", "internal")


def read_rows(path):
    """What the slots of the pool were, step by step."""
    with path.open(encoding="utf-8") as file:
        return [tuple(int(row[name]) for name in SLOTS)
                for row in csv.DictReader(file)]


def summary(rows):
    """Slots held at most and on average, and the share that had nothing."""
    held = [sum(row) for row in rows]
    filled = sum(row[0] for row in rows)
    return (f"{max(held):6} {sum(held) / len(held):9.1f} "
            f"{100 * (1 - filled / sum(held)):8.1f} {len(rows):6}")


def main(engine, pagedkv, model=None):
    arguments = (["--model", model, "--chat"] if model
                 else ["--tiny", "1", "--ignore-eos"])
    answers, lines = None, []
    same_answers, as_simulated = True, True
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for cache, policy in POLICIES.items():
            done = subprocess.run(
                [engine, *arguments, *LIMITS, "--cache", cache,
                 "--prompts", HERE / "prompts.jsonl", "--format", "jsonl",
                 "--write-trace", folder / "trace.jsonl",
                 "--memory-csv", folder / "memory.csv"],
                check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                encoding="utf-8")
            texts = {answer["id"]: answer["text"] for answer in
                     map(json.loads, done.stdout.splitlines())}
            if answers is None:
                answers = texts
                for name, text in texts.items():
                    print(f"[{name}] {text}\n")
            same_answers &= texts == answers
            print(done.stderr.rstrip(), file=sys.stderr)
            subprocess.run(
                [pagedkv, "sim", "--trace", folder / "trace.jsonl",
                 "--kv-bytes-per-token", "1", "--policies", policy,
                 "--window", "all", "--weight", "iteration",
                 "--out", folder / "report", *LIMITS],
                check=True, stdout=subprocess.DEVNULL)
            here = read_rows(folder / "memory.csv")
            there = read_rows(folder / "report" / "timeseries.csv")
            same = here == there
            # Concatenated memory is simulated as it grows, with both copies.
            as_simulated &= same or cache == "concat"
            lines.append(f"{cache:10} | {summary(here)} | {summary(there)} | "
                         f"{'the same, slot by slot' if same else 'differs'}")
    one = "  held      mean  empty %  steps"
    print(f"{'':10} | {'the engine counted':34}| pagedkv sim says")
    print(f"{'cache':10} | {one} | {one} |")
    print("\n".join(lines))
    print("the answers are", "the same" if same_answers else "NOT the same",
          "in all three")
    return 0 if same_answers and as_simulated else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
