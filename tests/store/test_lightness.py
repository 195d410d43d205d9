"""What is imported for which verb: the store is in the way of `zoo list`, so it must weigh nothing."""

from __future__ import annotations

import subprocess
import sys

STANDARD = {"http.client", "ssl", "urllib.request"}
HEAVY = sorted(STANDARD | {"torch", "httpx2", "huggingface_hub", "filelock", "safetensors", "numpy"})


def loaded_by(code: str) -> set[str]:
    """Which of HEAVY a piece of code imports, in a fresh process."""
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_opening_a_store_and_looking_for_a_model_imports_nothing_heavy() -> None:
    assert (
        loaded_by(
            "from zoo.store.store import open_store\n"
            "from zoo.catalogue.registry import load_registry\n"
            "store = open_store()\n"
            "[store.find(entry) for entry in load_registry().curated()]"
        )
        == set()
    )


def test_a_download_needs_the_standard_library_alone() -> None:
    assert loaded_by("import zoo.store.network.download") <= STANDARD
