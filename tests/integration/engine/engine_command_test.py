# SPDX-License-Identifier: Apache-2.0
"""The engine's command line: engine_command_test ENGINE"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest


class EngineCommandTest(unittest.TestCase):
    engine = ""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_engine(self, *arguments):
        return subprocess.run(
            [self.engine, *map(str, arguments)], capture_output=True,
            check=False, encoding="utf-8")

    def tiny(self, *arguments):
        done = self.run_engine("--tiny", 1, "--ignore-eos", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")
        return self.folder / name

    def test_one_line_for_bad_input(self):
        one = ["--tiny", 1, "--prompt", "a"]
        lines = self.write("lines.jsonl", '{"prompt": "a"}\n\n{"promt": "b"}\n')
        wrong = self.write("wrong.jsonl", '{"prompt": "a", "max_tokens": 0}\n')
        empty = self.write("empty.jsonl", "\n")
        for arguments, said in [
                ([], "--model and --tiny"),
                (["--tiny", 1], "--prompt"),
                (["--tiny", "x", "--prompt", "a"], "--tiny"),
                (["--model", "/none", "--prompt", "a"], "/none/config.json"),
                (one + ["--model", "/none"], "one of --model"),
                (one + ["--prompts", "/none"], "/none"),
                (["--tiny", 1, "--prompts", lines], "lines.jsonl:3:"),
                (["--tiny", 1, "--prompts", wrong], "wrong.jsonl:1:"),
                (["--tiny", 1, "--prompts", empty], "has no prompt"),
                (one + ["--cache", "x"], "concat, contiguous, paged"),
                (one + ["--block-size", 0], "--block-size"),
                (one + ["--block-size", 257], "--block-size"),
                (one + ["--num-blocks", 2], "can never finish"),
                (one + ["--max-seq-len", 5000], "4096 tokens"),
                (one + ["--temperature", -1], "--temperature"),
                (one + ["--chat"], "<|im_start|>"),
                (one + ["--cache", "concat", "--prefix-cache", "on"],
                 "paged memory"),
                (one + ["--kv-dtype", "int5"], "--kv-dtype"),
                (one + ["--kv-dtype", "fp16", "--cache", "concat"],
                 "fp16 need paged memory"),
                (one + ["--cache", "concat", "--preemption", "swap"],
                 "paged memory"),
                (one + ["--num-swap-blocks", 3], "--preemption swap"),
                (one + ["--prefix-cache", "on", "--partial-block-reuse",
                        "--reuse", "zero"], "list_fresh_blocks"),
                (one + ["--partial-block-reuse"], "--prefix-cache on"),
                (one + ["--samples", 2, "--write-trace", "t"], "--samples"),
                (one + ["--write-trace", "/none/t"], "/none/t"),
                (["--tiny", 1, "--prompt", ""], "0 tokens"),
                (one + ["--nonsense"], "--nonsense")]:
            done = self.run_engine(*arguments)
            self.assertEqual(done.returncode, 2, (arguments, done))
            self.assertTrue(done.stderr.startswith("engine: "), done)
            self.assertEqual(done.stderr.count("\n"), 1, done)
            self.assertIn(said, done.stderr)

    def test_a_model_that_is_cut_short(self):
        self.write("config.json", json.dumps({
            "model_type": "llama", "hidden_size": 4, "intermediate_size": 4,
            "num_hidden_layers": 1, "num_attention_heads": 1,
            "vocab_size": 4, "max_position_embeddings": 8}))
        (self.folder / "model.safetensors").write_bytes(
            struct.pack("<Q", 99) + b"{}")
        done = self.run_engine("--model", self.folder, "--prompt", "a")
        self.assertEqual(done.returncode, 2)
        self.assertIn("model.safetensors: its header", done.stderr)

    def test_json_lines(self):
        prompts = self.write(
            "prompts.jsonl",
            '{"prompt": "abc", "id": "first", "max_tokens": 3}\n'
            '{"prompt": "xyz", "id": 7}\n')
        done = self.tiny("--prompts", prompts, "--prompt", "q", "--format",
                         "jsonl", "--stream", "--max-tokens", 5)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        answers = {line["id"]: line for line in lines if "tokens" in line}
        self.assertEqual({name: len(answer["tokens"])
                          for name, answer in answers.items()},
                         {"first": 3, "7": 5, "0": 5})
        for name, answer in answers.items():
            self.assertEqual(answer["finish_reason"], "length")
            self.assertEqual(
                [line["token"] for line in lines
                 if line["id"] == name and "token" in line], answer["tokens"])
        self.assertIn("held by sequences", done.stderr)

    def test_samples_differ_and_come_back(self):
        arguments = ["--prompt", "abc", "--samples", 3, "--temperature", 1,
                     "--format", "jsonl"]
        once = self.tiny(*arguments, "--seed", 1).stdout
        texts = {tuple(json.loads(line)["tokens"])
                 for line in once.splitlines()}
        self.assertEqual(len(texts), 3)
        again = self.tiny(*arguments, "--seed", 1, "--threads", 1,
                          "--block-size", 3).stdout
        self.assertEqual(once, again)
        self.assertNotEqual(once, self.tiny(*arguments, "--seed", 2).stdout)

    def test_logits_are_those_that_chose_the_tokens(self):
        path = self.folder / "logits.safetensors"
        done = self.tiny("--prompt", "abc", "--prompt", "de", "--max-tokens", 4,
                         "--format", "jsonl", "--logits", path)
        data = path.read_bytes()
        size, = struct.unpack_from("<Q", data)
        header = json.loads(data[8:8 + size])
        for line in map(json.loads, done.stdout.splitlines()):
            tensor = header[f"{line['id']}/0"]
            self.assertEqual(tensor["shape"], [4, 257])
            begin, end = tensor["data_offsets"]
            logits = struct.unpack_from(f"<{(end - begin) // 4}f", data,
                                        8 + size + begin)
            for i, token in enumerate(line["tokens"]):
                row = logits[257 * i:257 * (i + 1)]
                self.assertEqual(row.index(max(row)), token)


if __name__ == "__main__":
    EngineCommandTest.engine = sys.argv.pop(1)
    unittest.main()
