"""Files of tensors: opened lazily, read and written one tensor at a time. Needs neither a model nor deepspeed."""
