# Generated from dirac/client/aio/__init__.py by python -m dirac.client._generate; do not edit.
"""The blocking client, generated."""
