"""Computing elements: whatever starts a pilot when it is asked to."""
