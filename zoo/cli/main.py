"""`zoo`: finds the verb, runs it, and turns every error into two lines and an exit code.

A verb's module is imported when that verb is typed: `zoo list` and every --help stay free of torch.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import Any, NamedTuple, NoReturn

import click

from zoo import __version__
from zoo.cli.command import Group
from zoo.cli.interrupts import INTERRUPTED, raise_again
from zoo.cli.sink import Mode, Sink
from zoo.errors import (
    DiskFull,
    Interrupted,
    StorageError,
    TrainingStopped,
    UnknownName,
    UsageError,
    ZooError,
    close_names,
)

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


class Verb(NamedTuple):
    """A command: the module of zoo.cli that has it, the heading that --help shows it under, what it does."""

    module: str
    heading: str
    summary: str


MODELS, USE, WORDS, REGISTRIES, MACHINE = (
    "Models",
    "Train and use",
    "Words",
    "Registries and sharing",
    "This machine",
)
VERBS = {  # the order is that of --help
    "list": Verb("listing", MODELS, "List the models there are."),
    "show": Verb("listing", MODELS, "Show every fact about one model."),
    "fetch": Verb("fetching", MODELS, "Download models and verify every byte."),
    "path": Verb("keeping", MODELS, "Print where a model's file is."),
    "rm": Verb("keeping", MODELS, "Delete models from the store."),
    "check": Verb("checking", USE, "Find what is wrong with labelled data."),
    "pick": Verb("picking", USE, "Find the model that suits your data best."),
    "tune": Verb("tuning", USE, "Find the settings that suit a model and your data."),
    "lr-find": Verb("lr_finding", USE, "Find the learning rate that suits a model and your data."),
    "finetune": Verb("finetuning", USE, "Train a pretrained model on your own folder."),
    "predict": Verb("using", USE, "Label files or texts with a run or a model."),
    "evaluate": Verb("evaluating", USE, "Measure a run on labelled data."),
    "runs": Verb("reporting", USE, "List the runs in a folder, with their scores."),
    "compare": Verb("reporting", USE, "Hold runs against each other on the same items."),
    "report": Verb("reporting", USE, "Write one page about a run: how good, and where it fails."),
    "calibrate": Verb("calibrating", USE, "Make a run's probabilities honest."),
    "explain": Verb("explaining", USE, "See why a run answers as it does."),
    "embed": Verb("embedding", USE, "Write feature vectors of files or texts."),
    "demo": Verb("demo", USE, "See transfer work, offline, in a minute."),
    "similar": Verb("words", WORDS, "Find the words nearest to a word."),
    "analogy": Verb("words", WORDS, "Add and take away words: king - man + woman."),
    "odd": Verb("words", WORDS, "Find the word that goes least with the others."),
    "coverage": Verb("words", WORDS, "See how much of your texts word vectors know."),
    "registry": Verb("registries", REGISTRIES, "Check, extend and compare registry files."),
    "lock": Verb("sharing", REGISTRIES, "Pin models down to the sha256."),
    "bundle": Verb("sharing", REGISTRIES, "Pack models and runs for a machine without network."),
    "unbundle": Verb("sharing", REGISTRIES, "Take the models and runs of a bundle."),
    "cache": Verb("keeping", MACHINE, "Show what the store holds."),
    "verify": Verb("keeping", MACHINE, "Hash what the store holds again."),
    "prune": Verb("keeping", MACHINE, "Delete what no model needs."),
    "doctor": Verb("doctor", MACHINE, "Versions, device, store, and what is wrong with them."),
    "help": Verb("help", MACHINE, "Show the help of a command."),
}
SYNONYMS = {  # what other tools call our verbs
    "choose": "pick",
    "select": "pick",
    "leaderboard": "pick",
    "recommend": "pick",
    "lr_find": "lr-find",
    "find-lr": "lr-find",
    "lr": "lr-find",
    "train": "finetune",
    "fine-tune": "finetune",
    "hpo": "tune",
    "sweep": "tune",
    "fit": "finetune",
    "classify": "predict",
    "infer": "predict",
    "inference": "predict",
    "run": "predict",
    "eval": "evaluate",
    "test": "evaluate",
    "val": "evaluate",
    "validate": "evaluate",
    "score": "evaluate",
    "features": "embed",
    "extract": "embed",
    "encode": "embed",
    "why": "explain",
    "interpret": "explain",
    "saliency": "explain",
    "gradcam": "explain",
    "grad-cam": "explain",
    "download": "fetch",
    "pull": "fetch",
    "get": "fetch",
    "install": "fetch",
    "add": "fetch",
    "ls": "list",
    "models": "list",
    "search": "list",
    "find": "list",
    "info": "show",
    "inspect": "show",
    "remove": "rm",
    "delete": "rm",
    "uninstall": "rm",
    "clean": "prune",
    "gc": "prune",
    "nearest": "similar",
    "neighbours": "similar",
    "neighbors": "similar",
    "export": "bundle",
    "pack": "bundle",
    "import": "unbundle",
    "unpack": "unbundle",
    "env": "doctor",
    "version": "doctor",
}


class Verbs(Group):
    """The verbs, each imported when it is typed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module = import_module(f"zoo.cli.{VERBS[name].module}")
        found: click.Command = module.COMMANDS[name]
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] in SYNONYMS and args[0] not in VERBS:
            see = f"{ctx.command_path} --help"
            raise UnknownName("command", args[0], close=[SYNONYMS[args[0]]], see=see)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in groups, aligned with each other, then the options."""
        width = max(map(len, VERBS))
        for heading in dict.fromkeys(verb.heading for verb in VERBS.values()):
            with formatter.section(heading):
                rows = [(n.ljust(width), v.summary) for n, v in VERBS.items() if v.heading == heading]
                formatter.write_dl(rows)
        click.Command.format_options(self, ctx, formatter)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: zoo demo",
)
@click.version_option(__version__, prog_name="zoo")
def cli() -> None:
    """Pretrained models, verified; fine-tuned on your own folder of photographs or texts."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    _open_streams()
    # torch's threads sleep while they wait for each other: they would use up what the others need to go on
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "RANK" in os.environ:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of what is as it should be
    if "ZOO_PARENT" in os.environ:
        from zoo.cli.launching import end_with_parent

        end_with_parent()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    signal.signal(signal.SIGTERM, _stop_as_asked)
    sink = Sink(Mode.JSON if "--json" in options else Mode.HUMAN)
    try:
        raise_again()
        result = cli.main(arguments, prog_name="zoo", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
    except BaseException as error:
        if "--debug" in options and not isinstance(error, SystemExit | click.exceptions.Exit):
            import traceback

            traceback.print_exc()
        leave(answer(error, sink))
    leave(result if isinstance(result, int) else 0)


def _open_streams() -> None:
    """Put /dev/null where a stream was closed (`zoo list >&-`): the next file would become stdout."""
    for name in ("stdin", "stdout", "stderr"):  # as the system counts them: the lowest free number is taken
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))


def answer(error: BaseException, sink: Sink) -> int:
    """Word an error on stderr; returns the exit code."""
    match error:
        case ZooError():
            sink.fail(error)
            return error.exit_code
        case click.exceptions.Exit():
            return error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message())
            return 0
        case click.UsageError():
            sink.fail(_usage_error(error))
            return UsageError.exit_code
        case click.Abort() | KeyboardInterrupt():
            message, hint = INTERRUPTED
            sink.fail(Interrupted(message, hint=hint))
            return Interrupted.exit_code
        case ImportError() if error.name == "adapters" or (error.name or "").startswith("adapters."):
            place = error.path or "nowhere"
            hint = "Another package has this name. Uninstall it, or use a new environment: see zoo doctor"
            sink.fail(ZooError(f"`import adapters` finds {place}, which is not ours", hint=hint))
            return ZooError.exit_code
        case SystemExit():
            return error.code if isinstance(error.code, int) else 1
        case BrokenPipeError():
            return 0  # the rest of the answer, flushed at the end
        case OSError() if error.errno in _FULL:
            sink.fail(DiskFull(str(error), hint="Free some space, or set ZOO_HOME to a larger disk."))
            return DiskFull.exit_code
        case OSError() if error.errno in _FORBIDDEN:
            sink.fail(StorageError(str(error), hint="Choose a folder that you may write to."))
            return StorageError.exit_code
        case ValueError() if (refusal := _refusal_of_adapters(error)) is not None:
            sink.fail(refusal)
            return refusal.exit_code
        case MemoryError() | RuntimeError() if _lacks_memory(error):
            message = str(error).partition("\n")[0] or "Python could not allocate any more"
            sink.fail(
                TrainingStopped(f"out of memory: {message}", hint="Use a smaller model, or --device cpu.")
            )
            return TrainingStopped.exit_code
        case Exception() if (found := _beneath(error)) is not None:
            return answer(found, sink)
        case _:
            kind = type(error).__name__
            sink.fail(
                ZooError(f"unexpected {kind}: {error}", hint="This is a fault of zoo: --debug shows where.")
            )
            return 1


def _beneath(error: Exception) -> OSError | None:
    """The error of the disk that a library wraps in one of its own; None where there is none."""
    from zoo.store.disk.space import system_error

    found = None if isinstance(error, OSError) and error.errno is not None else system_error(error)
    return found if found is not None and found.errno in (*_FULL, *_FORBIDDEN) else None


def _lacks_memory(error: BaseException) -> bool:
    """Whether memory did not suffice where nothing smaller can be tried, such as for the network itself."""
    portions = sys.modules.get("zoo.features.portions")  # importing it here would load torch for nothing
    return isinstance(error, MemoryError) or (portions is not None and portions.is_out_of_memory(error))


def _refusal_of_adapters(error: ValueError) -> UsageError | None:
    """The refusal of a network by `adapters`, which knows no error of zoo; None for any other error."""
    errors = sys.modules.get("adapters.errors")  # importing it here would load torch for nothing
    if (
        errors is None
        or not isinstance(error, errors.AdapterError)
        or isinstance(error, errors.FrozenChanged)
    ):
        return None
    return UsageError(error.message, hint=error.hint)


def _usage_error(error: click.UsageError) -> ZooError:
    """Click's complaint in our form: what happened, then what to type."""
    path = error.ctx.command_path if error.ctx else "zoo"
    hint = f"See: {path} --help"
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        close = close_names(error.option_name, error.possibilities) or sorted(error.possibilities)
        hint = f"Did you mean {close[0]}? {hint}"
        return UsageError(f"no option {error.option_name}", hint=hint)
    message = error.format_message().rstrip(".")
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _stop_as_asked(number: int, _frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does, with its own exit code."""
    raise Interrupted("stopped by SIGTERM", hint="What is in the store is kept.", exit_code=128 + number)


def leave(code: int) -> NoReturn:
    """Exit without a second complaint when stdout has been closed by its reader."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if code >= Interrupted.exit_code and "daft" in sys.modules:
        sys.stderr.flush()
        os._exit(code)  # threads of its engine still work, and would abort what ends beneath them
    sys.exit(code)
