#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up ctest's JUnit files: junit_summary.py FILE...

Lists each skipped test with its reason and each failed one, and closes with
`N passed, N failed, N skipped`. Exits 1 if a test failed, or if none ran.
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(case):
    """Why a test was skipped: in its own words, as far as it has any."""
    output = case.findtext("system-out", "")
    googletest = re.search(r": Skipped\n(.+)", output)
    lines = output.strip().splitlines()
    if googletest:
        return googletest.group(1).strip()
    return lines[-1] if lines else case.find("skipped").get("message", "")


def outcome(case):
    """One of passed, failed and skipped."""
    status = case.get("status")
    if status == "run":
        return "passed"
    if status == "disabled":
        return "skipped"
    skipped = case.find("skipped")
    # ctest also says "notrun" of a test whose program is missing.
    if (status == "notrun" and skipped is not None and
            skipped.get("message", "").startswith("SKIP_")):
        return "skipped"
    return "failed"


def main(paths):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        run = pathlib.Path(path).parent.name
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            result = outcome(case)
            counts[result] += 1
            if result == "skipped":
                print(f"skipped: {case.get('name')} ({run}): "
                      f"{skip_reason(case)}")
            elif result == "failed":
                print(f"FAILED: {case.get('name')} ({run})")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
