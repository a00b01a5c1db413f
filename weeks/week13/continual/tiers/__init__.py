"""Benchmarks: each file makes one kind of tasks, with the learner and the score that belong to them."""
