"""The job agent and the job wrapper, which run on a worker node."""
