"""The page: one file of markup, style, script and data that asks for nothing else."""

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
SCRIPTS = ("elements.js", "charts.js", "answers.js", "report.js")


def render(data: Mapping[str, Any]) -> str:
    """The page as HTML.

    Text of models and tasks is hostile: it lies in a JSON block in which no tag can open or close, the script
    writes it as text only, and the page's policy lets no script run but this one, by its hash, and no request out.
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
    # Split before anything is filled in: a place holder in somebody's answer is text.
    for name in parts:
        page = page.replace(f"@{name}@", f"\x00{name}\x00")
    return "".join(parts.get(piece, piece) for piece in page.split("\x00"))


def to_json(data: Any) -> str:
    """Strict JSON in which no HTML parser sees markup; numbers that are not finite are null."""
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write(page: str, path: Path) -> None:
    """Write the page; an old one stays whole until the new one is."""
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
