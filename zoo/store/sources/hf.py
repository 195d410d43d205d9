"""`hf://OWNER/REPO[@REVISION]/FILE`: a file of a repository on the Hugging Face Hub.

huggingface_hub reports the facts of the file: its commit, its size, and for large files its sha256. The bytes
are downloaded by our own code: the Hub's client checks only their number, and restarts in every process.
$HF_ENDPOINT, $HF_TOKEN and a saved login work as elsewhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from zoo.catalogue.schemes import parse_hub_url
from zoo.errors import DownloadFailed, Offline, UsageError
from zoo.store.remote import Remote, Wanted
from zoo.store.trust.addresses import check_address, parse_address

HUB = "https://huggingface.co"
COMMIT = re.compile("[0-9a-f]{40}")


def endpoint() -> str:
    """The address of the Hub: $HF_ENDPOINT, else huggingface.co. It is checked like any other."""
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    parse_address(hub)
    return hub


def hub_token() -> str | None:
    """$HF_TOKEN, or a saved login. Raises UsageError if a header cannot carry it."""
    from huggingface_hub import get_token

    token = get_token()
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError(
            "HF_TOKEN has characters that a token cannot have", hint="Copy it again, or unset it."
        )
    return token


@contextmanager
def hub_errors(name: str, url: str) -> Iterator[None]:
    """Check the Hub's address, and turn errors of huggingface_hub into errors of zoo."""
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

    needs_token = "A private or gated model needs HF_TOKEN, and its licence accepted on its page."
    what = name if name == url else f"{name}: {url}"
    try:
        check_address(parse_address(endpoint()), resolve=False)
        yield
    except OfflineModeIsEnabled as error:
        raise Offline(f"cannot download {what}: offline mode is on (HF_HUB_OFFLINE)") from error
    except GatedRepoError as error:
        raise DownloadFailed(f"{what} is gated", hint=needs_token) from error
    except RepositoryNotFoundError as error:
        raise DownloadFailed(f"{what}: no such repository, or a private one", hint=needs_token) from error
    except RevisionNotFoundError as error:
        raise DownloadFailed(
            f"{what}: no such revision", hint="Name a branch, a tag or a commit, or leave out @…."
        ) from error
    except EntryNotFoundError as error:
        raise DownloadFailed(
            f"{what}: no such file in the repository", hint="Its page on the Hub lists the files."
        ) from error
    except HFValidationError as error:
        raise UsageError(f"{what}: {error}") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        hint = needs_token if status in (401, 403) else "Try again later, or set HF_ENDPOINT to a mirror."
        raise DownloadFailed(f"{what}: the Hub answers {status}", hint=hint) from error
    except (httpx2.HTTPError, OSError) as error:
        raise DownloadFailed(
            f"{what}: the Hub cannot be reached: {str(error) or type(error).__name__}",
            hint="Check the connection and HTTPS_PROXY, or set HF_ENDPOINT to a mirror.",
        ) from error


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
    with hub_errors(wanted.entry.name, wanted.url):
        url = hf_hub_url(named.repo, named.file, revision=revision, endpoint=hub)
        token = hub_token()
        facts = get_hf_file_metadata(url, token=token or False, endpoint=hub)
    commit = facts.commit_hash
    if commit is not None:
        url = hf_hub_url(named.repo, named.file, revision=commit, endpoint=hub)
    etag = (facts.etag or "").lower()
    sha256 = etag if re.fullmatch("[0-9a-f]{64}", etag) else None  # small files have a git hash instead
    return Remote((url,), bytes=facts.size, sha256=sha256, token=token, revision=commit, origin="the Hub")
