"""What runs have written, on one page: read it, draw it, set it. Imports no torch."""
