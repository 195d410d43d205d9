"""A study: trials that several processes share, in a journal file or a database, whoever is killed.

A process that is killed leaves its trial running for ever: a journal has no heartbeat. So every trial has a
lease, which its process renews; the trial of a lease that ran out, or of a process of this machine that is
gone, is given up by whoever sees it next. What is finished is never lost: a journal only grows.
"""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import MissingExtra, StorageError, UsageError, ZooError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

NAME = "zoo"
JOURNAL = "study.journal"
LEASE = 90.0
"""Seconds for which a trial is believed to be worked on, without another word of its process."""
CONTENTS = "contents"
"""The fact that has what files of the same names hold."""
_TRIES = 5


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Inside, Optuna logs nothing below a warning, and its warnings about features that may change are not
    shown; afterwards it is as it was. Raises MissingExtra where it is not installed."""
    import warnings

    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("optuna", "tune") from error
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(place: Path | str, facts: Mapping[str, Any]) -> tuple[Study, bool]:
    """The study at a place, and whether it is new. place: a folder, or the URL of a database.

    facts: what a trial depends on besides its values. Raises UsageError where the study that is there was
    made of something else, naming the difference; StorageError where the place cannot be used.
    """
    study, new = _open_or_create(place)
    if new:
        study.set_user_attr("facts", dict(facts))
    _check_facts(study, facts, place)
    return study, new


def _open_or_create(place: Path | str) -> tuple[Study, bool]:
    """The study at a place, and whether this process made it. Two that make one at the same moment disturb
    each other: a database refuses one of them, which then finds what the other made."""
    for wait in (0.1, 0.3, 0.9, 2.7, None):
        try:
            return _load_or_create(_open_storage(place))
        except (OSError, ImportError, ValueError) as error:  # it will not be there a moment later either
            raise _cannot_open(place, error) from error
        except Exception as error:
            if wait is None:
                raise _cannot_open(place, error) from error
            time.sleep(wait * (0.5 + random.random()))
    raise AssertionError


def _open_storage(place: Path | str) -> Any:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if isinstance(place, str):
        return optuna.storages.get_storage(place)
    place.mkdir(parents=True, exist_ok=True)
    return optuna.storages.JournalStorage(JournalFileBackend(str(place / JOURNAL)))


def new_study(storage: Any = None) -> Study:
    """An empty study; None: in memory, for this process alone."""
    import optuna

    return optuna.create_study(study_name=NAME, storage=storage, pruner=_pruner(), direction="maximize")


def _load_or_create(storage: Any) -> tuple[Study, bool]:
    import optuna

    names = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
    if NAME in names:
        return optuna.load_study(study_name=NAME, storage=storage, pruner=_pruner()), False
    return new_study(storage), True


def _pruner() -> Any:
    import optuna

    return optuna.pruners.MedianPruner(n_startup_trials=10)


def _cannot_open(place: Path | str, error: Exception) -> ZooError:
    reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if isinstance(place, Path):
        return StorageError(f"{place} cannot hold a study: {reason}", hint="Name another --out.")
    return UsageError(
        f"the study at {_without_password(place)} cannot be opened: {_without_password(reason)}",
        hint="Like this: --study sqlite:///study.db, or postgresql://USER:PASSWORD@HOST/NAME",
    )


def _check_facts(study: Study, facts: Mapping[str, Any], place: Path | str) -> None:
    """Raise UsageError if the study was made of something else."""
    known: Mapping[str, Any] | None = study.user_attrs.get("facts")
    for _ in range(_TRIES):
        if known is not None:
            break
        time.sleep(0.2)  # whoever creates it at this moment has not written them yet
        known = study.user_attrs.get("facts")
    for name, value in facts.items():
        there = (known or {}).get(name)
        unknown = name == CONTENTS and there is None and known  # a study of an earlier version
        if there != value and not unknown:
            raise UsageError(
                f"the study in {_without_password(str(place))} {_describe_other(name, there, value)}",
                hint="Scores of both cannot be compared: name another --out (or --study).",
            )


def _describe_other(name: str, there: Any, here: Any) -> str:
    """What a study has that is not what it would go on with."""
    if name == CONTENTS:
        return "was made when photographs of the same names held something else"
    return f"has another {name}: {_short(there)}, and this is {_short(here)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _without_password(place: Path | str) -> str:
    return re.sub(r"://([^:/@]+):[^@/]*@", r"://\1:…@", str(place))


def renew_lease(trial: Trial) -> None:
    """State that this process works on the trial."""
    trial.set_user_attr("lease", [socket.gethostname(), os.getpid(), time.time() + LEASE])


def give_up_lost(study: Study) -> int:
    """End the trials whose process is gone; returns how many trials others are working on."""
    from optuna.trial import TrialState

    alive = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_lost(trial):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            alive += 1
    return alive


def _is_lost(trial: FrozenTrial) -> bool:
    lease = trial.user_attrs.get("lease")
    if lease is None:  # killed between two lines, or this moment begun
        began = trial.datetime_start
        return began is None or time.time() - began.timestamp() > LEASE
    host, process, until = lease
    return time.time() > until or (host == socket.gethostname() and not _is_alive(process))


def _is_alive(process: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
