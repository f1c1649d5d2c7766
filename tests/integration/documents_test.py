# SPDX-License-Identifier: Apache-2.0
"""The documents show what is there: the example's code, and existing files."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md",
             *sorted((ROOT / "docs").rglob("*.md"))]


class DocumentsTest(unittest.TestCase):
    def test_readme_shows_the_code_of_the_example(self):
        example = (ROOT / "examples" / "embedding.cc").read_text()
        region = example.split("// [README]\n")[1]
        blocks = re.findall(r"```cpp\n(.*?)```", (ROOT / "README.md").read_text(),
                            re.DOTALL)
        self.assertEqual(blocks, [region])

    def test_links_lead_to_files(self):
        for document in DOCUMENTS:
            for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
                if "://" not in link:
                    with self.subTest(document=document.name, link=link):
                        self.assertTrue((document.parent / link).exists())


if __name__ == "__main__":
    unittest.main()
