# SPDX-License-Identifier: Apache-2.0
"""Validates reports of `pagedkv sim` against the published JSON Schema.

usage: report_schema_test.py PROGRAM SCHEMA
"""

import copy
import json
import subprocess
import sys

SKIPPED = 77

COMMON = ["sim", "--requests", "300", "--format", "json"]
MODEL = ["--model", "opt-13b"]
FIXED = ["--clock", "fixed", "--step-time", "20ms"]
# Every kind of policy, pool, clock and window, and what they leave null.
RUNS = [
    ["--workload", "sharegpt", *MODEL, "--memory", "12GiB"],
    ["--workload", "sharegpt", *MODEL, "--memory", "12GiB", "--window", "all",
     "--weight", "iteration", "--watermark", "0.01", "--timing",
     "--policies", "concat,contiguous-max-exact,paged-128"],
    ["--workload", "sharegpt", *MODEL, "--demand", *FIXED,
     "--policies", "contiguous-max-exact,paged-16,concat"],
    ["--workload", "azure-conv-2023", "--max-seq-len", "4096",
     "--num-blocks", "500", *FIXED, "--rate", "20"],
    ["--workload", "alpaca", *MODEL, "--gpu", "h100", "--weights", "26GB",
     *FIXED, "--saturate"],
    ["--workload", "sharegpt", *MODEL, "--memory", "12GiB", "--clock", "model",
     "--step-time-preset", "roofline", "--gpu", "h100", "--rate", "4",
     "--slo-ttft", "500ms", "--slo-tpot", "50ms"],
    ["--workload", "sharegpt", "--model", "llama-2-70b", "--num-blocks", "999",
     "--clock", "model", "--step-time-preset", "splitwise-h100-tp8-llama-2-70b",
     "--saturate", "--slo-tpot", "50ms"],
    # Preemption by swap: with bytes and time, and with neither.
    ["--workload", "sharegpt", *MODEL, "--memory", "3GiB", "--clock", "model",
     "--step-time-preset", "roofline", "--gpu", "h100", "--rate", "20",
     "--policies", "paged-16,contiguous-max", "--preemption", "swap"],
    ["--workload", "sharegpt", "--max-seq-len", "2048", "--num-blocks", "200",
     "--policies", "paged-16", "--preemption", "swap",
     "--num-swap-blocks", "100"],
    # Layers that keep different tokens: windows, an image, a state.
    ["--workload", "azure-conv-2023", "--model", "gemma-3-27b",
     "--memory", "100GiB", "--policies", "paged-16"],
    ["--workload", "alpaca", "--model", "llama-3.2-11b-vision",
     "--memory", "100GiB", "--policies", "contiguous-oracle"],
    ["--workload", "alpaca", "--model", "jamba-v0.1", "--memory", "10GiB"],
    # Nothing but a drain, and nothing that ever fits.
    ["--workload", "alpaca", *MODEL, "--memory", "12GiB", "--requests", "1"],
    ["--workload", "sharegpt", *MODEL, "--num-blocks", "2",
     "--policies", "contiguous-max"],
]


def is_valid(validator, report):
    return not list(validator.iter_errors(report))


def main():
    program, schema_path = sys.argv[1:]
    try:
        import jsonschema
    except ImportError:
        print("SKIPPED: no report was validated: install python3-jsonschema")
        return SKIPPED
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    report = None
    for arguments in RUNS:
        # The last of two equal options would win, were they not refused.
        common = [each for each in COMMON]
        if "--requests" in arguments:
            common = ["sim", "--format", "json"]
        output = subprocess.run([program, *common, *arguments], check=True,
                                stdout=subprocess.PIPE).stdout
        report = json.loads(output)
        errors = [f"{error.json_path}: {error.message}"
                  for error in validator.iter_errors(report)]
        if errors:
            print("not valid:", " ".join(arguments), *errors, sep="\n  ")
            return 1

    # The schema does say no: to a missing, an unknown and a wrong member.
    for spoil in (lambda r: r.pop("pool"),
                  lambda r: r["clock"].update(speed=1),
                  lambda r: r["pool"].update(slots="many")):
        spoiled = copy.deepcopy(report)
        spoil(spoiled)
        if is_valid(validator, spoiled):
            print("the schema accepts a spoiled report")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
