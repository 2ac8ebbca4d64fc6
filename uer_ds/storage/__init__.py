"""Files: whole or absent, JSON, and tensors, opened lazily, read and written one at a time. Imports no other room."""
