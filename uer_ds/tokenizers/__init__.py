"""Text -> ids: the tokenizers of UER-py, numpy only (no torch)."""
