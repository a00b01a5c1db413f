"""A run on several processes: checkpoints in shards, the run itself, and the command that torchrun starts."""
