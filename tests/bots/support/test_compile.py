"""Compiled code on disk: reused, and not once a module that it calls into has changed."""

from __future__ import annotations

import os
import subprocess
import sys

CALLEE = "from bots.support.compile import compiled\n\n@compiled\ndef height(x):\n    return {}\n"
MIDDLE = (
    "from callee import height\nfrom bots.support.compile import compiled\n\n"
    "@compiled\ndef twice(x):\n    return 2.0 * height(x)\n"
)
CALLER = (
    "from middle import twice\nfrom bots.support.compile import compiled\n\n"
    "@compiled\ndef more(x):\n    return twice(x) + 1.0\n\n"
    "print(more(3.0), sum(more.stats.cache_hits.values()))\n"
)


def test_compiled_code_expires_with_what_it_calls(tmp_path):
    """`more` calls `twice`, of another module, and that calls `height`, of a third; only the third changes."""
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def printed() -> list[str]:
        run = [sys.executable, str(tmp_path / "caller.py")]
        return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout.split()

    for name, text in (("callee", CALLEE.format("x")), ("middle", MIDDLE), ("caller", CALLER)):
        (tmp_path / f"{name}.py").write_text(text)
    assert printed() == ["7.0", "0"]
    assert printed() == ["7.0", "1"], "from the disk"
    (tmp_path / "callee.py").write_text(CALLEE.format("10.0 * x"))
    assert printed() == ["61.0", "0"]
