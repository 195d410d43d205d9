"""Record docs/pictures/finetune.svg: a terminal in which the main job runs, on real data.

    python tools/record_terminal.py [--data ../shared/data]

The commands run in a pseudo-terminal, one after the other, as a person would type them. What they leave on
the screen is drawn by rich as SVG: text, no script, no font from elsewhere.
"""

from __future__ import annotations

import argparse
import codecs
import fcntl
import io
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "finetune.svg"
COMMANDS = ("zoo finetune mobilenet_v2 photos --out run", "zoo predict run photo.jpg")
WIDTH = 84
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
THEME = TerminalTheme(  # light text on a dark ground: readable on light and on dark pages
    (22, 27, 34),
    (230, 237, 243),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)


def main() -> None:
    """Run the commands and write the picture."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.desk import lay_desk

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        desk = Path(folder)
        lay_desk(desk, options.data.resolve())
        lines: list[str] = []
        for command in COMMANDS:
            lines += [prompt(command), *run(command, desk), ""]
    options.out.write_text(draw(lines[:-1], "transfer-zoo"), "utf-8")
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, {len(lines) - 1} lines")


def prompt(command: str) -> str:
    """The line that a person typed."""
    return f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m"


def run(command: str, desk: Path) -> list[str]:
    """What a command leaves on a terminal, line by line, with its colours. It must succeed."""
    program, *arguments = shlex.split(command)
    if program != "zoo":
        raise SystemExit(f"only zoo is recorded, not {program}")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(desk)
        settings = {"ZOO_HOME": str(desk / "home"), "ZOO_REGISTRY": "registry.yaml", "TERM": "xterm-256color"}
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        os.execve(sys.executable, [sys.executable, "-m", "zoo", *arguments], kept | settings)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    screen = Screen()
    decoder = codecs.getincrementaldecoder("utf-8")()
    for block in blocks(terminal):
        screen.write(decoder.decode(block))
    os.close(terminal)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("\n".join([*screen.lines, f"{command}: exit code {code}"]))
    return screen.lines


def blocks(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal, until nobody has it open."""
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # Linux ends a terminal with EIO
            return
        if not block:
            return
        yield block


class Screen:
    """As much of a terminal as zoo uses: lines, colours, and bars that are wiped and drawn again."""

    def __init__(self) -> None:
        self._rows = [""]
        self._row = 0

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without the empty lines at the end; colours as escape sequences."""
        return "\n".join(self._rows).rstrip().split("\n")

    def write(self, text: str) -> None:
        """Show what a program prints. A line is written from its start only after it was wiped."""
        for part in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]|[^\r\n\x1b]+", text):
            if part == "\n":
                self._row += 1
                if self._row == len(self._rows):
                    self._rows.append("")
            elif part.endswith("K") and part.startswith("\x1b["):
                self._rows[self._row] = ""
            elif part.endswith("A") and part.startswith("\x1b["):
                self._row = max(0, self._row - int(part[2:-1] or 1))
            elif part == "\r" or (part.startswith("\x1b[") and not part.endswith("m")):
                continue  # the cursor is shown or hidden
            else:
                self._rows[self._row] += part


def draw(lines: Sequence[str], title: str) -> str:
    """The lines as a terminal in SVG."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line in [*lines, ""]:  # the last line would be cut at its descenders
        console.print(Text.from_ansi(line), soft_wrap=True)
    code = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    code = code.replace("Fira Code, monospace", FONTS)
    picture = console.export_svg(title=title, theme=THEME, code_format=code, unique_id="terminal")
    return re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
