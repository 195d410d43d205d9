"""The directive `zoo-help`: what `zoo VERB --help` prints, for every command, from the command itself."""

from __future__ import annotations

from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive

from zoo.cli.main import cli


class ZooHelp(Directive):
    """A section for each command."""

    def run(self) -> list[nodes.Node]:
        top = cli.make_context("zoo", [], resilient_parsing=True, terminal_width=84)
        return [self._section(name, text) for name, text in help_texts(cli, top)]

    def _section(self, name: str, text: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(name)], names=[name])
        section += nodes.title(text=name)
        section += nodes.literal_block(text, text, language="text")
        return section


def help_texts(group: click.Group, context: click.Context) -> list[tuple[str, str]]:
    """Each command of a group and of the groups in it, in order: its whole name and its help."""
    found: list[tuple[str, str]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        inner = click.Context(command, parent=context, info_name=name, terminal_width=84)
        if isinstance(command, click.Group):
            found += help_texts(command, inner)
        else:
            found.append((inner.command_path, command.get_help(inner)))
    return found


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("zoo-help", ZooHelp)
    return {"parallel_read_safe": True}
