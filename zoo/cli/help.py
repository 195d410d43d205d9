"""The verb help: `zoo help finetune` for those who do not think of --help."""

from __future__ import annotations

import click

from zoo.cli.command import Context, command
from zoo.errors import UnknownName


@command("zoo help finetune", name="help")
@click.argument("verbs", nargs=-1, metavar="[COMMAND]…")
def show_help(context: Context, verbs: tuple[str, ...]) -> None:
    """Show the help of a command; without COMMAND, what commands there are."""
    place = click.get_current_context().find_root()
    for name in verbs:
        group = place.command
        found = group.get_command(place, name) if isinstance(group, click.Group) else None
        if found is None:
            known = group.list_commands(place) if isinstance(group, click.Group) else []
            raise UnknownName("command", name, known, see=f"{place.command_path} --help")
        place = click.Context(found, info_name=name, parent=place)
    context.sink.answer({"help": place.get_help()}, place.get_help)


COMMANDS = {"help": show_help}
