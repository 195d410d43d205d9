"""The errors of adapters: each has a message (what happened) and a hint (what to type next)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class AdapterError(ValueError):
    """The base of the errors of adapters: something about a network or an argument that the caller can fix.

    Args:
        message: What happened, with the value.
        hint: What to do or type next; None if there is nothing to suggest.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class UnknownName(AdapterError):
    """A name that is not in a table. The hint lists the known names, a close one first.

    Args:
        kind: What the name stands for, such as `head`.
        name: The unknown name.
        known: Every known name.

    >>> print(UnknownName("head", "cosinus", ["linear", "mlp", "cosine"]))
    no head 'cosinus'
    Did you mean cosine? There are: linear, mlp, cosine
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = list(known)
        close = get_close_matches(str(name), names, n=1)
        guess = f"Did you mean {close[0]}? " if close else ""
        super().__init__(f"no {kind} {name!r}", hint=f"{guess}There are: {', '.join(names)}")


class NoClassifier(AdapterError):
    """The network's classifier cannot be identified.

    Args:
        message: What happened.
        candidates: Dotted names of layers that could be the classifier.
    """

    def __init__(self, message: str, candidates: Sequence[str]) -> None:
        self.candidates = tuple(candidates)
        listed = ", ".join(self.candidates)
        super().__init__(
            message,
            hint=f"Name the layer: attach_head(model, classes, at=…), one of: {listed}"
            if listed
            else "End the network with nn.Identity() named `fc`, or with an nn.Linear.",
        )


class InvalidHead(AdapterError):
    """A head that cannot be built with the given arguments."""


class FrozenChanged(AdapterError):
    """Frozen tensors have changed.

    Args:
        names: Dotted names of the changed tensors.
        checked: How many tensors were compared.
    """

    def __init__(self, names: Sequence[str], checked: int) -> None:
        self.names = tuple(names)
        self.checked = checked
        more = "" if len(names) <= 5 else f" and {len(names) - 5} more"
        super().__init__(
            f"{len(names)} of {checked} frozen tensors changed: {', '.join(names[:5])}{more}",
            hint="Freeze with adapters.freeze: requires_grad = False alone lets BatchNorm's statistics move.",
        )
