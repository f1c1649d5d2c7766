# SPDX-License-Identifier: Apache-2.0
"""Validates descriptions of workloads against the published JSON Schema.

The presets and a fitted one are valid, and what the schema refuses, the program
refuses as well.

usage: workload_schema_test.py PROGRAM FOLDER_OF_SIM_WORKLOAD
"""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77


def spoil(spec):
    """Descriptions that neither may take, each with what is wrong with it."""
    def changed(change):
        broken = copy.deepcopy(spec)
        change(broken, broken["classes"][0])
        return broken
    yield "unknown key", changed(lambda s, c: s.update(extra=1))
    yield "unknown key of a class", changed(lambda s, c: c.update(extra=1))
    yield "no classes", changed(lambda s, c: s.update(classes=[]))
    yield "no name", changed(lambda s, c: s.pop("name"))
    yield "no answer", changed(lambda s, c: c.pop("answer_tokens"))
    yield "other schema", changed(lambda s, c: s.update(schema="x"))
    yield "text for a number", changed(lambda s, c: s.update(requests="1"))
    yield "other loop", changed(lambda s, c: c.update(loop="half"))
    yield "other process", changed(
        lambda s, c: c["arrivals"].update(process="x"))
    yield "poisson with bursts", changed(
        lambda s, c: c.update(arrivals={"sessions_per_s": 1,
                                        "burstiness_cv": 2}))
    yield "gamma without", changed(
        lambda s, c: c.update(arrivals={"sessions_per_s": 1,
                                        "process": "gamma"}))
    yield "quantiles and more", changed(
        lambda s, c: c["message_tokens"].update(mean=1))


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    try:
        import jsonschema
    except ImportError:
        print("SKIPPED: nothing was validated: install python3-jsonschema")
        return SKIPPED
    schema = json.loads((folder / "workload.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    presets = json.loads((folder / "presets.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)

        def generate(workload):
            return subprocess.run(
                [program, "trace", "generate", workload, "--requests", "200",
                 "--out", scratch / "t.jsonl"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        for preset in presets:
            validator.validate(preset)
        assert generate("mixed").returncode == 0
        subprocess.run([program, "trace", "fit", scratch / "t.jsonl", "--out",
                        scratch / "fit.json"], check=True,
                       stdout=subprocess.DEVNULL)
        validator.validate(json.loads((scratch / "fit.json").read_text()))
        path = scratch / "w.json"
        # The example of the documents.
        page = (folder.parents[1] / "docs" / "workloads.md").read_text()
        example = page.split("```json\n")[1].split("```")[0]
        validator.validate(json.loads(example))
        path.write_text(example)
        assert generate(path).returncode == 0
        path.write_text(json.dumps(presets[0]))
        assert generate(path).returncode == 0
        for what, broken in spoil(presets[0]):
            assert list(validator.iter_errors(broken)), what
            path.write_text(json.dumps(broken))
            assert generate(path).returncode == 2, what
    print(f"{len(presets)} presets and a fitted description are valid")
    return 0


if __name__ == "__main__":
    sys.exit(main())
