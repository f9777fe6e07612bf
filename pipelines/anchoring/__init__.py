"""Parts of the job `bots anchors`: configuration, blocks of tasks, results, plot."""
