"""Weeks 3 and 4: language models of single letters that invent names, from a table of counts to recurrent networks."""
