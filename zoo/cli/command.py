"""What every command shares: its common options, its context, and how a mistake is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.sink import Mode, Sink
from zoo.errors import NotAModel, UnknownName, ZooError
from zoo.events import silent
from zoo.training.ranks import is_first

if TYPE_CHECKING:
    from zoo.catalogue.registry import Registry
    from zoo.store.store import Store
    from zoo.targets import Model, RunFolder


class Context:
    """What a command works with. The registry and the store are opened at first use."""

    def __init__(self, sink: Sink, registries: tuple[Path, ...] = (), offline: bool = False) -> None:
        self.sink = sink
        self.registries = registries
        self.offline = offline

    @cached_property
    def registry(self) -> Registry:
        from zoo.catalogue.registry import load_registry

        return load_registry(self.registries, bundled=self.store.registries)

    @cached_property
    def store(self) -> Store:
        from zoo.store.store import open_store

        return open_store(offline=True if self.offline else None)

    def find_target(
        self, verb: str, name: str, *, member: str | None = None, others: Iterable[object] = ()
    ) -> RunFolder | Model:
        """What a name means, if the verb can use it; the answer for one that it cannot.

        others: what was typed beside it: where the model stands there, the right order is shown.
        """
        from zoo.targets import Bundle, Checkpoint, accept, find_target

        settings: Any = {"registry": self.registry, "store": self.store}
        try:
            target = accept(find_target(name, member=member, **settings), f"zoo {verb}")
        except NotAModel as error:
            for other in map(str, others):
                with suppress(ZooError):
                    accept(find_target(other, **settings), f"zoo {verb}")
                    from shlex import quote

                    swapped = f"zoo {verb} {quote(other)} {quote(name)}"
                    error.hint = f"The model comes first: {swapped} …"
            raise
        assert not isinstance(target, Bundle | Checkpoint)
        return target

    def find_model(self, verb: str, name: str, *, member: str | None = None) -> Model:
        """The same, for a verb that takes no runs."""
        from zoo.targets import RunFolder

        target = self.find_target(verb, name, member=member)
        assert not isinstance(target, RunFolder)
        return target

    @property
    def report(self) -> Callable[[Any], None]:
        return self.sink.report if is_first() else silent


def _with_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command that takes the common options and gets a Context as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")
    @click.option("--quiet", "-q", is_flag=True, help="The answer alone, warnings and errors.")
    @click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    @click.option("--offline", is_flag=True, help="Never touch the network.  [env: ZOO_OFFLINE]")
    @click.option(
        "--registry",
        "registries",
        multiple=True,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="One more registry file; repeatable.  [env: ZOO_REGISTRY]",
    )
    @wraps(function)
    def command(
        *, as_json: bool, quiet: bool, offline: bool, registries: tuple[Path, ...], **arguments: Any
    ) -> Any:
        mode = Mode.JSON if as_json else Mode.QUIET if quiet else Mode.HUMAN
        context = Context(Sink(mode), registries, offline)
        try:
            return function(context, **arguments)
        finally:
            context.sink.close()

    return command


class Command(click.Command):
    """A command whose --help ends with an example and whose unknown options get a suggestion."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.BadOptionUsage as error:
            error.ctx = error.ctx or ctx  # click leaves it out where a value is missing: whose help is it?
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue  # click 8.5.1 gives it a record, which would be an option without a meaning
            if (record := parameter.get_help_record(ctx)) is not None:
                sections.setdefault(getattr(parameter, "heading", "Options"), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")


class Group(click.Group):
    """Commands below one name; an unknown one gets "did you mean", none at all the help."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            raise UnknownName("command", args[0], self.list_commands(ctx), see=f"{ctx.command_path} --help")
        return super().resolve_command(ctx, args)


def command(example: str, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Decorate a function `f(context, …)` as a command with the common options.

    example: what to type, shown at the end of --help.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(cls=Command, example=example, **settings)(_with_context(function))
        common = {"as_json", "quiet", "debug", "offline", "registries"}
        made.params.sort(key=lambda parameter: parameter.name in common)
        return made

    return decorate
