"""A recipe: everything that decides a fine-tuning run. Imports no torch.

`Recipe` holds what somebody wishes, `resolve` fills in what suits the rest, and `Resolved` is what a run is
made with and what its run.json keeps. Every field is a knob: one row in the file of its topic (head, depth,
phases, images, texts, data, machine). After a change of the rows: `python tools/generate_recipe.py`.
"""

from zoo.training.recipe.conditions import COMPUTED_HEADS as COMPUTED_HEADS
from zoo.training.recipe.conditions import LEARNED_ENCODERS as LEARNED_ENCODERS
from zoo.training.recipe.depth import AUTO as AUTO
from zoo.training.recipe.knob import Knob as Knob
from zoo.training.recipe.machine import DEVICES as DEVICES
from zoo.training.recipe.options import Recipe as Recipe
from zoo.training.recipe.options import RecipeOptions as RecipeOptions
from zoo.training.recipe.options import Resolved as Resolved
from zoo.training.recipe.phases import phase_of as phase_of
from zoo.training.recipe.resolving import begin_with as begin_with
from zoo.training.recipe.resolving import find_problems as find_problems
from zoo.training.recipe.resolving import from_json as from_json
from zoo.training.recipe.resolving import go_on as go_on
from zoo.training.recipe.resolving import merge as merge
from zoo.training.recipe.resolving import read_options as read_options
from zoo.training.recipe.resolving import resolve as resolve
from zoo.training.recipe.resolving import to_json as to_json
from zoo.training.recipe.resolving import wishes_of as wishes_of
from zoo.training.recipe.resolving import with_chosen as with_chosen
from zoo.training.recipe.table import KNOBS as KNOBS
