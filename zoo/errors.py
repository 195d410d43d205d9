"""Every error that zoo raises on purpose, in one tree.

    ZooError                    exit  1
    ├── UsageError                    2   what was typed cannot be done
    │   ├── UnknownName                   no such model, head, optimizer, …; says the close ones
    │   │   └── UnknownModel
    │   ├── NotAModel                     a name means a file or folder that is neither a model nor a run
    │   ├── InvalidRegistry               a registry file breaks the schema: file, line, field
    │   ├── InvalidRecipe                 every problem of a recipe at once
    │   ├── MissingExtra                  an optional dependency is not installed
    │   ├── LicenseRefused                a policy does not name the licence of a model
    │   └── RunExists                     a run folder is never overwritten
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
    ├── TrainingStopped               6   a fault ended training; what was good is kept
    ├── StorageError                  7   disk full, no permission, a lock that is not released
    │   ├── DiskFull
    │   ├── LockTimeout
    │   └── SourceMissing                 a file of this machine that a registry names is not there
    ├── SomeFailed                    …   some of several things failed; the exit code of the first
    └── Interrupted                 130   Ctrl-C (143 for SIGTERM)

The library raises facts: a message that says what happened, with the value, and a hint that says what to
type next. The command line words them; a traceback is shown only with --debug.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any


class ZooError(Exception):
    """Something that the user can do something about.

    message: what happened, with the value. hint: what to do or type next, or None.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class UsageError(ZooError):
    """What was asked for cannot be done as it was asked."""

    exit_code = 2


class BrokenPlugin(ZooError):
    """What another package adds does not work: only the models that need it are affected."""


class UnknownName(UsageError):
    """A name that is in no table. Lists up to three close ones, else all when they are few.

    close: the names that may have been meant, where whoever raises knows better than the spelling does.

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


class InvalidRecipe(UsageError):
    """A recipe with problems; all of them are listed at once in `problems`."""

    def __init__(self, problems: Sequence[str], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
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
    """The run folder is there already; the hint names the next free one."""


class IntegrityError(ZooError):
    """A file is not what it should be, or is not safe to open."""

    exit_code = 3


class HashMismatch(IntegrityError):
    """The bytes are not the published ones."""

    def __init__(self, what: str, *, expected: str, got: str, hint: str | None = None) -> None:
        self.expected = expected
        self.got = got
        super().__init__(f"{what}: wrong bytes: expected {expected}, got {got}", hint=hint)


class SizeMismatch(IntegrityError):
    """A file has another length than it must have (bytes)."""

    def __init__(self, what: str, *, expected: int, got: int, hint: str | None = None) -> None:
        self.expected = expected
        self.got = got
        super().__init__(f"{what}: wrong size: expected {expected:,} bytes, got {got:,}", hint=hint)


class UnsafeFile(IntegrityError):
    """Opening the file could run code that somebody put in it."""


class WeightsMismatch(IntegrityError):
    """Weights that do not fit the network: loading them would leave parts of it silently random."""


class NetworkError(ZooError):
    """A server could not be reached, or did not give what it should."""

    exit_code = 4


class Offline(NetworkError):
    """Something is not in the store, and offline mode forbids to look elsewhere."""


class AddressRefused(NetworkError):
    """A URL that is never opened: wrong scheme, or an address on a private network."""


class DownloadFailed(NetworkError):
    """Every try failed; what came so far is kept for the next one."""


class DatasetError(ZooError):
    """The data are not usable as they are: says what was found and what is expected."""

    exit_code = 5


class UnreadableFile(DatasetError):
    """One file that cannot be read as what it claims to be. reason: what is wrong, without the name."""

    def __init__(self, message: str, *, hint: str | None = None, reason: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = message if reason is None else reason


class TrainingStopped(ZooError):
    """A fault ended training; the last good weights are kept.

    result: what training came to until then, a `zoo.training.loop.FitResult`; None if it had not begun.
    """

    exit_code = 6

    def __init__(self, message: str, *, hint: str | None = None, result: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


class StorageError(ZooError):
    """The disk or its permissions are in the way."""

    exit_code = 7


class DiskFull(StorageError):
    """Not enough room: says how much is needed, how much is free, and where."""


class LockTimeout(StorageError):
    """Another process holds the lock for longer than we were told to wait."""


class SourceMissing(StorageError):
    """A file of this machine that a registry names is not there, or is no regular file."""


class SomeFailed(ZooError):
    """Several things were asked for and some failed; the exit code is that of the first failure.

    failures: what was asked for -> why it failed.
    """

    def __init__(self, message: str, failures: Mapping[str, ZooError], *, hint: str | None = None) -> None:
        self.failures = dict(failures)
        reasons = [str(e) if str(e).startswith(name) else f"{name}: {e}" for name, e in failures.items()]
        listed = "".join("\n  - " + reason.replace("\n", "\n    ") for reason in reasons)
        super().__init__(f"{message}:{listed}", hint=hint)
        self.exit_code = next(iter(failures.values())).exit_code


class Interrupted(ZooError):
    """The user pressed Ctrl-C, or the system sent SIGTERM; what was done so far is kept."""

    exit_code = 130

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = 130) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def close_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that look most like `name`, best first.

    Leading dashes do not count, and of a name of up to four letters the first must be right: the rest alone
    is like too much (`run` like `prune`).

    >>> close_names("resnet81", ["resnet18", "vgg16"])
    ['resnet18']
    >>> close_names("--model", ["--min-delta"]), close_names("run", ["prune", "rum"])
    ([], ['rum'])
    """
    typed = name.lower().lstrip("-")
    plain = {k.lower().lstrip("-"): k for k in known}
    if 0 < len(typed) <= 4:
        plain = {k: v for k, v in plain.items() if k.startswith(typed[0])}
    return [plain[m] for m in get_close_matches(typed, plain, n=most, cutoff=0.6)]


def join_names(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> join_names(["a", "b", "c"])
    'a, b or c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
