"""Use cases of the identity system."""
