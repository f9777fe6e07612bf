"""Parts of the job `bots train`."""
