"""Use cases of the workload system."""
