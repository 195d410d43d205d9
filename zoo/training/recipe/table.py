"""The table of a recipe's knobs, by name."""

from __future__ import annotations

from zoo.training.recipe import data, head, images, machine, phases, texts
from zoo.training.recipe.knob import Knob

KNOBS: dict[str, Knob] = {
    knob.name: knob for topic in (head, phases, images, texts, data, machine) for knob in topic.KNOBS
}
