"""Requests to the engines, the rollouts they return, encoded prompts, and the ledger of tasks."""
