"""Beliefs about the tasks: the update, its columns in memory, priors, history and snapshots."""
