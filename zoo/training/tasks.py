"""The tasks by name, a row each: one class per item, several classes, numbers."""

from __future__ import annotations

from zoo.training.multi_label import MULTI_LABEL
from zoo.training.regression import REGRESSION
from zoo.training.single_label import SINGLE_LABEL
from zoo.training.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (SINGLE_LABEL, MULTI_LABEL, REGRESSION)}
MONITORS = tuple(dict.fromkeys(name for task in TASKS.values() for name in task.monitors))
