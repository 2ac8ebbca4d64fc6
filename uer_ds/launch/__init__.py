"""Where a process stands among the others, and how others are started; no torch, no deepspeed."""
