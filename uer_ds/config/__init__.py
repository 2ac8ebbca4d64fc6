"""Frozen configuration objects; parsed once at the door, never changed afterwards."""
