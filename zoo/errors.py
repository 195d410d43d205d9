"""Every error that zoo raises on purpose, in one tree.

    ZooError                    exit  1
    ├── UsageError                    2   the request cannot be carried out
    │   ├── WrongValue                    a value that cannot be used: a ValueError as well
    │   │   ├── UnknownName               no such model, head, optimizer, …; lists the close ones
    │   │   │   └── UnknownModel
    │   │   └── InvalidRecipe             every problem of a recipe at once
    │   ├── NotAModel                     a name means a file or folder that is neither a model nor a run
    │   ├── InvalidRegistry               a registry file breaks the schema: file, line, field
    │   ├── MissingExtra                  an optional dependency is not installed
    │   ├── LicenseRefused                a policy does not name the licence of a model
    │   ├── RunExists                     a run folder is never overwritten
    │   └── ResumeRefused                 a run would go on with something else than it began with
    ├── BrokenPlugin                  1   a URL scheme or architecture of another package does not work
    ├── IntegrityError                3   a file is not what it should be, or is not safe to open
    │   ├── HashMismatch
    │   ├── SizeMismatch
    │   ├── UnsafeFile
    │   └── WeightsMismatch               weights do not fit the network they are loaded into
    ├── NetworkError                  4
    │   ├── Offline
    │   ├── AddressRefused
    │   └── DownloadFailed
    ├── DatasetError                  5
    │   └── UnreadableFile
    ├── TrainingStopped               6   a fault ended training; the last good weights are kept
    ├── StorageError                  7   disk full, no permission, a lock that is not released
    │   ├── DiskFull
    │   ├── LockTimeout
    │   └── SourceMissing                 a local file that a registry names does not exist
    ├── SomeFailed                    …   some of several things failed; the exit code of the first
    └── Interrupted                 130   Ctrl-C (143 for SIGTERM)

The library raises facts: a message that states what happened, with the value, and a hint with what to type
next. The command line prints them; a traceback is shown only with --debug.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class ZooError(Exception):
    """The base of every error that zoo raises on purpose: something that the user can act on.

    Args:
        message: What happened, with the value.
        hint: What to do or type next; None if there is nothing to suggest.

    Attributes:
        message: As given.
        hint: As given.
        exit_code: The exit code of the command line for this kind of error.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        # The usual way calls the class with what Exception got: the message alone. An error that cannot be
        # unpickled leaves a multiprocessing.Pool waiting for ever.
        return _rebuild, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


def _rebuild(kind: type[ZooError], args: tuple[object, ...]) -> ZooError:
    """An error that was pickled, before its attributes are set."""
    error = kind.__new__(kind)
    error.args = args
    return error


class UsageError(ZooError):
    """The request cannot be carried out as it was made."""

    exit_code = 2


class WrongValue(UsageError, ValueError):
    """A value that cannot be used, also for code that catches ValueError, as Python and gensim raise it."""


class BrokenPlugin(ZooError):
    """A scheme or architecture of another package fails; only the models that need it are affected."""


class UnknownName(WrongValue):
    """A name that is not in a table. The hint lists up to three close names, else all when they are few.

    Args:
        kind: What the name stands for, such as `optimizer`.
        name: The unknown name.
        known: Every known name.
        close: The names to suggest, where the caller knows better than the spelling.
        see: The command that lists all names.

    >>> print(UnknownName("optimizer", "adan", ["adam", "adamw", "sgd"]))
    no optimizer 'adan'
    Did you mean adam or adamw?
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str] = (),
        *,
        close: Sequence[str] | None = None,
        see: str | None = None,
    ) -> None:
        self.name = name
        names = list(known)
        self.close = close_names(name, names) if close is None else list(close)
        if self.close:
            hint = f"Did you mean {join_names(self.close)}?"
        elif 0 < len(names) <= 12:
            hint = f"There are: {', '.join(names)}."
        else:
            hint = ""
        if see:
            hint = f"{hint} See: {see}".strip()
        super().__init__(f"no {kind} {name!r}", hint=hint or None)


class UnknownModel(UnknownName):
    """No model of that name in any registry, and no pretrained tag of timm or torchvision."""

    def __init__(self, name: str, known: Iterable[str] = (), *, close: Sequence[str] | None = None) -> None:
        super().__init__("model", name, known, close=close, see="zoo list")


class NotAModel(UsageError):
    """A name that means data, where a model or a run is expected. what: "a folder of images"."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        self.what = what
        super().__init__(
            f"{name} is {what}, not a model or a run",
            hint="The model comes before the data: zoo finetune MODEL DATA --out run\nModels: zoo list",
        )


class InvalidRegistry(UsageError):
    """A registry file that breaks the schema; the message starts with file:line and names the field."""


class InvalidRecipe(WrongValue):
    """A recipe with problems; all of them are listed at once in `problems`, as Python code names things.

    found: the same as they were given, so that the command line can name things as they are typed there.
    """

    def __init__(self, problems: Sequence[object], *, hint: str | None = None) -> None:
        self.found = tuple(problems)
        self.problems = tuple(map(str, problems))
        if len(self.problems) == 1:
            message = self.problems[0]
        else:
            message = f"{len(self.problems)} problems:\n" + "\n".join(f"  - {p}" for p in self.problems)
        super().__init__(message, hint=hint)


class MissingExtra(UsageError):
    """A feature whose optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package}, which is not installed",
            hint=f"Install it: pip install 'transfer-zoo[{extra}]'",
        )


class LicenseRefused(UsageError):
    """A model whose licence is not among those that may be used; nothing of it was downloaded."""


class RunExists(UsageError):
    """The run folder exists already; the hint names the next free one."""


class ResumeRefused(UsageError):
    """An unfinished run that would go on with something else than it began with.

    differences: what is not the same, a sentence each.
    """

    def __init__(self, run: object, differences: Sequence[str], *, hint: str | None = None) -> None:
        self.differences = tuple(differences)
        listed = "".join(f"\n  - {difference}" for difference in self.differences)
        super().__init__(f"{run} did not begin with what it would go on with:{listed}", hint=hint)


class IntegrityError(ZooError):
    """A file has the wrong bytes, or is not safe to open."""

    exit_code = 3


class HashMismatch(IntegrityError):
    """The bytes are not the published ones."""

    def __init__(self, what: str, *, expected: str, got: str, hint: str | None = None) -> None:
        self.expected = expected
        self.got = got
        super().__init__(f"{what}: wrong bytes: expected {expected}, got {got}", hint=hint)


class SizeMismatch(IntegrityError):
    """A file has the wrong length, in bytes."""

    def __init__(self, what: str, *, expected: int, got: int, hint: str | None = None) -> None:
        self.expected = expected
        self.got = got
        super().__init__(f"{what}: wrong size: expected {expected:,} bytes, got {got:,}", hint=hint)


class UnsafeFile(IntegrityError):
    """Opening the file could run code that is hidden in it."""


class WeightsMismatch(IntegrityError):
    """Weights that do not match the network: loading them would silently leave parts of it random."""


class NetworkError(ZooError):
    """A server could not be reached, or did not send the file."""

    exit_code = 4


class Offline(NetworkError):
    """Something is not in the store, and offline mode forbids the network."""


class AddressRefused(NetworkError):
    """A URL that is never opened: wrong scheme, or an address on a private network."""


class DownloadFailed(NetworkError):
    """Every try failed; what came so far is kept for the next one."""


class DatasetError(ZooError):
    """The data cannot be used as they are: states what was found and what is expected."""

    exit_code = 5


class UnreadableFile(DatasetError):
    """One file that cannot be read as what it claims to be. reason: what is wrong, without the name."""

    def __init__(self, message: str, *, hint: str | None = None, reason: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = message if reason is None else reason


class TrainingStopped(ZooError):
    """A fault ended training; the last good weights are kept.

    result: the training until then, a `zoo.training.loop.FitResult`; None if it had not begun.
    """

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None, result: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class StorageError(ZooError):
    """The disk is full, a permission is missing, or a lock is held."""

    exit_code = 7


class DiskFull(StorageError):
    """Not enough space: states how much is needed, how much is free, and where."""


class LockTimeout(StorageError):
    """Another process held the lock for longer than the time limit."""


class SourceMissing(StorageError):
    """A local file that a registry names does not exist, or is not a regular file."""


class SomeFailed(ZooError):
    """Some of several requests failed; the exit code is that of the first failure.

    failures: request -> why it failed.
    """

    def __init__(self, message: str, failures: Mapping[str, ZooError], *, hint: str | None = None) -> None:
        self.failures = dict(failures)
        reasons = [str(e) if str(e).startswith(name) else f"{name}: {e}" for name, e in failures.items()]
        listed = "".join("\n  - " + reason.replace("\n", "\n    ") for reason in reasons)
        super().__init__(f"{message}:{listed}", hint=hint)
        self.exit_code = next(iter(failures.values())).exit_code


class Interrupted(ZooError):
    """The user pressed Ctrl-C, or the system sent SIGTERM."""

    exit_code = 130

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = 130) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def close_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that look most like `name`, best first.

    Leading dashes do not count. The first letter of a name of up to four letters must match: the rest alone
    is similar to too much (`run` to `prune`).

    >>> close_names("resnet81", ["resnet18", "vgg16"])
    ['resnet18']
    >>> close_names("--model", ["--min-delta"]), close_names("run", ["prune", "rum"])
    ([], ['rum'])
    """
    from difflib import get_close_matches

    lowered = name.lower().lstrip("-")
    plain = {k.lower().lstrip("-"): k for k in known}
    if 0 < len(lowered) <= 4:
        plain = {k: v for k, v in plain.items() if k.startswith(lowered[0])}
    return [plain[m] for m in get_close_matches(lowered, plain, n=most, cutoff=0.6)]


def join_names(names: Sequence[str]) -> str:
    """Names joined for a sentence.

    >>> join_names(["a", "b", "c"])
    'a, b or c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
