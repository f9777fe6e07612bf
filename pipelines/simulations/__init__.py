"""Parts of the job `bots simulate`: configuration, results, plots, fit to real runs."""
