"""Training objectives: how a sample is made from tokens; one file per idea."""
