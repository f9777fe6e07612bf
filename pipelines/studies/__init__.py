"""The parts of a study: configuration, results, figures, page. The job itself is `pipelines.study`."""
