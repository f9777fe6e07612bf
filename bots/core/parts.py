"""The parts of a BOTS: constructed from its settings, grown with the pool, saved and restored together."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bots.adapt import make_adaptor
from bots.allocation.allocator import Allocator
from bots.belief.base import BeliefModel
from bots.belief.columns import Beliefs
from bots.belief.history import History
from bots.belief.models import Modelled, make_posterior
from bots.belief.prior import Prior
from bots.belief.update import Posterior
from bots.evidence import make_evidence
from bots.evidence.base import checked_predict_rows
from bots.pool import TaskPool
from bots.selection import make_selector
from bots.selection.domain_shares import DomainShares
from bots.selection.eligibility import Eligibility
from bots.settings import Settings
from bots.support.arrays import Float32, Rows

T = TypeVar("T")


class Parts:
    """Everything that a BOTS delegates to.

    Raises ValueError for a plug-in that does not exist, does not take its options, or cannot use this pool.
    """

    def __init__(self, pool: TaskPool, settings: Settings, prior: Prior) -> None:
        self.history = History(settings.history)
        self.evidence = make_evidence(settings.evidence, pool, settings.evidence_options)
        self.selector = make_selector(settings.selector, pool, settings.selector_options)
        self.shares = DomainShares(pool, settings.domain_shares)
        self.eligibility = Eligibility(settings.cooldown, settings.retire_above, settings.recheck)
        current = settings.lam, settings.rho, settings.p_star
        self.adaptor = make_adaptor(settings.adaptor, pool, prior.at, *current, settings.adaptor_options)
        named = settings.allocation, pool, settings.allocation_options
        self.allocator = Allocator(*named, settings.rollouts)
        kind = settings.belief, settings.belief_options, settings.forgetting, settings.threads
        self.posterior = make_posterior(pool, prior, self.evidence, self.history, *kind)

    @property
    def beliefs(self) -> Beliefs | BeliefModel:
        """What is believed about every task."""
        return self.posterior.beliefs

    def predict(self, rows: Rows) -> Float32:
        """Implicit pass rates p̃ of the given rows, float32 (len(rows),); NaN without evidence."""
        if self.evidence is None:
            return np.full(len(rows), np.nan, np.float32)
        return checked_predict_rows(self.evidence, rows)

    def grow(
        self, pool: TaskPool, settings: Settings, prior: tuple[npt.ArrayLike, npt.ArrayLike] | None
    ) -> None:
        """The pool gained rows at the end. prior: as in `BOTS.grow`.

        Raises ValueError, with every part unchanged, if the new tasks lack what one of them needs.
        """
        beliefs = self.beliefs
        grown = beliefs.prior.grown(pool, prior)
        shared = beliefs.pool, beliefs.prior
        model = _copy(beliefs, shared) if isinstance(beliefs, BeliefModel) else None
        if model is not None:
            model.grow(pool, grown)
        shares = DomainShares(pool, settings.domain_shares)
        shares.load_state_dict(self.shares.state_dict())
        selector, evidence = _copy(self.selector, shared), _copy(self.evidence, shared)
        adaptor, allocator = _copy(self.adaptor, shared), _copy(self.allocator, shared)
        selector.grow(pool)
        allocator.grow(pool)
        if evidence is not None:
            evidence.grow(pool)
        if adaptor is not None:
            adaptor.grow(pool, grown.at)
        # All parts accepted the new tasks; nothing below can fail.
        if isinstance(self.posterior, Modelled) and model is not None:
            self.posterior.beliefs = model
        elif isinstance(self.posterior, Posterior):
            self.posterior.beliefs.grow(pool, grown)
            self.posterior.evidence = evidence
        self.selector, self.evidence, self.adaptor = selector, evidence, adaptor
        self.shares, self.allocator = shares, allocator

    def state_dict(self) -> dict[str, Any]:
        """The state of every part besides the beliefs, by its name in a snapshot."""
        return {name: part.state_dict() for name, part in self._with_state().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, on parts constructed with the same pool and settings."""
        for name, part in self._with_state().items():
            part.load_state_dict(state.get(name, {}))  # older snapshots lack allocation

    def metrics(self) -> dict[str, float]:
        """The metrics of every part, as "part/name"."""
        parts = {**self._with_state(), "belief": self.beliefs}
        return {
            f"{name}/{key}": value
            for name, part in parts.items()
            for key, value in getattr(part, "metrics", dict)().items()
        }

    def _with_state(self) -> dict[str, Any]:
        parts = {
            "evidence": self.evidence,
            "selector": self.selector,
            "adaptor": self.adaptor,
            "allocation": self.allocator,
            "history": self.history,
            "shares": self.shares,
            "eligibility": self.eligibility,
        }
        return {name: part for name, part in parts.items() if part is not None}


def _copy(part: T, shared: tuple[TaskPool, Prior]) -> T:
    """A copy that shares the pool and the prior, which never change."""
    return deepcopy(part, {id(one): one for one in shared})
