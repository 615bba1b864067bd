"""The command `dirac`."""
