"""The parts of a study: configuration, results, metrics, page. The job itself is `pipelines.study`."""
