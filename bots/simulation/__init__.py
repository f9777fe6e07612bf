"""A simulated learner that the real selection, evidence and metrics run against, thousands of steps a second."""

from bots.simulation.learner import Law, SimulatedLearner
from bots.simulation.run import Simulation, Trace, simulate
from bots.simulation.world import World, WorldSpec

__all__ = ["Law", "SimulatedLearner", "Simulation", "Trace", "World", "WorldSpec", "simulate"]
