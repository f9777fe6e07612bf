"""The run's metrics at Weights & Biases."""

from __future__ import annotations

import contextlib
import netrc
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from actors.trackers.ids import id_of


class WeightsAndBiases:
    """A Weights & Biases run, configured by its own variables (WANDB_PROJECT, WANDB_MODE, WANDB_API_KEY …)."""

    @staticmethod
    def check() -> None:
        """Raise ValueError if there is no key: the client would prompt for one, and an actor has no terminal."""
        if os.environ.get("WANDB_MODE", "online") in ("offline", "disabled", "dryrun"):
            return
        host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
        known = None
        with contextlib.suppress(FileNotFoundError, netrc.NetrcParseError):
            known = netrc.netrc().authenticators(str(host))
        if not (os.environ.get("WANDB_API_KEY") or known):
            raise ValueError(
                f"run.trackers names 'wandb', but there is no key for {host}: run `wandb login`, set WANDB_API_KEY, "
                "or set WANDB_MODE=offline"
            )

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "bots"),
            name=name,
            id=id_of(folder, "wandb", lambda: secrets.token_hex(4)),
            dir=str(folder),
            config=dict(config),
            resume="allow",
            settings=wandb.Settings(console="off", silent=True),
        )
        # W&B's own steps can only increase; ours repeat after a resume.
        self._run.define_metric("training_step")
        self._run.define_metric("*", step_metric="training_step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Queue one step's metrics; another process sends them."""
        self._run.log({**metrics, "training_step": step})

    def close(self) -> None:
        """End the run."""
        self._run.finish()
