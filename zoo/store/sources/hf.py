"""`hf://OWNER/REPO[@REVISION]/FILE`: a file of a repository on the Hugging Face Hub.

huggingface_hub reports the facts of the file: its commit, its size, and for large files its sha256. The bytes
are downloaded by our own code: the Hub's client checks only their number, and restarts in every process.
$HF_ENDPOINT, $HF_TOKEN and a saved login work as elsewhere.
"""

from __future__ import annotations

import http.client
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from typing import TYPE_CHECKING, TypeVar

from zoo.catalogue.schemes import parse_hub_url
from zoo.errors import DownloadFailed, Offline, UsageError
from zoo.events import Report
from zoo.store.network.answers import PASSING, server_message, wait_of
from zoo.store.network.pace import TooSlow
from zoo.store.network.tries import Passing, ask, check_wait
from zoo.store.remote import Remote, Wanted
from zoo.store.settings import Settings
from zoo.store.trust.addresses import check_address, parse_address

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.errors import HfHubHTTPError

HUB = "https://huggingface.co"
COMMIT = re.compile("[0-9a-f]{40}")
_NEEDS_TOKEN = "A private or gated model needs HF_TOKEN, and its licence accepted on its page."
_NO_TOKEN_SENT = (
    "HF_HUB_DISABLE_IMPLICIT_TOKEN is set, so no token is sent: unset it for a private or gated model."
)
T = TypeVar("T")


def endpoint() -> str:
    """The address of the Hub: $HF_ENDPOINT, else huggingface.co. It is checked like any other."""
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    parse_address(hub)
    return hub


def hub_token() -> str | None:
    """$HF_TOKEN, or a saved login; None with $HF_HUB_DISABLE_IMPLICIT_TOKEN.

    Raises UsageError if a header cannot carry it.
    """
    from huggingface_hub import get_token

    if _sends_no_token():
        return None
    token = get_token()
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError(
            "HF_TOKEN has characters that a token cannot have", hint="Copy it again, or unset it."
        )
    return token


def ask_hub(act: Callable[[], T], name: str, url: str, *, settings: Settings, report: Report) -> T:
    """What `act` gets from the Hub, asked again as often as a download is; its errors become those of zoo.

    name, url: of the model, for messages. Raises DownloadFailed, UsageError, Offline, AddressRefused.
    """

    def once() -> T:
        with _hub_errors(what, name, settings):
            return act()

    what = name if name == url else f"{name}: {url}"
    return ask(once, what=what, settings=settings, report=report)


@contextmanager
def _hub_errors(what: str, name: str, settings: Settings) -> Iterator[None]:
    """Check the Hub's address, and turn errors of huggingface_hub into errors of zoo.

    Raises Passing for a temporary one.
    """
    import httpx2
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    from zoo.store.network.connection import TooManyRedirects

    needs_token = _NO_TOKEN_SENT if _sends_no_token() else _NEEDS_TOKEN
    try:
        check_address(parse_address(endpoint()), resolve=False)
        yield
    except OfflineModeIsEnabled as error:
        raise Offline(f"cannot download {what}: offline mode is on (HF_HUB_OFFLINE)") from error
    except GatedRepoError as error:
        raise DownloadFailed(f"{what} is gated{_words_of(error)}", hint=needs_token) from error
    except RepositoryNotFoundError as error:
        raise DownloadFailed(
            f"{what}: no such repository, or a private one{_words_of(error)}", hint=needs_token
        ) from error
    except RevisionNotFoundError as error:
        raise DownloadFailed(
            f"{what}: no such revision", hint="Name a branch, a tag or a commit, or leave out @…."
        ) from error
    except EntryNotFoundError as error:
        raise DownloadFailed(
            f"{what}: no such file in the repository",
            hint="Its page on the Hub lists the files. A revision is written hf://OWNER/REPO@REVISION/FILE.",
        ) from error
    except HFValidationError as error:
        raise UsageError(f"{what}: {error}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = f"the Hub answers {status}{_words_of(error)}"
        hint = "Try again later, or set HF_ENDPOINT to a mirror."
        if status in PASSING:
            wait = wait_of(_headers_of(error))
            check_wait(wait, f"{what}: {reason}", name, settings)
            raise Passing(reason, wait=wait, hint=hint) from error
        raise DownloadFailed(
            f"{what}: {reason}", hint=needs_token if status in (401, 403) else hint
        ) from error
    except json.JSONDecodeError as error:
        raise DownloadFailed(
            f"{what}: the Hub's answer is not JSON",
            hint="Does the network require a sign-in? Open any page in a browser, then try again.",
        ) from error
    except TooSlow as error:
        raise Passing(str(error)) from error
    except (httpx2.HTTPError, http.client.HTTPException, OSError) as error:
        reason = f"the Hub cannot be reached: {str(error) or type(error).__name__}"
        hint = "Check the connection and HTTPS_PROXY, or set HF_ENDPOINT to a mirror."
        final = isinstance(error, TooManyRedirects | httpx2.TooManyRedirects | httpx2.UnsupportedProtocol)
        if final or "CERTIFICATE_VERIFY_FAILED" in reason:  # httpx2 keeps only the text of ssl's error
            raise DownloadFailed(f"{what}: {reason}", hint=hint) from error
        raise Passing(reason, hint=hint) from error


def _sends_no_token() -> bool:
    """Whether a token may only be sent where the caller states it, as huggingface_hub reads it."""
    return os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "ON", "YES", "TRUE")


def _headers_of(error: HfHubHTTPError) -> Message:
    """The headers of the Hub's answer."""
    headers = Message()
    for name, value in error.response.headers.items():
        headers[name] = value
    return headers


def _words_of(error: HfHubHTTPError) -> str:
    """What the Hub itself says about an error, in brackets; empty if it says nothing."""
    message = server_message(_headers_of(error))
    return "" if message is None else f" ({message})"


def resolve(wanted: Wanted) -> Remote:
    """The URL of the file at a fixed commit, with the size and sha256 that the Hub states.

    An entry that states commit and sha256 needs no request to the Hub: $ZOO_MIRROR can replace it.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    named = parse_hub_url(wanted.url)
    if named.file is None:
        raise UsageError(f"{wanted.entry.name}: {wanted.url} names a repository, not a file of it")
    hub = endpoint()
    revision = wanted.revision or named.revision
    sha256 = wanted.entry.weights.sha256
    if sha256 is not None and revision is not None and COMMIT.fullmatch(revision):
        url = hf_hub_url(named.repo, named.file, revision=revision, endpoint=hub)
        return Remote((url,), token=hub_token(), revision=revision)  # the Hub need not be asked
    token = hub_token()
    file, settings = named.file, wanted.settings

    def describe() -> HfFileMetadata:
        url = hf_hub_url(named.repo, file, revision=revision, endpoint=hub)
        return get_hf_file_metadata(url, token=token or False, endpoint=hub, timeout=settings.read_timeout)

    facts = ask_hub(describe, wanted.entry.name, wanted.url, settings=settings, report=wanted.report)
    commit = facts.commit_hash
    url = hf_hub_url(named.repo, file, revision=commit or revision, endpoint=hub)
    etag = (facts.etag or "").lower()
    sha256 = etag if re.fullmatch("[0-9a-f]{64}", etag) else None  # small files have a git hash instead
    return Remote((url,), bytes=facts.size, sha256=sha256, token=token, revision=commit, origin="the Hub")
