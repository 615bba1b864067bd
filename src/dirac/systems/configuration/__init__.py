"""Configuration: one typed, versioned tree for the whole installation."""
