"""What goes wrong on purpose: each says what happened (`message`) and what to type next (`hint`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class AdapterError(ValueError):
    """Something about a network or a wish that the caller can do something about.

    message: what happened, with the value. hint: what to do or type next, or None.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


class UnknownName(AdapterError):
    """A name that is in no table; lists the known ones, the close ones first.

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
    """No layer can be told to be the network's classifier. candidates: dotted names that could be meant."""

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
    """A head that cannot be built as it was asked for."""


class FrozenChanged(AdapterError):
    """Tensors that were frozen are no longer what they were. names: of the changed tensors."""

    def __init__(self, names: Sequence[str], checked: int) -> None:
        self.names = tuple(names)
        self.checked = checked
        more = "" if len(names) <= 5 else f" and {len(names) - 5} more"
        super().__init__(
            f"{len(names)} of {checked} frozen tensors changed: {', '.join(names[:5])}{more}",
            hint="Freeze with adapters.freeze: requires_grad = False alone lets BatchNorm's statistics move.",
        )
