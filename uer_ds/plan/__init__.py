"""What a run will take - memory, time, money - before it is started: formulas from the code, checked by measurement."""
