"""What a stranger finds beside the code is true: links, versions, the workflow, the hooks, the sdist."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import zoo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
REPOSITORY = PROJECT["project"]["urls"]["Repository"]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob(".github/*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
]


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures, outside code."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


@pytest.mark.parametrize("page", sorted(PAGES), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), flags=re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, link


def test_the_citation_names_this_version_and_this_repository() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == zoo.__version__
    assert citation["repository-code"] == REPOSITORY
    assert citation["license"] == PROJECT["project"]["license"]


def test_everything_names_the_same_repository() -> None:
    for path in [*PAGES, *ROOT.glob(".github/**/*.yml"), ROOT / "CITATION.cff", ROOT / "pyproject.toml"]:
        for owner in re.findall(r"github\.com/([\w-]+/transfer-zoo)", path.read_text("utf-8")):
            assert REPOSITORY.endswith(f"github.com/{owner}"), path


def test_the_workflow_runs_the_gate_on_every_python_that_is_promised() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    job = workflow["jobs"]["gate"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert oldest == min(job["strategy"]["matrix"]["python"], key=lambda version: int(version.split(".")[1]))


def test_the_forms_for_issues_ask_for_something() -> None:
    for path in ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"):
        form = yaml.safe_load(path.read_text("utf-8"))
        assert form["name"]
        assert form["description"]
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert all(field["id"] and field["attributes"]["label"] for field in fields), path


def test_the_hooks_run_what_the_dev_extra_pins() -> None:
    pinned = {
        line.split("==")[0] for line in PROJECT["project"]["optional-dependencies"]["dev"] if "==" in line
    }
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    for hook in local["hooks"]:
        program = hook["entry"].split()[0]
        assert program.startswith(".venv/bin/")
        assert Path(program).name in pinned


def test_the_sdist_lists_only_what_is_there() -> None:
    for path in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert (ROOT / path.lstrip("/")).exists(), path


@pytest.mark.parametrize(
    "path", ["zoo-demo", "zoo-demo-2/run.json", "run/run.json", "docs/_build/html", "reports/a"]
)
def test_what_the_documented_commands_write_is_ignored_by_git(path: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, timeout=30)
    assert done.returncode == 0
