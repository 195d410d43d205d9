"""The table of a recipe's knobs, by name."""

from __future__ import annotations

from zoo.training.recipe import data, depth, head, images, machine, phases, texts
from zoo.training.recipe.knob import Knob

KNOBS: dict[str, Knob] = {
    knob.name: knob for topic in (head, depth, phases, images, texts, data, machine) for knob in topic.KNOBS
}
