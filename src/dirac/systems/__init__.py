"""The systems, each with the same rooms; arrows point to the left in the order of the design."""
