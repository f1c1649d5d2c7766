# SPDX-License-Identifier: Apache-2.0
"""tools/check_layering accepts the arrows of docs/design.md and no other."""

import importlib.machinery
import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

SCRIPT = pathlib.Path(__file__).parents[2] / "tools" / "check_layering"


def load_script():
    loader = importlib.machinery.SourceFileLoader("check_layering", str(SCRIPT))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("check_layering", loader))
    loader.exec_module(module)
    return module


check_layering = load_script()

# A small project with a header in every place.
TREE = {
    f"{module}/CMakeLists.txt":
        f"pagedkv_library(NAME {module}\n  PUBLIC_HEADERS {header}\n  SOURCES x.cc)"
    for module, header in [("base", "types.h"), ("allocator", "block_pool.h"),
                           ("block_table", "kv_cache_manager.h"),
                           ("scheduler", "scheduler.h")]
} | {
    path: "" for path in [
        "include/pagedkv/types.h", "include/pagedkv/block_pool.h",
        "include/pagedkv/kv_cache_manager.h", "include/pagedkv/scheduler.h",
        "base/check.h", "allocator/free_block_queue.h", "block_table/rows.h",
        "scheduler/queue.h", "sim/trace/loader.h", "sim/catalogue/model.h",
        "sim/workload/workload.h", "sim/accounting/causes.h",
        "sim/replay/simulation.h", "sim/report/report.h", "sim/cli/options.h",
        "backends/cuda/copy.h", "backends/redis/client.h", "bindings/c/handle.h",
        "tests/support/naive_pool.h",
    ]
}

# Every forbidden arrow: (file, its include, a part of the complaint).
FORBIDDEN = [
    # Within the library, upwards: internal headers and public ones alike.
    ("base/a.cc", '"allocator/free_block_queue.h"', "base is below allocator"),
    ("base/a.cc", '"pagedkv/block_pool.h"', "base is below allocator"),
    ("allocator/a.cc", '"block_table/rows.h"', "allocator is below block_table"),
    ("allocator/a.cc", '"pagedkv/kv_cache_manager.h"',
     "allocator is below block_table"),
    ("allocator/a.cc", '<pagedkv/scheduler.h>', "allocator is below scheduler"),
    ("block_table/a.cc", '"scheduler/queue.h"', "block_table is below scheduler"),
    ("include/pagedkv/block_pool.h", '"pagedkv/kv_cache_manager.h"',
     "allocator is below block_table"),
    # The library knows nobody who uses it.
    ("base/a.cc", '"sim/trace/loader.h"', "does not know sim"),
    ("scheduler/a.cc", '"sim/replay/simulation.h"', "does not know sim"),
    ("scheduler/a.cc", '"bindings/c/handle.h"', "does not know bindings"),
    ("scheduler/a.cc", '"tests/support/naive_pool.h"', "only tests may"),
    # A public header shows nothing internal, and needs nothing unusual.
    ("include/pagedkv/types.h", '"base/check.h"', "public headers only"),
    ("include/pagedkv/types.h", '"nlohmann/json.hpp"', "Abseil and the standard"),
    ("include/pagedkv/types.h", '<simdjson.h>', "Abseil and the standard"),
    # Clients use the contract only.
    ("sim/replay/a.cc", '"allocator/free_block_queue.h"', "client of include"),
    ("sim/replay/a.cc", '"base/check.h"', "client of include"),
    ("bindings/c/a.cc", '"scheduler/queue.h"', "client of include"),
    ("examples/a.cc", '"block_table/rows.h"', "client of include"),
    ("benchmarks/a.cc", '"allocator/free_block_queue.h"', "client of include"),
    ("benchmarks/a.cc", '"sim/trace/loader.h"', "client of include"),
    ("examples/a.cc", '"tests/support/naive_pool.h"', "only tests may"),
    # Backends are leaves.
    ("backends/cuda/a.cu", '"block_table/rows.h"', "a backend may include"),
    ("backends/redis/a.cc", '"sim/trace/loader.h"', "a backend may include"),
    ("backends/cuda/a.cu", '"backends/redis/client.h"', "do not know each other"),
    ("allocator/a.cc", '"backends/cuda/copy.h"', "depends on a backend"),
    ("scheduler/a.cc", '"backends/cuda/copy.h"', "depends on a backend"),
    ("sim/replay/a.cc", '"backends/cuda/copy.h"', "client of include"),
    # Within the simulator.
    ("sim/trace/a.cc", '"sim/workload/workload.h"', "not above"),
    ("sim/trace/a.cc", '"sim/catalogue/model.h"', "not above"),
    ("sim/catalogue/a.cc", '"sim/accounting/causes.h"', "not above"),
    ("sim/workload/a.cc", '"sim/replay/simulation.h"', "not above"),
    ("sim/accounting/a.cc", '"sim/workload/workload.h"', "not above"),
    ("sim/accounting/a.cc", '"sim/replay/simulation.h"', "not above"),
    ("sim/replay/a.cc", '"sim/report/report.h"', "not above"),
    ("sim/report/a.cc", '"sim/cli/options.h"', "not above"),
    # What has one place.
    ("base/check.cc", '"spdlog/spdlog.h"', "only base/log.cc may"),
    ("sim/cli/a.cc", "<spdlog/spdlog.h>", "only base/log.cc may"),
    ("scheduler/a.cc", "<fmt/core.h>", "only base/log.cc may"),
    ("allocator/a.cc", "<cuda_runtime.h>", "only backends/cuda/ may"),
    ("sim/replay/a.cc", "<cub/cub.cuh>", "only backends/cuda/ may"),
    ("scheduler/a.cc", "<zmq.h>", "only backends/zmq/ may"),
    ("tests/base/a.cc", '"sim/trace/loader.h"', "only tests/sim"),
    ("tests/integration/a.cc", '"sim/trace/loader.h"', "only tests/sim"),
    # Paths that mean another file to another compiler.
    ("allocator/a.cc", '"free_block_queue.h"', "starts at the root"),
    ("allocator/a.cc", '"../base/check.h"', "starts at the root"),
    ("allocator/a.cc", '"include/pagedkv/types.h"', "no such file"),
    ("allocator/a.cc", '"allocator/gone.h"', "no such file"),
]

ALLOWED = [
    ("base/log.cc", '"spdlog/spdlog.h"'),
    ("base/a.cc", '"base/check.h"'),
    ("base/a.cc", '"absl/status/status.h"'),
    ("allocator/a.cc", '"base/check.h"'),
    ("allocator/a.cc", '"pagedkv/types.h"'),
    ("block_table/a.cc", '"allocator/free_block_queue.h"'),
    ("scheduler/a.cc", '"block_table/rows.h"'),
    ("scheduler/a.cc", '"pagedkv/block_pool.h"'),
    ("include/pagedkv/scheduler.h", '"pagedkv/kv_cache_manager.h"'),
    ("include/pagedkv/types.h", "<stdint.h>"),
    ("sim/cli/a.cc", '"sim/trace/loader.h"'),
    ("sim/report/a.cc", '"sim/replay/simulation.h"'),
    ("sim/replay/a.cc", '"pagedkv/scheduler.h"'),
    ("sim/accounting/a.cc", '"sim/catalogue/model.h"'),
    ("sim/cli/a.cc", '"simdjson.h"'),
    ("backends/cuda/a.cu", '"backends/cuda/copy.h"'),
    ("backends/cuda/a.cu", '"pagedkv/block_pool.h"'),
    ("backends/redis/a.cc", '"allocator/free_block_queue.h"'),
    ("backends/redis/a.cc", '"pagedkv/scheduler.h"'),
    ("backends/cuda/a.cu", "<cuda_runtime.h>"),
    ("bindings/c/a.cc", '"bindings/c/handle.h"'),
    ("examples/a.cc", '"pagedkv/scheduler.h"'),
    ("tests/allocator/a.cc", '"allocator/free_block_queue.h"'),
    ("tests/allocator/a.cc", '"tests/support/naive_pool.h"'),
    ("tests/allocator/a.cc", '"spdlog/spdlog.h"'),
    ("tests/sim/a.cc", '"sim/trace/loader.h"'),
    ("benchmarks/sim/a.cc", '"sim/trace/loader.h"'),
]


def violations(files):
    """What the script finds in TREE with `files` added or replaced."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for path, text in (TREE | files).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return list(check_layering.violations(root))


class CheckLayeringTest(unittest.TestCase):
    def test_finds_each_forbidden_arrow(self):
        for path, include, complaint in FORBIDDEN:
            with self.subTest(path=path, include=include):
                found = violations({path: f"// x\n#include {include}\n"})
                self.assertEqual(len(found), 1, found)
                self.assertTrue(found[0].startswith(f"{path}:2: "), found[0])
                self.assertIn(complaint, found[0])

    def test_allows_what_the_design_allows(self):
        self.assertEqual(violations({}), [])
        for path, include in ALLOWED:
            with self.subTest(path=path, include=include):
                self.assertEqual(violations({path: f"#include {include}\n"}), [])

    def test_wants_public_headers_flat_and_in_a_module(self):
        self.assertIn("flat", violations({"include/pagedkv/x/a.h": ""})[0])
        self.assertIn("flat", violations({"include/other.h": ""})[0])
        self.assertIn("PUBLIC_HEADERS", violations({"include/pagedkv/a.h": ""})[0])

    def test_wants_to_know_each_part_of_the_simulator(self):
        self.assertIn("sim/extra", violations({"sim/extra/a.cc": ""})[0])

    def test_exits_by_what_it_found(self):
        with tempfile.TemporaryDirectory() as folder:
            base = pathlib.Path(folder, "base")
            base.mkdir()
            command = [sys.executable, str(SCRIPT), folder]
            self.assertEqual(subprocess.run(command, check=False,
                                            capture_output=True).returncode, 0)
            (base / "a.cc").write_text("#include <spdlog/spdlog.h>\n")
            bad = subprocess.run(command, check=False, capture_output=True,
                                 text=True)
            self.assertEqual(bad.returncode, 1)
            self.assertIn("base/a.cc:1: includes spdlog/spdlog.h", bad.stdout)


if __name__ == "__main__":
    unittest.main()
