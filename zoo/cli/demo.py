"""The verb `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.cli.command import Context, command
from zoo.cli.sink import table
from zoo.training.interruption import StopSignal

START = {
    "head-only": "knows 0-4, new head",
    "fine-tuned": "knows 0-4, every layer",
    "from-scratch": "from scratch, every layer",
}
COLUMNS = {
    "run": "START",
    "accuracy": "VAL ACCURACY",
    "loss": "VAL LOSS",
    "trained": "TRAINED",
    "seconds": "SECONDS",
}


@command("zoo demo --out my-demo")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A new folder for it.  [default: zoo-demo, zoo-demo-2, …]"
)
def demo(context: Context, out: Path | None) -> None:
    """See transfer work, offline, in a minute.

    A network of 0.4 million parameters that ships with zoo has seen the digits 0 to 4. It learns 5 to 9 from
    five images of each, beside the same network from scratch.
    """
    from zoo.runs.demo import TRAIN_IMAGES, run_demo
    from zoo.runs.folder import next_free

    with StopSignal() as stop:
        found = run_demo(
            out or next_free(Path("zoo-demo")),
            registry=context.registry,
            store=context.store,
            report=context.report,
            stop_requested=stop,
        )

    def human() -> str:
        rows = [
            {
                "run": START[name],
                "accuracy": f"{run.val_accuracy:.3f}",
                "loss": f"{run.val_loss:.3f}",
                "trained": run.trained_parameters,
                "seconds": f"{run.seconds:.1f}",
            }
            for name, run in found.runs.items()
        ]
        example = found.runs["fine-tuned"].run
        return (
            f"Digits 5 to 9, {TRAIN_IMAGES} training images of each:\n\n{table(rows, COLUMNS)}\n\n"
            f"Look closer:  zoo evaluate {example} {found.images}\n"
            f"              zoo predict {example} {found.images / 'val' / 'seven'}\n"
            f"Your own:     zoo finetune mobilenet_v2 PHOTOS --out run"
        )

    runs = {name: run.facts() for name, run in found.runs.items()}
    context.sink.answer({"images": str(found.images), "runs": runs}, human)


COMMANDS = {"demo": demo}
