"""Parts of the job `bots tune`: search space, searchers, trials, results."""
