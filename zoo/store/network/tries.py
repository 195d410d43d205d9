"""How often a request is tried again, and when not: one policy for downloads and for questions to the Hub."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import TypeVar

from zoo.errors import DownloadFailed
from zoo.events import Note, Report
from zoo.store.network.answers import GONE, PASSING, server_message, wait_of
from zoo.store.settings import Settings

SLACK = 64 << 20
T = TypeVar("T")


class Passing(Exception):
    """A try failed for a temporary reason. wait: seconds that the server asked for. hint: for the user."""

    def __init__(self, reason: str, *, wait: float | None = None, hint: str | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.hint = hint


@dataclass
class Effort:
    """The tries and bytes that a transfer has cost so far."""

    tries: int = 0
    fruitless: int = 0
    received: int = 0

    def is_spent(self, settings: Settings, total: int | None) -> bool:
        """Whether to give up: too many fruitless tries, or too many tries or bytes in total."""
        return (
            self.fruitless >= settings.fruitless
            or self.tries >= settings.tries
            or (total is not None and self.received > settings.surplus * total + SLACK)
        )


def check_status(status: int, headers: Message, *, where: str, what: str, settings: Settings) -> None:
    """Raise DownloadFailed for an answer that is an error, Passing if it is temporary.

    where: what is requested, with its address. what: the name that `zoo fetch` takes.
    """
    if status in (200, 206, 416):
        return
    message = server_message(headers)
    if status in GONE:
        raise DownloadFailed(
            f"{where} answers {status}: {message or 'gone, or needs a token'}",
            hint="A private or gated model needs HF_TOKEN. zoo show names the source of the address.",
        )
    because = f" ({message})" if message else ""
    if status not in PASSING:
        raise DownloadFailed(f"{where} answers {status}{because}", hint="Try later, or another mirror.")
    wait = wait_of(headers)
    check_wait(wait, f"{where} answers {status}{because}", what, settings)
    raise Passing(f"the server answers {status}{because}", wait=wait)


def check_wait(wait: float | None, refusal: str, what: str, settings: Settings) -> None:
    """Raise DownloadFailed, with the time, if a server asks for a longer wait than a fetch accepts."""
    if wait is not None and wait > settings.longest_wait:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(min(time.time() + wait, 4e9)))
        raise DownloadFailed(
            f"{refusal} and asks to wait {wait:.0f} s", hint=f"zoo fetch {what} after {when}."
        )


def ask(act: Callable[[], T], *, what: str, settings: Settings, report: Report) -> T:
    """The answer to a small request, which is repeated after each Passing until the effort is spent.

    what: the thing asked about, for messages. Raises DownloadFailed with the last reason.
    """
    effort = Effort()
    while True:
        try:
            return act()
        except Passing as failed:
            effort.tries += 1
            effort.fruitless += 1
            if effort.is_spent(settings, None):
                raise DownloadFailed(
                    f"{what}: {failed}; given up after {effort.tries} tries", hint=failed.hint
                ) from failed
            pause = settings.pause(effort.fruitless) if failed.wait is None else failed.wait
            report(Note(f"{what}: {failed}; next try in {pause:.3g} s"))
            time.sleep(pause)
