"""A run that was saved, with every answer it can give: predict, evaluate, embed, explain, a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.events import Report, silent
from zoo.notebook import facts_table
from zoo.runs.run import Run as PlainRun
from zoo.runs.run import load_run as load_plain_run

if TYPE_CHECKING:
    from zoo.answers.explaining.explainer import Method
    from zoo.answers.explaining.explanations import Explanation
    from zoo.data.pixels.batches import OnBad
    from zoo.runs.answers import Prediction
    from zoo.store.store import Store


class Run(PlainRun):
    """A run folder. The network is built when it is first needed, from the same backbone by its sha256.

    record: what run.json says: classes, recipe, split, result, versions.
    """

    def predict(
        self,
        items: Iterable[object],
        *,
        false_alarms: float | None = None,
        data: str | Path | None = None,
        **options: Any,
    ) -> list[Prediction]:
        """One Prediction per item, in the order given; of one that cannot be read, with its error.

        items: of a run on images, files, folders (which stand for the images in them), Pillow images, uint8
        arrays (height, width, 3), uint8 tensors (3, height, width), or the bytes of a file. Of a run on
        texts, texts themselves, and Path objects of files with a text per line; each gives a TextPrediction.
        false_alarms: also whether each item is novel, unlike all training items, so that at most this share
        of familiar ones, in 0..1, is called so; data: where the data of the run are, None to look for them by
        name here and beside the run. options: top=5, abstain_below, sets, batch_size, device, on_bad: see
        `zoo.runs.run.Run.predict`. Raises UsageError for what the run cannot give, DatasetError where the
        data of the run are needed and not there.
        """
        if false_alarms is None:
            return super().predict(items, **options)
        from zoo.answers.novelty import learn_familiar

        items = [*items]
        familiar = learn_familiar(
            self.path,
            self.record,
            self.classifier,
            false_alarms,
            data=None if data is None else Path(data),
            store=self.store,
            device=options.get("device", "auto"),
            report=self.report,
        )
        return list(familiar.mark(super().predict(items, **options), self.gather(items)))

    def explain(
        self,
        items: Iterable[object],
        *,
        labels: Sequence[str] = (),
        method: Method | None = None,
        nearest: int = 3,
        data: str | Path | None = None,
        device: str = "auto",
        on_bad: OnBad = "skip",
    ) -> list[Explanation]:
        """Why the network answers as it does: an Explanation for each item and label, in the order given.

        items: as for `predict`. labels: the classes, or numbers, to explain; none for those that are
        predicted. method: of images "grad-cam" or "occlusion"; None for what suits the network. nearest: how
        many training items that are alike; data: where the training data lie, None to look for them by name
        here and beside the run. Of images each is an ImageExplanation with a map, of texts a TextExplanation
        with words. Raises UnknownName for a label that the run lacks.
        """
        from zoo.answers.explaining.explainer import Wishes, explain_items
        from zoo.answers.explaining.neighbours import training_items

        gathered = self.gather(items)
        place = None if data is None else Path(data)
        trained = training_items(self.path, self.record, place, report=self.report) if nearest > 0 else ()
        wishes = Wishes(tuple(labels), method, trained, nearest, device, on_bad)
        return list(explain_items(self.classifier, gathered, wishes, store=self.store, report=self.report))

    def write_report(self, data: str | Path | None = None, **options: Any) -> Path:
        """Write one page about the run, and return the file. Arguments and errors: see `zoo.write_report`."""
        from zoo.answers.reporting.page import write_report

        return write_report(self, data, report=self.report, **options)

    def _repr_html_(self) -> str:
        """The run as a notebook shows it: what it is, its score, its classes. Names of users are escaped."""
        result, names = self.record.result, self.classes
        interval = result.val_interval
        sure = "" if interval is None else f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})"
        rows = {
            "run": str(self.path),
            "model": f"{self.record.model['name']} ({self.record.entry.license})",
            "data": self.record.data["root"],
            **{f"val {name}": f"{value:.4f}" for name, value in result.metrics.items()},
            "classes": ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else ""),
            "made": self.record.created,
        }
        first = f"val {self.record.task.headline}"
        rows[first] = rows.get(first, "") + sure
        return facts_table(rows)


def load_run(path: str | Path, *, store: Store | None = None, report: Report = silent) -> Run:
    """The run in a folder. Its record is checked now, its weights when they are needed.

    path: of the folder, or of a file in it. Raises UsageError if it is something else, and IntegrityError if
    the run is damaged.
    """
    plain = load_plain_run(path, store=store, report=report)
    return Run(plain.path, plain.record, plain.store, plain.report)
