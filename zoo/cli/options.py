"""What options and arguments are made of: names of models, choices, and the options that verbs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from zoo.cli.command import Context
from zoo.cli.sink import Mode, Sink
from zoo.errors import UnknownName, UsageError, ZooError

if TYPE_CHECKING:
    from zoo.catalogue.entry import ModelEntry


PRECISIONS = ("float32", "float16")


class GroupedOption(click.Option):
    """An option that --help shows under a heading of its own kind."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class ModelName(click.ParamType[str]):
    """What `find_target` understands; the shell completes what the verb can use, run folders first."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from zoo.targets import NEEDS, RegistryModel, kind_of, list_runs

        kinds = NEEDS.get(f"zoo {ctx.info_name}", NEEDS["zoo show"]).kinds
        place = incomplete[: incomplete.rfind("/") + 1]
        runs = [f"{place}{run.name}" for run in list_runs(Path(place))] if "run" in kinds else []
        found = [CompletionItem(run, help="run") for run in runs if run.startswith(incomplete)]
        found += [
            CompletionItem(entry.name, help=entry.license)
            for entry in entries_to_complete(ctx, everything="/" in incomplete)
            if entry.name.startswith(incomplete) and kind_of(RegistryModel(entry.name, entry)) in kinds
        ]
        return found or [CompletionItem(incomplete, type="file")]


def entries_to_complete(ctx: click.Context, *, everything: bool = False) -> list[ModelEntry]:
    """The entries of the registries that the command line names; none where one of them is wrong."""
    try:
        registry = Context(Sink(Mode.QUIET), ctx.params.get("registries") or ()).registry
    except ZooError:  # the command says what is wrong; a key press does not
        return []
    return registry.everything() if everything else registry.curated()


def complete_from(names: Callable[[click.Context], Iterable[str]]) -> Callable[..., list[str]]:
    """The `shell_complete` of an option whose values are names of a table, and may be more than that."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in names(ctx) if name.startswith(incomplete)]

    return complete


class Choice(click.ParamType[str]):
    """One name of a table, read when it is needed; a typo gets "did you mean"."""

    def __init__(self, kind: str, names: Callable[[], Iterator[str] | list[str] | tuple[str, ...]]) -> None:
        self.name = kind
        self.names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.names())

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        names = list(self.names())
        if value not in names:
            raise UnknownName(self.name, str(value), names)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self.names() if name.startswith(incomplete)]


class_level_option = click.option(
    "--class-level", type=int, metavar="N", help="Which level of folders is the classes (1)."
)
device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N|mps",
    help="Where to compute.",
)


def column_options(*, several: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The columns of a table of labelled items. several: whether the labels may lie in several columns."""
    label = "NAME,…" if several else "NAME"

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("--split-column", metavar="NAME", help="Column of a table with the parts, or none."),
            click.option("--label-column", metavar=label, help="Column of a table that names the classes."),
            click.option("--text-column", metavar="NAME", help="Column of a table that holds the texts."),
            click.option("--path-column", metavar="NAME", help="Column of a table that names the files."),
        ):
            function = option(function)
        return function

    return decorate


group_by_option = click.option(
    "--group-by",
    metavar="COLUMN|REGEX",
    help="Items with equal cells, or equal matches in their paths, belong together: one patient.",
)


DATA_OPTIONS = "path_column", "text_column", "label_column", "split_column", "class_level", "group_by"


def option_words(option: click.Parameter, value: Any) -> list[str]:
    """An option with its value, word by word."""
    if isinstance(value, bool):
        return [option.opts[0] if value else option.secondary_opts[0]]
    values = value if option.multiple else [value]
    return [word for each in values for word in (option.opts[0], str(each))]


COMMON = "as_json", "quiet", "debug", "offline", "registries"
"""The options of every command, which go with all others."""


def typed_options() -> list[click.Option]:
    """The options of the running command that were typed, but for those of every command."""
    here = click.get_current_context()
    return [
        parameter
        for parameter in here.command.params
        if isinstance(parameter, click.Option)
        and parameter.name not in COMMON
        and here.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]


def refuse_options(refused: Sequence[click.Option], why: str) -> None:
    """Raise UsageError for options that were typed and would be passed over, each by its name; the hint is
    the same command without them. why: follows the names: "do not go with --engine daft"."""
    if not refused:
        return
    here = click.get_current_context()
    words = ["zoo", str(here.info_name)]
    for parameter in sorted(here.command.params, key=lambda each: isinstance(each, click.Option)):
        value = here.params.get(parameter.name or "")
        if isinstance(parameter, click.Argument):
            words += map(str, value if isinstance(value, tuple) else [value])
        elif (
            parameter not in refused
            and parameter.name in here.params
            and here.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        ):
            words += option_words(parameter, value)
    names = [option_words(option, here.params[option.name or ""])[0] for option in refused]
    from shlex import quote

    raise UsageError(
        f"{_and(names)} {'do' if len(names) > 1 else 'does'} {why}",
        hint=f"Leave {'them' if len(names) > 1 else 'it'} out: {' '.join(map(quote, words))}",
    )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


class Place(click.Path):
    """A path, or an address of storage as it was typed: a Path would lose a slash of it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from zoo.data.listing import address_of

        return value if isinstance(value, str) and address_of(value) else super().convert(value, param, ctx)


def typed_again(*names: str) -> str:
    """Those of some options of the running command that were typed, as one types them after another verb.

    The registries are among them always: the model may be known there alone.
    """
    here = click.get_current_context()
    words = [
        word
        for parameter in here.command.params
        if parameter.name in (*names, "registries")
        and here.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
        for word in option_words(parameter, here.params[parameter.name])
    ]
    from shlex import quote

    return "".join(f" {quote(word)}" for word in words)


plots_option = click.option(
    "--plot",
    "plots",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="NAME.png",
    help="A picture of a run's report as a file, .png, .svg or .pdf; repeatable. NAME: learning, confusion, "
    "reliability, coverage, numbers, map.",
)


def license_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option `--license`: its store then gives out no model under another licence."""

    @click.option(
        "--license",
        "licenses",
        multiple=True,
        metavar="NAME,…",
        help="Refuse models under any other licence.  [env: ZOO_LICENSE_POLICY]",
    )
    @wraps(function)
    def guarded(context: Context, *, licenses: tuple[str, ...], **arguments: Any) -> Any:
        if licenses:
            from zoo.catalogue.licenses import parse_policy

            context.store.policy = parse_policy(licenses, "--license")
        return function(context, **arguments)

    return guarded


def word_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every verb on word vectors takes: how they are compiled, where they are not yet."""
    for option in (
        click.option("--member", metavar="FILE", help="Which file of a .zip."),
        click.option(
            "--encoding",
            metavar="NAME",
            help="Of a text file: latin-1, cp1251, gb18030, …  [default: the last one named, else UTF-8, "
            "or a guess]",
        ),
        click.option(
            "--limit", type=click.IntRange(1), metavar="N", help="Only the first N words of the file."
        ),
        click.option("--strict", is_flag=True, help="Refuse vectors whose file has any fault."),
        click.option(
            "--precision",
            type=Choice("precision", lambda: PRECISIONS),
            help="How numbers are kept.  [default: what is compiled already, else float32]",
        ),
    ):
        function = option(function)
    return function
