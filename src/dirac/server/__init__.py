"""The composition root: settings become applications, workers and admin commands."""
