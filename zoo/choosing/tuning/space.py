"""What is searched, and which recipe some values are. A new parameter is a row here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters import ACTIVATIONS
from zoo.data.kinds import Kind
from zoo.errors import InvalidRecipe, UnknownName
from zoo.training.optimizers import OPTIMIZERS
from zoo.training.recipe import Recipe, Resolved, merge, resolve
from zoo.training.schedules import SCHEDULES

if TYPE_CHECKING:
    from optuna import Trial

Values = Mapping[str, Any]


def _always(_values: Values) -> bool:
    return True


@dataclass(frozen=True)
class Parameter:
    """One thing that is searched.

    knobs: of the recipe, that it decides; none of them may be given. suggest: (trial, name) -> a value.
    usual: its value in a recipe. where: (values so far) -> whether it applies.
    deeper: whether it matters only where stages of the network are trained too.
    """

    name: str
    knobs: tuple[str, ...]
    suggest: Callable[[Trial, str], Any]
    usual: Callable[[Resolved], Any]
    where: Callable[[Values], bool] = _always
    deeper: bool = False


def _log(low: float, high: float) -> Callable[[Trial, str], Any]:
    return lambda trial, name: trial.suggest_float(name, low, high, log=True)


def _steps(low: float, high: float, step: float) -> Callable[[Trial, str], Any]:
    return lambda trial, name: trial.suggest_float(name, low, high, step=step)


def _one_of(*choices: Any) -> Callable[[Trial, str], Any]:
    return lambda trial, name: trial.suggest_categorical(name, choices)


def _knob(name: str) -> Callable[[Resolved], Any]:
    return lambda recipe: getattr(recipe, name)


def _has_layers(values: Values) -> bool:
    return values.get("head") == "mlp"


def _trains_stages(values: Values) -> bool:
    return bool(values.get("unfreeze", "none") != "none" or values.get("strategy", "head") != "head")


def _row(name: str, suggest: Callable[[Trial, str], Any], **more: Any) -> Parameter:
    """A parameter that is a knob of the same name."""
    return Parameter(name, (name,), suggest, _knob(name), **more)


PARAMETERS = (
    _row("optimizer", _one_of(*(name for name, row in OPTIMIZERS.items() if row.extra is None))),
    _row("lr", _log(1e-5, 1.0)),
    _row("batch_size", _one_of(8, 16, 32, 64, 128)),
    _row("weight_decay", _log(1e-5, 1.0)),
    _row("dropout", _steps(0.0, 0.8, 0.1)),
    _row("label_smoothing", _steps(0.0, 0.2, 0.05)),
    _row("schedule", _one_of(*SCHEDULES)),
    _row("head", _one_of("linear", "mlp", "cosine")),
    Parameter(
        "layers",
        ("hidden",),
        lambda trial, name: trial.suggest_int(name, 1, 3),
        lambda recipe: len(recipe.hidden) or 1,
        where=_has_layers,
    ),
    Parameter(
        "width",
        ("hidden",),
        _one_of(32, 64, 128, 256, 512),
        lambda recipe: recipe.hidden[0] if recipe.hidden else 256,
        where=_has_layers,
    ),
    _row("activation", _one_of(*ACTIVATIONS), where=_has_layers),
    Parameter("unfreeze", ("unfreeze", "strategy"), _one_of("none", 1, 2), _knob("unfreeze"), deeper=True),
    _row("tune_lr", _log(1e-6, 1e-1), where=_trains_stages, deeper=True),
    _row("lr_decay", _steps(0.3, 1.0, 0.1), where=_trains_stages, deeper=True),
    _row("augment", _one_of("none", "light", "strong"), where=_trains_stages, deeper=True),
)


def tidy(value: Any) -> Any:
    """A value as a trial uses it and a recipe has it: six digits are enough, and 0.1 · 3 is 0.3.

    >>> tidy(0.30000000000000004), tidy(0.011447728330837), tidy("adam")
    (0.3, 0.0114477, 'adam')
    """
    return float(f"{value:.6g}") if isinstance(value, float) else value


@dataclass(frozen=True)
class Space:
    """base: what is given and stays. kind: of the items. parameters: what is searched."""

    base: Recipe
    kind: Kind
    parameters: tuple[Parameter, ...]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for every parameter that applies."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.where(values | self._given):
                values[parameter.name] = tidy(parameter.suggest(trial, parameter.name))
        return values

    def usual(self) -> dict[str, Any]:
        """The values of the recipe that nothing but the base is given for."""
        recipe = resolve(self.base, self.kind)
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.where(values | self._given):
                values[parameter.name] = parameter.usual(recipe)
        return values

    def recipe(self, values: Values) -> Recipe:
        """The recipe of some values."""
        found = dict(values)
        layers, width = found.pop("layers", None), found.pop("width", None)
        if layers is not None:
            found["hidden"] = (width,) * layers
        return merge(self.base, Recipe(**found))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def _given(self) -> dict[str, Any]:
        return {
            name: value
            for name in ("head", "unfreeze", "strategy")
            if (value := getattr(self.base, name)) is not None
        }


def choose_space(
    base: Recipe, kind: Kind, *, deeper: bool = False, over: Sequence[str] = (), items: int | None = None
) -> Space:
    """Every parameter whose knobs are left open by `base`, and have an effect beside it.

    over: names of those to search; empty for all. items: in training; a batch is not larger. Raises
    UnknownName for a name that is not a parameter, and InvalidRecipe if the base itself cannot be used.
    """
    resolve(base, kind)
    known = {parameter.name: parameter for parameter in PARAMETERS}
    for name in over:
        if name not in known:
            raise UnknownName("parameter", name, known)
    chosen = [
        parameter
        for parameter in PARAMETERS
        if (parameter.name in over or not over)
        and (deeper or not parameter.deeper or parameter.name in over)
        and all(getattr(base, knob) is None for knob in parameter.knobs)
        and (_usable(base, kind, parameter))
    ]
    if any(parameter.name == "unfreeze" for parameter in chosen):
        resolve(merge(base, Recipe(unfreeze=1)), kind)  # refuses what stages cannot be trained beside
    if items is not None:
        chosen = [_with_batches_up_to(items, p) if p.name == "batch_size" else p for p in chosen]
    return Space(base, kind, tuple(chosen))


def _usable(base: Recipe, kind: Kind, parameter: Parameter) -> bool:
    """Whether a recipe may have the parameter beside what is given; hidden layers come with the head."""
    if parameter.where is not _always:
        given = Space(base, kind, (parameter,))._given
        if parameter.name == "augment" and kind.cell == "text":
            return False
        open_ = {"head": "mlp"} if "strategy" in given else {"head": "mlp", "unfreeze": 1}
        return parameter.where(given) or parameter.where(open_ | given)
    value = parameter.usual(resolve(base, kind))
    try:
        resolve(merge(base, Recipe(**{parameter.knobs[0]: value})), kind)
    except InvalidRecipe:
        return False
    return True


def _with_batches_up_to(items: int, parameter: Parameter) -> Parameter:
    sizes = [size for size in (8, 16, 32, 64, 128) if size <= max(32, items)]  # 32 is the usual one
    return Parameter(parameter.name, parameter.knobs, _one_of(*sizes), parameter.usual)
