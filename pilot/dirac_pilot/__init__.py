"""The pilot: turns a slot on a worker node into a place where jobs can run.

Runs on whatever Python the node has (2.7, 3.6 and later), with the standard library only.
"""
