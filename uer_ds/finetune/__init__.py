"""Fine-tuning and prediction: a `Task` is a value with a small file of its own; the loop and the engine are those of
pre-training."""
