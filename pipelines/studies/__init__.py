"""Parts of the job `bots study`: configuration, results, comparison, plots, page."""
