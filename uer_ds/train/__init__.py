"""The training loop and what hangs on it: checkpoints, meter, reports, stopping."""
