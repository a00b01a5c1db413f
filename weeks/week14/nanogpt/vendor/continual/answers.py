# vendored from weeks/week13/continual/answers.py, sha256 cfce38485885b173b5f58179d6784bfdf7724dde33bef061d5f1ab0470f70d40; edit there, then run: make vendor
"""Rows answered anew: the prompts stay, the responses are what the model says now."""

from .rows import Rows


def answer_rows(learner, rows):
    """(rows with the model's own greedy answers, the answers as lists of ids).

    An answer gets as many tokens as the longest response in the rows. Where the model says nothing, the row stays as it
    was: training on an empty answer would teach silence.
    """
    text = learner.needs_text("answering rows")
    prompts, width = text.prompts(rows), rows.ids.shape[1]
    if not prompts:
        return rows, []
    answers = learner.generate(prompts, max(map(len, text.responses(rows))))
    ids, judged = rows.ids.clone(), rows.judged.clone()
    for i, (prompt, answer) in enumerate(zip(prompts, answers)):
        said = [*answer, text.end][: width - len(prompt)]
        if answer:
            ids[i, len(prompt) :], judged[i] = 0, False
            place = slice(len(prompt), len(prompt) + len(said))
            ids[i, place], judged[i, place] = ids.new_tensor(said), True
    return Rows(**{**rows.tensors, "ids": ids, "judged": judged}), answers
