"""Self-tuning of λ, ρ and p* while training runs."""

from bots.adapt.interface import Adaptor, Predict, PriorCounts, make_adaptor

__all__ = ["Adaptor", "Predict", "PriorCounts", "make_adaptor"]
