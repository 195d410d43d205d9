"""The README and the pages of docs/ are true: every command and every piece of Python in them runs.

They run on the real data where these are, and what a command prints is compared with what the page shows,
numbers left open; elsewhere on the tiny set. A command under `<!-- needs network -->` is not run: its
options are parsed.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import shlex
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
import yaml
from support.desk import lay_desk, lay_tiny_desk
from support.environment import DATA
from test_floors import HEIGHT

from zoo import errors
from zoo.cli.main import cli, main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
DEMO = "zoo demo"  # it brings its own data and takes half a minute: a test of its own
PHOTOS = 40  # of each class and part: the whole set takes three times as long
BLOCK = re.compile(
    r"^(?P<mark><!-- needs network -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [
        block["text"] for block in BLOCK.finditer(page.read_text("utf-8")) if block["language"] == language
    ]


@dataclass(frozen=True)
class Step:
    """A command of a page, and the lines that are shown below it."""

    command: str
    shown: tuple[str, ...]
    network: bool = False

    @property
    def fails(self) -> bool:
        return any(line.startswith("error: ") for line in self.shown)


def steps(page: Path) -> Iterator[Step]:
    """The commands of a page, in order."""
    for block in BLOCK.finditer(page.read_text("utf-8")):
        if block["language"] == "console":
            for session in re.split(r"^\$ ", block["text"], flags=re.M)[1:]:
                command, *shown = session.splitlines()
                yield Step(command, tuple(line for line in shown if line.strip()), bool(block["mark"]))


@dataclass
class Desk:
    """A folder as the reader has it, and what each command printed in it: none is run twice."""

    folder: Path
    real: bool
    printed: dict[str, tuple[int, str]] = field(default_factory=dict)

    def run(self, command: str) -> tuple[int, str]:
        """The exit code of a command, and what it left on the terminal."""
        if command not in self.printed:
            self.printed[command] = self._run(command)
        return self.printed[command]

    def _run(self, command: str) -> tuple[int, str]:
        words = shlex.split(command)
        settings = {}
        while "=" in words[0]:
            name, _, settings[name] = words.pop(0).partition("=")
        target = words.pop() if words[-2:-1] == [">"] else None
        if target:
            words.pop()
        assert words.pop(0) == "zoo", command
        with self.at(settings) as (out, err):
            handler = signal.getsignal(signal.SIGTERM)
            try:
                main(words)
            except SystemExit as left:
                code = left.code
            finally:
                signal.signal(signal.SIGTERM, handler)
        if target:
            (self.folder / target).write_bytes(out.buffer.getvalue())
        return int(code or 0), text(err) + text(out)

    def execute(self, code: str) -> str:
        """What a piece of Python prints, in a namespace of its own."""
        with self.at({}) as (out, _):
            exec(compile(code, "documentation", "exec"), {"__name__": "__main__"})
        return text(out)

    @contextlib.contextmanager
    def at(self, settings: dict[str, str]) -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
        """Sit down at the desk: its folder, its settings, and what is written to stdout and stderr there."""
        settings = {"ZOO_HOME": str(self.folder / "home"), "ZOO_REGISTRY": "registry.yaml"} | settings
        streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.folder):
            for name, value in settings.items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
                yield streams[0], streams[1]


def text(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]


def opened(line: str) -> str:
    """A line with its numbers and what is in parentheses left open, and its spaces as one."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,.]*|(?<=\()[^)]*", "#", line)).strip()


def missing(shown: tuple[str, ...], printed: str) -> list[str]:
    """The shown lines that a command does not print, in their order. `…` stands for anything."""
    lines = iter([opened(line) for line in printed.splitlines()])
    lost = []
    for line in shown:
        pattern = re.escape(opened(line)).replace("…", ".*")
        if not any(re.fullmatch(pattern, other) for other in lines):
            lost.append(line)
    return lost


@pytest.fixture(
    scope="module", params=[pytest.param("real", marks=pytest.mark.slow) if DATA.is_dir() else "tiny"]
)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    if request.param == "tiny":
        lay_tiny_desk(folder, request.getfixturevalue("tiny"))
    else:
        lay_desk(folder, request.getfixturevalue("data"), photos=PHOTOS)
    return Desk(folder, request.param == "real")


def names(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.thorough
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_command_runs_and_prints_what_is_shown(page: Path, desk: Desk) -> None:
    for step in steps(README):  # every page may use the run of the README
        if step.command.startswith("zoo finetune"):
            desk.run(step.command)
    for step in steps(page):
        if step.network:
            parse(shlex.split(step.command)[1:])
            continue
        if step.command == DEMO:
            continue
        code, printed = desk.run(step.command)
        assert bool(code) == step.fails, f"{step.command}\n{printed}"
        if desk.real:
            assert not missing(step.shown, printed), f"{step.command}\n{printed}"


@pytest.mark.thorough
def test_the_picture_shows_what_the_commands_print(desk: Desk) -> None:
    if not desk.real:
        pytest.skip("the picture is of the real data")
    picture = (ROOT / "docs/pictures/finetune.svg").read_text("utf-8")
    rows: dict[int, str] = {}
    for number, words in re.findall(r"<text [^>]*terminal-line-(\d+)\)\">([^<]*)</text>", picture):
        rows[int(number)] = rows.get(int(number), "") + html.unescape(words).replace("\xa0", " ")
    sessions = re.split(r"^\$ ?", "\n".join(rows[number].rstrip() for number in sorted(rows)), flags=re.M)[1:]
    assert len(sessions) == 2
    for session in sessions:
        command, *shown = session.strip().splitlines()
        shown = [
            line for line in shown if line and not line.startswith("head ")
        ]  # as many as there is time for
        assert not missing(tuple(shown), desk.run(command)[1]), command


@pytest.mark.slow
def test_the_demo_prints_what_is_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path, real=False)
    (tmp_path / "registry.yaml").write_text("models: {}\n")
    shown = [step for page in PAGES for step in steps(page) if step.command == DEMO]
    assert len(shown) >= 2
    for step in shown:
        code, printed = desk.run(step.command)
        assert code == 0, printed
        assert not missing(step.shown, printed), printed


@pytest.mark.thorough
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_piece_of_python_runs_and_prints_something(page: Path, desk: Desk) -> None:
    for step in steps(README):
        if step.command.startswith("zoo finetune"):
            desk.run(step.command)
    for code in blocks(page, "python"):
        assert desk.execute(code).strip(), code


def parse(arguments: list[str]) -> click.Context:
    """A command line as click understands it. Raises click.UsageError."""
    group: click.Command = cli
    context = cli.make_context("zoo", list(arguments))
    while isinstance(group, click.Group):
        name, found, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        group, context = found, found.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=names)
def test_every_verb_and_option_in_the_text_exists(page: Path) -> None:
    prose = BLOCK.sub("", page.read_text("utf-8"))
    for code in re.findall(r"`(?:\w+=\S+ )?zoo ([a-z][^`]*)`", prose):
        words = code.replace("\n", " ").split()
        command: click.Command | None = cli
        context = click.Context(cli)
        while isinstance(command, click.Group) and words:
            command = command.get_command(context, words.pop(0))
        assert command is not None, code
        known = {
            option for parameter in command.params for option in parameter.opts + parameter.secondary_opts
        }
        assert {word for word in words if word.startswith("-")} <= known | {"-", "--help"}, code


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_stand_in_blocks_that_are_run(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text("utf-8")):
        if block["language"] != "console":
            assert not re.search(r"^(\$ )?zoo ", block["text"], re.M), block["text"]
        else:
            assert block["text"].startswith("$ "), block["text"]


def test_the_readme_is_short_and_begins_with_what_works_offline() -> None:
    page = README.read_text("utf-8")
    assert len(page.splitlines()) <= 120
    install = page.index("## Install")
    assert install < page.index("bin/activate") < page.index("$ zoo ")
    assert next(steps(README)).command == "zoo demo"


def test_one_first_model_is_named_throughout() -> None:
    images = {
        word
        for page in PAGES
        for step in steps(page)
        for word in shlex.split(step.command)
        if re.match(r"(resnet|inception|vgg|mobilenet)", word) and "*" not in word
    }
    assert images <= {"mobilenet_v2", "mobilenet_v2_100", "mobilenet_v22"}


def test_the_registry_entries_that_are_shown_are_valid(tmp_path: Path) -> None:
    from zoo.catalogue.registry import read_registry_file

    shown = [block for page in PAGES for block in blocks(page, "yaml")]
    assert len(shown) >= 2
    for block in shown:
        if (
            "lab://" in block
        ):  # the entry of the example package: test_example_package.py installs and uses it
            assert block in (ROOT / "examples/zoo-lab/README.md").read_text("utf-8")
            continue
        (tmp_path / "registry.yaml").write_text(block)
        assert list(read_registry_file(tmp_path / "registry.yaml")) == list(yaml.safe_load(block)["models"])


def test_the_drawing_of_the_house_names_every_room_from_the_lowest_floor_up() -> None:
    (drawing,) = [
        block for block in blocks(ROOT / "docs/architecture.md", "") if block.startswith("registry.yaml")
    ]
    drawn = re.findall(r"^  (\w+)(?:/|\.py) ", drawing, flags=re.M)
    rooms = {path.name for path in (ROOT / "zoo").iterdir() if (path / "__init__.py").is_file()}
    files = {path.stem for path in (ROOT / "zoo").glob("[!_]*.py")}
    assert sorted(drawn) == sorted(rooms | files)
    heights = [HEIGHT[name] for name in drawn]
    assert heights == sorted(heights)


def test_the_page_of_errors_names_every_error_with_its_exit_code() -> None:
    page = (ROOT / "docs/errors.md").read_text("utf-8")
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ZooError)
    ]
    stated = {int(code) for code in re.findall(r"^\| (\d+) \|", page, flags=re.M)}
    for kind in kinds:
        (code,) = re.findall(rf"^\|[^|]*`{kind.__name__}`[^|]*\| (\d*) ?\|", page, flags=re.M)
        assert code in ("", str(kind.exit_code)), kind
        assert kind.exit_code in stated


def test_every_public_name_is_on_its_page() -> None:
    import adapters
    import zoo
    from zoo import plugins

    pages = {"python": (zoo, "zoo."), "adapters": (adapters, "adapters."), "plugins": (plugins, "")}
    for page, (package, prefix) in pages.items():
        text = (ROOT / f"docs/{page}.md").read_text("utf-8")
        lost = [
            n for n in package.__all__ if not n.startswith("_") and not re.search(rf"\b{prefix}{n}\b", text)
        ]
        assert not lost, page


@pytest.mark.parametrize("page", [README, ROOT / "docs/figures.md"], ids=names)
def test_every_figure_names_a_script_that_exists(page: Path) -> None:
    table = page.read_text("utf-8").partition("| what |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\|.*\| (.+) \|$", table, flags=re.M)[1:]
    assert len(rows) >= 3
    for cell in rows:
        (script, *_) = re.findall(r"`([\w/]+\.py)\b[^`]*`", cell) or pytest.fail(cell)
        assert (ROOT / script).is_file(), script


def test_the_picture_is_small_and_takes_nothing_from_elsewhere() -> None:
    path = ROOT / "docs/pictures/finetune.svg"
    picture = path.read_text("utf-8")
    assert path.stat().st_size < 100_000
    assert "<script" not in picture
    assert "@font-face" not in picture
    assert not re.search(r"(href|src|url\()[\"'=]*https?:", picture)
    words = re.sub(r"<[^>]+>|&#160;|\s", " ", picture)
    for step in list(steps(README))[1:3]:  # it shows what the README shows
        assert all(word in words for word in step.command.split()), step.command
