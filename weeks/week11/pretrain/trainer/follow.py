"""A run in a terminal: a bar, a sentence for everything that is no step, and the exit status."""

import signal

from ..vendor.shared.progress import bar
from .loop import Trainer


def sentence(event, folder) -> str | None:
    """What to say of an event, or None where nothing need be said."""
    values = event.values
    if event.kind == "spike":
        loss = "not finite" if values["loss"] is None else f"{values['loss']:.4f}"
        batches = " and ".join(str(position) for position in values["batches"])
        at = values["step"] + 1
        return f"the loss of step {at} is {loss}, a spike: back to step {event.step}, without batch {batches}"
    if event.kind == "stopped":
        number = values["signal"]
        by = f" by {signal.Signals(number).name}" if number > 0 else ""
        return f"stopped{by} after step {event.step}, which is saved in {folder}; the same command goes on from there"
    if event.kind == "over":
        return (
            f"the checkpoints that must stay are {values['bytes']:,} bytes over the budget of {values['budget']:,}; "
            "give a larger budget"
        )
    return {
        "begin": f"going on from {values.get('from')}" if values.get("from") else f"beginning in {folder}",
        "damaged": values.get("why"),
        "full": values.get("why"),
        "validation": f"step {event.step}: validation loss {values.get('loss', 0):.4f}",
        "sample": f"step {event.step}: {values.get('text')}",
        "done": f"all {event.step} steps are done; the last checkpoint lies in {folder}",
    }.get(event.kind)


def follow(trainer: Trainer, say=print) -> int:
    """Run to the end or to a signal; the exit status: 0, or 128 + the signal's number, as a shell counts."""
    leads, status = trainer.team.leads, 0
    with bar(total=trainer.plan.steps, label="training", unit="step", disable=not leads) as shown:
        for event in trainer.events():
            if event.kind == "step":
                shown.set_postfix(loss=f"{event.values['loss']:.4f}", refresh=False)
            shown.update(event.step - shown.n)  # a spike takes steps back
            if leads and (text := sentence(event, trainer.folder)):
                say(text)
            if event.kind == "stopped" and event.values["signal"] > 0:
                status = 128 + event.values["signal"]
    return status
