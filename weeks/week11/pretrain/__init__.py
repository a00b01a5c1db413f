"""Pre-training that survives anything, and an evaluation that others agree with."""
