"""Storage: where bytes that are too large for a database are kept."""
