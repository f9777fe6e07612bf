"""The page: one self-contained file with markup, style, script and data."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bots.support.files import replacing

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("elements.js", "charts.js", "tasks.js", "report.js")


def render(data: Mapping[str, Any]) -> str:
    """The page as HTML.

    Text from models and tasks is untrusted. It is in a JSON block that cannot open or close a tag, the script inserts
    it as text only, and the content security policy allows no other script (by hash) and no requests.
    """
    script = "\n".join((ASSETS / name).read_text() for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {
        "POLICY": f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:",
        "STYLE": (ASSETS / "report.css").read_text(),
        "DATA": to_json(data),
        "SCRIPT": script,
    }
    page = (ASSETS / "report.html").read_text()
    # Split before anything is inserted, so that a placeholder in a completion stays text.
    for name in parts:
        page = page.replace(f"@{name}@", f"\x00{name}\x00")
    return "".join(parts.get(piece, piece) for piece in page.split("\x00"))


def to_json(data: Any) -> str:
    """Strict JSON without characters that HTML parsers take for markup; non-finite numbers are null."""
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write(page: str, path: Path) -> None:
    """Write the page atomically."""
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
