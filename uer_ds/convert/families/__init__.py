"""One table of rules per family of models, and how to tell which family a checkpoint belongs to."""
