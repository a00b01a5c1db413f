"""Automatic differentiation twice: `engine` on single numbers (week 1), `tensor` on arrays (week 2)."""
