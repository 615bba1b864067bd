"""DIRAC, the interware: connects communities with all the computing and storage they have."""
