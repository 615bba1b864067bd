"""Tables and queries of the workload system."""
