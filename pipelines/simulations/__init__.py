"""The parts of a simulation: configuration, results, picture, fit to real runs. The job is `pipelines.simulate`."""
