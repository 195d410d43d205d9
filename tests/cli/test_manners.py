"""How the command line behaves whatever the verb: fast, quiet where it should be, kind about mistakes."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import Call, Terminal, running, start_zoo, wait_until, write_registry
from support.loopback import entry_for

from zoo.__main__ import GARBAGE
from zoo.cli.interrupts import INTERRUPTED
from zoo.cli.main import SYNONYMS, VERBS
from zoo.cli.registries import registry

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "gensim",
    "numpy",
    "polars",
    "sklearn",
    "httpx",
    "httpx2",
    "rich",
    "yaml",
)
LOOK = f"""
import atexit, sys
atexit.register(lambda: print(*[m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))
sys.argv = ["zoo", *sys.argv[1:]]
from zoo.cli.main import main
main()
"""


INTERRUPT = """
import _signal, os, sys
place, how, *sys.argv[1:] = sys.argv[1:]
if how == "nohup":
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
if how == "own":
    _signal.signal(_signal.SIGINT, lambda *_: os.write(2, b"mine\\n"))
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == place:
            os.kill(os.getpid(), _signal.SIGINT)
sys.meta_path.insert(0, Finder())
from zoo.__main__ import main
main()
"""


def interrupted(place: str, *arguments: str, how: str = "usual") -> subprocess.CompletedProcess[str]:
    """`zoo`, to which Ctrl-C comes while it imports a module for the first time."""
    return subprocess.run(
        [sys.executable, "-c", INTERRUPT, place, how, *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("place", ["zoo.cli.main", "click", "zoo.cli.sink", "zoo.cli.listing"])
def test_ctrl_c_while_it_begins_is_no_traceback(place: str) -> None:
    for more in ((), ("--json",)):
        done = interrupted(place, "list", *more)
        assert (done.returncode, done.stdout) == (130, "")
        message, hint = INTERRUPTED
        if more:
            assert json.loads(done.stderr)["error"] == {"code": 130, "message": message, "hint": hint}
        else:
            assert done.stderr.lstrip("\n") == f"error: {message}\n{hint}\n"


def test_hardly_anything_is_imported_before_ctrl_c_is_caught() -> None:
    code = "import sys; before = {*sys.modules}; import zoo.__main__; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    own = {name for name in done.stdout.split() if name.split(".")[0] not in ("zoo", "importlib")}
    assert own <= {"__future__", "gc", "warnings", "_warnings"}


@pytest.mark.parametrize(("how", "says"), [("nohup", ""), ("own", "mine\n")])
def test_a_process_that_does_not_end_by_ctrl_c_does_not_while_it_begins(how: str, says: str) -> None:
    done = interrupted("click", "list", "resnet18", how=how)
    assert (done.returncode, done.stderr) == (0, says)


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zoo", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
    )


@pytest.mark.thorough
@pytest.mark.fault("U2")
@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["show", "resnet18"], *([v, "--help"] for v in VERBS)], ids=" ".join
)
def test_light_verbs_and_every_help_import_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""


def test_looking_at_models_imports_nothing_of_what_fetches_them(tmp_path: Path) -> None:
    needless = (
        "http.client",
        "email",
        "ssl",
        "socket",
        "tempfile",
        "zoo.store.fetching",
        "shutil",
        "difflib",
        "json",
        "dataclasses",  # each costs half a millisecond; msgspec's records cost a tenth
    )
    look = LOOK.replace(repr(HEAVY), repr(needless))
    for verb in (["list"], ["show", "resnet18"]):
        done = subprocess.run(
            [sys.executable, "-c", look, *verb],
            capture_output=True,
            text=True,
            env=os.environ | {"ZOO_HOME": str(tmp_path)},  # platformdirs, which looks for one, needs some
            timeout=60,
        )
        assert (done.returncode, done.stderr.strip()) == (0, ""), verb


@pytest.mark.parametrize(
    "verb", [*(v for v in VERBS if v != "registry"), *(f"registry {name}" for name in registry.commands)]
)
def test_every_help_shows_an_example_and_the_common_options(call: Call, verb: str) -> None:
    said = call(*verb.split(), "--help")
    assert said.code == 0
    assert f"Example:\n  zoo {verb}" in said.out
    assert all(option in said.out for option in ("--json", "--quiet", "--offline", "--registry"))


@pytest.mark.parametrize("arguments", [[], ["registry"]], ids=["zoo", "zoo registry"])
def test_a_group_without_a_command_shows_its_help(call: Call, arguments: list[str]) -> None:
    said = call(*arguments)
    assert said.code == 0
    assert said.out.startswith("Usage: zoo")
    assert said.err == ""


def test_every_command_stands_once_below_a_heading_and_before_the_options(call: Call) -> None:
    lines = call("--help").out.splitlines()
    options = lines.index("Options:")
    for name, verb in VERBS.items():
        [row] = [i for i, line in enumerate(lines) if line.startswith(f"  {name} ")]
        headings = [i for i, line in enumerate(lines[:row]) if line.endswith(":")]
        assert lines[headings[-1]] == f"{verb.heading}:"
        assert row < options


@pytest.mark.parametrize("verb", [*VERBS, "registry lint"])
def test_help_shows_what_the_option_help_shows(call: Call, verb: str) -> None:
    assert call("help", *verb.split()).out == call(*verb.split(), "--help").out


def test_help_of_an_unknown_command_is_answered_as_the_command_itself(call: Call) -> None:
    for arguments in (["help", "lst"], ["help", "registry", "lnt"], ["help", "list", "x"]):
        said = call(*arguments)
        assert said.code == 2
        assert "error: no command" in said.err


@pytest.mark.parametrize("verb", [v for v in VERBS if v != "registry"])
def test_no_argument_is_shown_as_an_option(call: Call, verb: str) -> None:
    options = call(verb, "--help").out.partition("Options:")[2].partition("Example:")[0]
    rows = re.findall(r"^  (\S+)", options, re.MULTILINE)
    assert rows
    assert all(row.startswith("-") for row in rows), rows


@pytest.mark.parametrize(("word", "verb"), SYNONYMS.items())
def test_what_other_tools_call_a_command_leads_to_ours(call: Call, word: str, verb: str) -> None:
    assert verb in VERBS
    said = call(word, "resnet18")
    assert said.code == 2
    if word not in VERBS:
        assert f"Did you mean {verb}?" in said.err


def test_a_short_word_is_not_taken_for_another_one(call: Call) -> None:
    assert "prune" not in call("une").err
    assert "min-delta" not in call("finetune", "resnet18", ".", "--out", "x", "--model", "y").err


@pytest.mark.fault("U3")
@pytest.mark.parametrize(
    ("arguments", "kind", "meant"),
    [
        (["lst"], "command", "list"),
        (["registry", "lnt"], "command", "lint"),
        (["list", "--famly", "vgg"], "option", "--family"),
        (["list", "--sort", "tpo1"], "order", "top1"),
        (["show", "mobilenet_v3_larg"], "model", "mobilenet_v3_large"),
        (["finetune", "resnet18", ".", "--out", "x", "--optimizer", "adan"], "optimizer", "adam"),
    ],
)
def test_a_typo_is_answered_with_what_was_meant(
    call: Call, arguments: list[str], kind: str, meant: str
) -> None:
    said = call(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert kind in said.err
    assert meant in said.err
    assert "Traceback" not in said.err
    for suggestions in re.findall("Did you mean (.*)\\?", said.err):
        assert 1 <= len(re.split(", | or ", suggestions)) <= 3


@pytest.mark.fault("U3")
def test_a_name_like_nothing_gets_no_suggestions_but_where_to_look(call: Call) -> None:
    said = call("show", "qqqqqqqqqqq")
    assert said.code == 2
    assert said.err == (
        "error: no model 'qqqqqqqqqqq', and no run folder or file of that name\nSee: zoo list\n"
    )


def test_a_value_that_is_missing_names_the_help_of_its_command(call: Call) -> None:
    said = call("list", "--registry")
    assert said.code == 2
    assert said.err == "error: option '--registry' requires an argument\nSee: zoo list --help\n"


def test_only_the_closest_option_is_offered(call: Call) -> None:
    said = call("finetune", "resnet18", ".", "--out", "x", "--optimzer", "adam")
    assert "Did you mean --optimizer? See" in said.err


def test_an_error_is_json_too(call: Call) -> None:
    said = call("show", "resnet81", "--json")
    assert said.code == 2
    assert said.out == ""
    error = json.loads(said.err)["error"]
    assert error["code"] == 2
    assert "resnet81" in error["message"]
    assert "resnet18" in error["hint"]


def test_a_traceback_is_shown_on_request_only(call: Call) -> None:
    assert "Traceback" not in call("show", "resnet81").err
    shown = call("show", "resnet81", "--debug")
    assert "Traceback" in shown.err
    assert shown.code == 2


@pytest.mark.fault("U1")
def test_garbage_is_looked_for_seldom_in_a_process_of_ours_alone(call: Call) -> None:
    own = gc.get_threshold()
    call("list", "--quiet")
    assert gc.get_threshold() == own
    said = own_process("import atexit, gc\natexit.register(lambda: print(gc.get_threshold()))")
    assert said.stdout.splitlines()[-1] == str(GARBAGE)


def test_a_process_that_ends_does_not_look_for_garbage_once_more(call: Call) -> None:
    call("list", "--quiet")
    assert gc.get_freeze_count() == 0, "a program that calls the command line keeps its own"
    said = own_process("import atexit, gc\natexit.register(lambda: print(gc.get_freeze_count() > 1000))")
    assert said.stdout.splitlines()[-1] == "True"


def own_process(first: str) -> subprocess.CompletedProcess[str]:
    """`zoo --version` as it is started from a shell, after some code that looks into its process."""
    code = f"{first}\nimport sys\nsys.argv = ['zoo', '--version']\nfrom zoo.__main__ import main\nmain()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_a_closed_pipe_ends_a_listing_in_peace() -> None:
    command = f"{sys.executable} -m zoo list --all | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("NAME")
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_answer_that_cannot_be_written_is_not_blamed_on_the_store() -> None:
    command = f"{sys.executable} -m zoo list > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 7
    assert done.stderr.startswith("error: the answer cannot be written: No space left on device\n")
    assert "ZOO_HOME" not in done.stderr


@pytest.mark.thorough
@pytest.mark.fault("U1")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_is_no_failure(closed: str) -> None:
    """And no file that is opened later becomes stdout."""
    for arguments, code in (("list", 0), ("show nothing", 2), ("cache --json", 0)):
        command = f"{sys.executable} -m zoo {arguments} {closed}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert bool(done.stdout) == (code == 0 and ">&-" not in closed.split("2>")[0])


@pytest.mark.thorough
@pytest.mark.fault("U1")
@pytest.mark.parametrize(
    "environment",
    [
        {"NO_COLOR": "1"},
        {"TERM": "dumb"},
        {"COLUMNS": "40"},
        {"LANG": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
    ],
    ids=lambda environment: "-".join(environment),
)
def test_pipes_get_plain_lines(environment: dict[str, str]) -> None:
    listing, miss = shell("list", **environment), shell("show", "nothing…", **environment)
    assert listing.stderr == ""
    assert "\x1b" not in listing.stdout + miss.stderr
    assert listing.stdout.splitlines()[0].startswith("NAME")
    assert max(map(len, listing.stdout.splitlines())) > 80, "nothing is cut off"
    assert miss.returncode == 2
    assert "Traceback" not in miss.stderr
    assert miss.stdout == ""


@pytest.mark.thorough
@pytest.mark.fault("U1")
@pytest.mark.parametrize(
    ("environment", "colored"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["colours", "NO_COLOR", "dumb"],
)
def test_a_terminal_gets_colours_unless_it_or_its_user_wants_none(
    tiny: Path, environment: dict[str, str], colored: bool
) -> None:
    terminal = Terminal()
    fetch = ("fetch", "tiny_net", "--registry", tiny / "registry.yaml")
    for command, code in (("show", "nothing"), 2), (fetch, 0):
        with running(start_zoo(*command, stderr=terminal.outer, **environment)) as process:
            assert process.wait(timeout=30) == code
    assert "no model 'nothing'" in terminal.read()
    assert bool(re.search(r"\x1b\[[\d;]+m", terminal.text)) == colored
    assert environment["TERM"] == "xterm" or "\x1b" not in terminal.text, "no bars that move either"


@pytest.mark.fault("U1")
def test_a_terminal_of_40_columns_gets_lines_of_40_columns() -> None:
    terminal = Terminal()
    with running(start_zoo("list", stdout=terminal.outer, COLUMNS="40", TERM="xterm")) as process:
        wait_until(lambda: terminal.read() and process.poll() is not None, 30)
    lines = terminal.read().splitlines()
    assert len(lines) > 80
    assert max(map(len, lines)) <= 40
    assert lines[0].split() == ["NAME", "SIZE", "TOP-1", "%"]
    assert "\x1b" not in terminal.text


def test_the_shell_completes_model_names() -> None:
    done = shell(_ZOO_COMPLETE="bash_complete", COMP_WORDS="zoo show resnet1", COMP_CWORD="2")
    names = [line.split(",")[1] for line in done.stdout.splitlines()]
    assert "resnet18" in names
    assert all(name.startswith("resnet1") for name in names)
    paths = shell(_ZOO_COMPLETE="bash_complete", COMP_WORDS="zoo similar ./wor", COMP_CWORD="2")
    assert paths.stdout.strip() == "file,./wor"


def complete(words: str) -> list[str]:
    """What the shell offers for the last of these words."""
    done = shell(_ZOO_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1))
    assert done.stderr == ""
    return [line.removeprefix("plain,") for line in done.stdout.splitlines()]


@pytest.mark.thorough
def test_the_shell_completes_runs_and_what_a_verb_can_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("resnet-ants", "photos", "old/resnet-bees"):
        (tmp_path / folder).mkdir(parents=True)
        if "resnet" in folder:
            (tmp_path / folder / "run.json").write_text("{}")
    assert complete("zoo predict resnet-")[0] == "resnet-ants"
    assert complete("zoo evaluate old/") == ["old/resnet-bees"]
    assert "resnet-ants" not in complete("zoo fetch resnet")
    assert complete("zoo predict glove") == ["file,glove"]
    assert complete("zoo similar resnet") == ["file,resnet"]
    assert "glove-wiki-gigaword-50" in complete("zoo similar glove")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("zoo finetune --optimizer ad", ["adam", "adamw"]),
        ("zoo finetune --unfreeze a", ["all"]),
        ("zoo list --family mobilenet", ["mobilenet"]),
        ("zoo list --sort to", ["top1"]),
    ],
)
def test_the_shell_completes_the_values_of_choices(words: str, offered: list[str]) -> None:
    assert complete(words) == offered


def test_the_shell_completes_what_bundles_brought_and_is_silent_about_bad_files(
    home: Path, tmp_path: Path
) -> None:
    (home / "registries").mkdir(parents=True)
    write_registry(home / "registries" / "lab.yaml", entry_for("https://a.org/x", name="labnet"))
    typed = {"_ZOO_COMPLETE": "bash_complete", "COMP_WORDS": "zoo show labn", "COMP_CWORD": "2"}
    assert shell(**typed).stdout.strip() == "plain,labnet"
    bad = tmp_path / "bad.yaml"
    bad.write_text("models: [")
    done = shell(**typed, ZOO_REGISTRY=str(bad))
    assert (done.stdout.strip(), done.stderr) == ("file,labn", "")


def test_doctor_finds_a_mirror_that_is_no_rule(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_MIRROR", "junk")
    said = call("doctor", "--json")
    assert said.code == 1
    (problem,) = said.json["problems"]
    assert problem.startswith("ZOO_MIRROR: 'junk' is not a rule. Write FROM=TO")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["ZOO_FEATURES_SIZE", "ZOO_FEATURES_MEMORY", "ZOO_PIXELS_MEMORY", "ZOO_HASHES"]
)
def test_doctor_finds_what_is_not_a_size(name: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "much")
    said = call("doctor", "--json")
    assert said.code == 1
    assert said.json["problems"] == [f"{name}: 'much' is not a size. Like this: 50MB, 1.5GB, 200MiB."]


def test_doctor_reports_versions_and_no_problem(call: Call) -> None:
    said = call("doctor", "--json")
    assert said.json["problems"] == []
    assert said.json["versions"]["torch"]
    assert said.code == 0


@pytest.mark.thorough
def test_doctor_reports_a_package_that_shadows_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = tmp_path / "adapters"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    done = shell("doctor", "--json")
    assert done.returncode == 1
    assert str(stranger) in json.loads(done.stdout)["problems"][0]
    done = shell("finetune", "digits", ".", "--out", "run")
    assert done.returncode == 1
    assert f"`import adapters` finds {stranger / '__init__.py'}, which is not ours" in done.stderr
    assert "fault of zoo" not in done.stderr


def test_doctor_names_a_registry_that_cannot_be_read_and_goes_on(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_REGISTRY", "/no/such/registry.yaml")
    said = call("doctor")
    assert said.code == 1
    assert "problem: /no/such/registry.yaml" in said.out
    assert " See: " not in said.out.replace(". See: ", ""), "a hint is a sentence of its own"
    assert "python" in said.out


@pytest.mark.parametrize(("asked", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_of_torch_sleep_while_they_wait_unless_asked_otherwise(asked: str | None, found: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if asked is None else {"OMP_WAIT_POLICY": asked}
    code = (
        "import os, zoo.cli.main\n"
        "try: zoo.cli.main.main(['--version'])\n"
        "finally: print(os.environ['OMP_WAIT_POLICY'])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == found, done.stderr
