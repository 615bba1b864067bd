"""Repositories of files with a history."""
