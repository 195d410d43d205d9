"""The environment in which every test runs: none of the settings of its user, and another home."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DATA = Path(os.environ.get("ZOO_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
KEPT = "ZOO_TEST_"  # what is said to the tests themselves
PREFIXES = (
    "ZOO_",
    "_ZOO_",
    "HF_",
    "HUGGING_FACE_",
    "HUGGINGFACE_",
    "TRANSFORMERS_",
    "TORCH_",
    "TIMM_",
    "GENSIM_",
    "XDG_",
    "SSL_CERT_",
)
NAMES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES", "PYTHONWARNINGS")
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy", "request_method")
HOMES = ("HOME", "USERPROFILE")


def is_setting(name: str) -> bool:
    """Whether a variable could change what a test finds, or let it reach what is the user's.

    >>> is_setting("HF_TOKEN"), is_setting("HTTPS_PROXY"), is_setting("ZOO_TEST_DATA"), is_setting("PATH")
    (True, True, False, False)
    """
    if name.startswith(KEPT):
        return False
    return name.startswith(PREFIXES) or name in NAMES or name.lower() in PROXIES


def clean(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """A copy of an environment without its settings, with another home, and without a page per run."""
    kept = {name: value for name, value in environment.items() if not is_setting(name)}
    return kept | dict.fromkeys(HOMES, str(home)) | {"ZOO_REPORT": "no"}  # a page costs seconds


def use(environment: Mapping[str, str]) -> None:
    """Give this process, and those it starts, an environment."""
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
