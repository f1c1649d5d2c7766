#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The engine against llama.cpp: engine_llama_cpp_test ENGINE MODEL_FOLDER

Both continue the same texts with the same weights in fp32, greedily. They add
up in other orders, so that logits differ in the last digits: the log
probabilities of the tokens chosen must agree within TOLERANCE, and where the
tokens part, it must have been a tie within TOLERANCE. Texts that are hard to
tokenize are among them: other tokens would give other probabilities. Exits 77
where there is no xllamacpp, numpy or model.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
    import xllamacpp
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOLERANCE = 2e-3
MAX_TOKENS = 12
# Their answers have tokens of whole characters only: llama.cpp's server does not
# tell others one by one.
PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was",
    "def fibonacci(n):\n    ",
    "Water boils at",
    "The three primary colors are red,",
    "In 1969, humans landed on the",
    "Q: What is 12345 + 678?\nA:",
    "L'été dernier, je suis allé à",
    "  two   spaces\t\tand\n\n\ntabs; it's what we'll see",
    "数学 (mathematics) is",
    "naïve café — “quotes” … 😀 ٣½²",
    "<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
]


def engine_answers(engine, model):
    """For each prompt: tokens, and the log probabilities they had."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = pathlib.Path(folder) / "prompts.jsonl"
        logits = pathlib.Path(folder) / "logits.safetensors"
        prompts.write_text("".join(json.dumps({"prompt": text}) + "\n"
                                   for text in PROMPTS), encoding="utf-8")
        done = subprocess.run(
            [engine, "--model", model, "--prompts", prompts, "--max-tokens",
             str(MAX_TOKENS), "--special-tokens", "--format", "jsonl",
             "--logits", logits],
            check=True, capture_output=True, encoding="utf-8")
        data = logits.read_bytes()
    size, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + size])
    answers = {}
    for line in map(json.loads, done.stdout.splitlines()):
        tensor = header[f"{line['id']}/0"]
        begin, end = tensor["data_offsets"]
        logits = numpy.frombuffer(
            data[8 + size + begin:8 + size + end], "<f4").astype(float)
        logits = logits.reshape(tensor["shape"])
        totals = numpy.logaddexp.reduce(logits, axis=1)
        shares = [row[token] - total for row, token, total
                  in zip(logits, line["tokens"], totals)]
        answers[int(line["id"])] = list(zip(line["tokens"], shares))
    return [answers[i] for i in range(len(PROMPTS))]


def llama_cpp_server(model):
    params = xllamacpp.CommonParams()
    params.model.path = str(model / "model.f32.gguf")
    params.n_ctx = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = 1  # more wait for one another, busily
    params.verbosity = -1
    params.warmup = False
    params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = (
        xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED)
    return xllamacpp.Server(params)


def llama_cpp_answer(server, prompt):
    """For each token: the two likeliest, (token, log probability) each."""
    answer = server.handle_completions({
        "prompt": prompt, "max_tokens": MAX_TOKENS, "temperature": 0,
        "logprobs": 2, "cache_prompt": False})
    return [[(top["id"], top["logprob"]) for top in token["top_logprobs"]]
            for token in answer["choices"][0]["logprobs"]["content"]]


def compare(prompt, here, there):
    """What is wrong; None if nothing is. Returns the largest difference too."""
    worst = 0.0
    for i, ((token, share), tops) in enumerate(zip(here, there)):
        if token != tops[0][0]:
            gap = tops[0][1] - tops[1][1]
            if token == tops[1][0] and gap <= TOLERANCE:
                print(f"{prompt!r}: a tie at token {i}, {gap:.6f} apart")
                return None, worst
            return f"token {i} is {token}, llama.cpp has {tops}", worst
        worst = max(worst, abs(share - tops[0][1]))
        if worst > TOLERANCE:
            return f"token {i}: log probability {share}, not {tops[0]}", worst
    if abs(len(here) - len(there)) > 1:  # one counts the end of the text
        return f"{len(here)} tokens, llama.cpp has {len(there)}", worst
    return None, worst


def main(engine, model):
    if not (model / "model.f32.gguf").exists():
        print(f"skipped: there is no {model}/model.f32.gguf; "
              "examples/engine/make_weights.py --f32-gguf makes it")
        return 77
    server = llama_cpp_server(model)
    failed, largest, tokens = 0, 0.0, 0
    for prompt, here in zip(PROMPTS, engine_answers(engine, model)):
        wrong, worst = compare(prompt, here, llama_cpp_answer(server, prompt))
        largest = max(largest, worst)
        tokens += len(here)
        if wrong:
            failed += 1
            print(f"{prompt!r}: {wrong}")
    print(f"{tokens} tokens of {len(PROMPTS)} texts; log probabilities differ "
          f"by {largest:.2e} at most")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2])))
