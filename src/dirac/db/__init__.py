"""Databases: engines, unit of work, events, outbox, migrations; no table of any system."""
