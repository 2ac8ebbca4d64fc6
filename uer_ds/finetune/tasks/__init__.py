"""One file for each task: its data, its head, its scores, its prediction file."""
