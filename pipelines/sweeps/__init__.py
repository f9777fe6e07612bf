"""The parts of a sweep: search space, searchers, trials, results. The job itself is `pipelines.tune`."""
