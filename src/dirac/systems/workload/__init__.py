"""Workload: jobs, from submission to their outputs, and the pilots that run them."""
