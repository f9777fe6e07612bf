"""A simulated learner for the real selection, evidence and metrics: thousands of steps per second."""

from bots.simulation.learner import Law, SimulatedLearner
from bots.simulation.run import Simulation, Trace, simulate
from bots.simulation.world import World, WorldSpec

__all__ = ["Law", "SimulatedLearner", "Simulation", "Trace", "World", "WorldSpec", "simulate"]
