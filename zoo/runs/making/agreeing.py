"""Whether several processes, maybe on several machines, are about to make the same run."""

from __future__ import annotations

import hashlib

import msgspec

from zoo.errors import UsageError
from zoo.runs.making.unfinished import facts_of
from zoo.runs.plan import NOBODY, Plan
from zoo.training.processes import Processes


def check_equal_plans(plan: Plan, processes: Processes) -> None:
    """Raise UsageError, in every process, unless all have the same recipe, model, items and versions."""
    together = msgspec.structs.replace(NOBODY, checkpoint_every=plan.request.checkpoint_every)
    facts = msgspec.to_builtins(msgspec.structs.replace(facts_of(plan), request=together))
    digests = {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in facts.items()}
    found = [msgspec.json.decode(part) for part in processes.gather(msgspec.json.encode(digests))]
    for rank, other in enumerate(found):
        names = [name for name, digest in other.items() if digest != found[0][name]]
        if names:
            processes.take_leave()
            raise UsageError(
                f"process {rank} of this run has another {names[0].replace('_', ' ')} than process 0",
                hint="Every machine needs the same command, data and versions (zoo doctor).",
            )
