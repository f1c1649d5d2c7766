# SPDX-License-Identifier: Apache-2.0
"""tools/lib/junit_summary.py counts what ctest really writes."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "lib" / "junit_summary.py"

PASSES = 'add_test(passes "true")\n'
FAILS = 'add_test(fails "false")\n'
MISSING = 'add_test(missing "/nonexistent/program")\n'
CRASHES = 'add_test(crashes "sh" "-c" "kill -SEGV $$")\n'
SKIPS = """
add_test(skips "printf" "a_test.cc:7: Skipped\\nno traces here\\n[  SKIPPED ]")
set_tests_properties(skips PROPERTIES SKIP_REGULAR_EXPRESSION "SKIPPED")
add_test(exits_77 "sh" "-c" "echo no such file && exit 77")
set_tests_properties(exits_77 PROPERTIES SKIP_RETURN_CODE 77)
add_test(off "true")
set_tests_properties(off PROPERTIES DISABLED ON)
"""


def summarize(*test_lists):
    """Runs ctest on each list of tests, and the script on all results."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, tests in enumerate(test_lists):
            run = pathlib.Path(folder, f"run{number}")
            run.mkdir()
            (run / "CTestTestfile.cmake").write_text(tests)
            files.append(str(run / "junit.xml"))
            subprocess.run(["ctest", "--output-junit", files[-1]], cwd=run,
                           check=False, capture_output=True)
        return subprocess.run([sys.executable, str(SCRIPT), *files], text=True,
                              check=False, capture_output=True)


class JunitSummaryTest(unittest.TestCase):
    def test_sums_over_runs(self):
        result = summarize(PASSES, PASSES + SKIPS)
        self.assertEqual(result.stdout.splitlines()[-1],
                         "2 passed, 0 failed, 3 skipped")
        self.assertEqual(result.returncode, 0)

    def test_gives_the_reason_of_each_skip(self):
        skips = summarize(PASSES + SKIPS).stdout.splitlines()[:-1]
        self.assertEqual(skips, [
            "skipped: skips (run0): no traces here",
            "skipped: exits_77 (run0): no such file",
            "skipped: off (run0): Disabled"])

    def test_counts_failed_crashed_and_missing_programs_as_failed(self):
        result = summarize(PASSES + FAILS + MISSING + CRASHES)
        self.assertEqual(result.stdout.splitlines(), [
            "FAILED: fails (run0)", "FAILED: missing (run0)",
            "FAILED: crashes (run0)", "1 passed, 3 failed, 0 skipped"])
        self.assertEqual(result.returncode, 1)

    def test_fails_where_nothing_passed(self):
        self.assertEqual(summarize("").returncode, 1)


if __name__ == "__main__":
    unittest.main()
