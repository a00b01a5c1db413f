"""ROUGE-L (Lin 2004, section 3): how much of an answer stands in the right one, in the right order.

Tokens are runs of letters and digits, and every other visible character by itself: close to what the SSR paper scores
with. For answers of one word, ROUGE-L is exact match.
"""

import re

TOKEN = re.compile(r"[^\W_]+|[^\s\w]|_")


def rouge_l(answer, gold):
    """F1 of the longest common subsequence of tokens, 0 to 1; 0 where either has no token. Case counts."""
    a, b = TOKEN.findall(answer), TOKEN.findall(gold)
    common = longest_common(a, b)
    return 2 * common / (len(a) + len(b)) if common else 0.0


def longest_common(a, b):
    """Length of the longest sequence that both hold in this order, not necessarily side by side."""
    row = [0] * (len(b) + 1)  # row[j]: of a's items so far and b's first j
    for item in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            diagonal, row[j] = row[j], diagonal + 1 if item == other else max(row[j], row[j - 1])
    return row[-1]
