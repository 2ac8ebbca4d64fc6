"""Checkpoint formats: tables of names, both directions from one table."""
