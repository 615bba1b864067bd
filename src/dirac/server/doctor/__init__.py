"""``dirac-server doctor``: is this host's part of the installation sound, and what mends it if not."""
