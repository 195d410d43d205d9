"""Compared runs as one HTML file, with the pictures of the items that they answer differently."""

from __future__ import annotations

from pathlib import Path

from zoo.answers.comparing import Comparison, Difference
from zoo.data.names import one_line, shortened
from zoo.data.pixels.thumbnails import thumbnail

_MOST = 200


def describe_difference(difference: Difference) -> str:
    """A difference as a sentence."""
    low, high = difference.interval
    chance = "" if difference.p is None else f", p {difference.p:.2g}"
    verdict = "more than chance" if difference.is_real else "may well be chance"
    return (
        f"{difference.other} minus {difference.one}: {difference.difference:+.4f} "
        f"(95 % interval {low:+.4f} to {high:+.4f}{chance}): {verdict}"
    )


def render_changes(found: Comparison) -> str:
    """The page; names and texts of users are escaped."""
    from jinja2 import Environment

    template = Path(__file__).with_name("changes.html.jinja").read_text("utf-8")
    return (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            metric=found.metric,
            items=f"{found.items:,}",
            runs=[
                {
                    "name": one_line(row.name),
                    "model": row.run.record.model["name"],
                    "score": f"{row.score:.4f}",
                    "interval": "" if row.interval is None else "{:.4f} to {:.4f}".format(*row.interval),
                }
                for row in found.runs
            ],
            differences=[describe_difference(each) for each in found.differences],
            count=f"{len(found.changed):,}" + f", {_MOST} shown" * (len(found.changed) > _MOST),
            changed=[
                {
                    "name": shortened(one.path, 60),
                    "label": one_line(one.label),
                    "picture": None if one.item.text is not None else thumbnail(one.item.path),
                    "text": None if one.item.text is None else shortened(one.item.text, 300),
                    "answers": [
                        {
                            "words": f"{one_line(name)}: {one_line(label)} {chance:.0%}",
                            "right": label == one.label,
                        }
                        for name, (label, chance) in one.answers.items()
                    ],
                }
                for one in found.changed[:_MOST]
            ],
        )
    )
