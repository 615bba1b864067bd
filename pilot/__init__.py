"""The pilot's sources, and the programs that build it and lay out releases (Python 3 only)."""
