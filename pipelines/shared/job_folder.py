"""A job's folder: its configuration file says which job it belongs to."""

from __future__ import annotations

from pathlib import Path

import yaml

from bots.config.yaml_text import read_yaml_file

CONFIG = "config.yaml"
"""The job's configuration. It is written first and identifies the folder."""


def kind_of(folder: Path) -> str | None:
    """Which job's configuration is in a folder: "train", "anchors", or None if there is none or an unknown one."""
    try:
        tree = read_yaml_file(folder / CONFIG)
    except (OSError, yaml.YAMLError):
        return None
    if not isinstance(tree, dict):
        return None
    if {"weak", "strong"} <= tree.keys():
        return "anchors"
    return "train" if isinstance(tree.get("run"), dict) and "steps" in tree["run"] else None
