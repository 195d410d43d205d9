"""What is particular to texts."""

from __future__ import annotations

from adapters import ENCODERS
from zoo.training.recipe.conditions import FOR_TEXTS, LEARNED_ENCODER, WORDS_LEARN
from zoo.training.recipe.knob import Default, Knob
from zoo.words.texts.policies import POLICIES

_POLICY = "|".join(POLICIES)

KNOBS = (
    Knob(
        name="encoder",
        kind=str,
        doc="How the words of a text become one vector.",
        heading="texts",
        default=Default("mean"),
        choices=tuple(ENCODERS),
        only=(FOR_TEXTS,),
        fixed_on_resume=True,
    ),
    Knob(
        name="encoder_width",
        kind=int,
        doc="Width inside a trained encoder: filters, or units per direction.",
        heading="texts",
        default=Default(100),
        low=1,
        only=(FOR_TEXTS, LEARNED_ENCODER),
        fixed_on_resume=True,
    ),
    Knob(
        name="new_words",
        kind=int,
        doc="How often an unknown word must occur in the training texts to get its own vector; 0: never.",
        heading="texts",
        default=Default(2),
        low=0,
        only=(FOR_TEXTS, WORDS_LEARN),
        off=0,
        fixed_on_resume=True,
    ),
    Knob(
        name="unknown",
        kind=str,
        doc="What to do with other unknown words; several in the order to try: fold+apostrophe+ngrams. "
        "ngrams and mean help words of the training texts only.",
        heading="texts",
        default=Default("fold+apostrophe+hyphen"),
        choices=tuple(POLICIES),
        pattern=rf"({_POLICY})(\+({_POLICY}))+",
        only=(FOR_TEXTS,),
        fixed_on_resume=True,
    ),
    Knob(
        name="max_words",
        kind=int,
        doc="Words of a text that are read.",
        heading="texts",
        default=Default(1000),
        low=1,
        only=(FOR_TEXTS,),
        fixed_on_resume=True,
    ),
    Knob(
        name="baseline",
        kind=bool,
        doc="Measure TF-IDF with logistic regression on the same split, to compare with.",
        heading="texts",
        default=Default(True),
        only=(FOR_TEXTS,),
        off=False,
    ),
)
