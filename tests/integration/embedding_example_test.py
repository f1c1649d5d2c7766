# SPDX-License-Identifier: Apache-2.0
"""The example's paged run gives what its model gives without any paging."""

import subprocess
import sys
import unittest

PROMPTS = {1: range(11, 18), 2: range(21, 24), 3: range(31, 40)}
OUTPUT_TOKENS = 8


def generate(prompt):
    """The example's model on a plain list of tokens."""
    tokens = list(prompt)
    for _ in range(OUTPUT_TOKENS):
        token = 0
        for kv in tokens:
            token = (31 * token + kv + 1) % 997
        tokens.append(token)
    return tokens


class EmbeddingExampleTest(unittest.TestCase):
    program = ""

    def setUp(self):
        result = subprocess.run([self.program], check=True, text=True,
                                capture_output=True)
        self.lines = result.stdout.splitlines()

    def test_generates_what_the_model_gives_without_paging(self):
        for request, prompt in PROMPTS.items():
            expected = " ".join(map(str, generate(prompt)))
            self.assertIn(f"request {request}: {expected}", self.lines)

    def test_has_too_few_blocks_for_all_three_so_one_gives_way(self):
        self.assertTrue(any(" gives way to " in line for line in self.lines),
                        self.lines)


if __name__ == "__main__":
    EmbeddingExampleTest.program = sys.argv.pop(1)
    unittest.main()
