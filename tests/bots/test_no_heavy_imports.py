"""The storeys: nothing in bots/ imports ray, vllm or deepspeed, and `import bots` is light."""

from __future__ import annotations

import subprocess
import sys

BLOCK = """
import sys
class Without:
    # As if the packages were not installed: what only asks whether they are there is told no.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked} else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def run(code, blocked):
    script = BLOCK.format(blocked=set(blocked)) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)


def test_every_module_without_ray_vllm_deepspeed():
    code = """
import importlib, pkgutil, bots
names = [m.name for m in pkgutil.walk_packages(bots.__path__, "bots.", onerror=lambda name: None)]
for name in names:
    if name.endswith("__main__"):
        continue
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):  # the latter from the lazy modules of trl and transformers
        # An adapter whose trainer is not installed, or itself needs one of the three: that one, and no other module.
        if not name.startswith("bots.adapters."):
            raise
print(len(names))
"""
    done = run(code, ["ray", "vllm", "deepspeed"])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_the_library_needs_only_numpy_and_pyarrow_to_import():
    code = """
import time
start = time.perf_counter()
from bots import BOTS, TaskPool
print(f"from bots import BOTS, TaskPool: {time.perf_counter() - start:.2f} s")
assert "numba" not in sys.modules
"""
    done = run(code, ["ray", "vllm", "deepspeed", "torch", "transformers", "pydantic", "pandas", "scipy"])
    assert done.returncode == 0, done.stderr
    print(done.stdout)
