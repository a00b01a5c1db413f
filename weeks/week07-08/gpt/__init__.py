"""Weeks 7 and 8: the GPT, from three ways to compute attention to text that it writes."""
