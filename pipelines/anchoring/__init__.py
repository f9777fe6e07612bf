"""The parts of an anchors job: configuration, blocks of tasks, results, picture. The job is `pipelines.anchors`."""
