"""A network in training whose first stages are frozen: a faster copy runs them, and the rest learns.

The frozen stages do not change in a phase, so their batch norms can be folded into their convolutions, as for
features. The copy is beside the network: weights, names, checkpoints and the frozen proof are the network's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adapters.splitting import NotSplit, Split, split_frozen
from zoo.backbones.known import is_known
from zoo.features.network import folded_copy
from zoo.features.sharing import portion_of, share_out
from zoo.training.moment import Moment

FEW = 4
"""Images that show where a network can be cut, and whether a copy agrees with it."""


class Halves:
    """A network cut where the first layer that learns is, with the first images that come.

    model: the whole. split: None before, and where it cannot be cut.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.split: Split | None = None
        self._tried = False
        self._fast: nn.Module | None = None
        self._portion = FEW

    def cut(self, inputs: Any) -> Split | None:
        """The halves, for inputs (items, channels, height, width); those of other kinds pass the whole, and
        so does everything in a network that is not known (`is_known`)."""
        if not self._tried and isinstance(inputs, Tensor) and len(inputs):
            self._tried = True
            if inputs.ndim == 4 and inputs.is_floating_point() and is_known(self.model):
                with torch.autocast(inputs.device.type, enabled=False):
                    self.split = split_frozen(self.model, inputs[:FEW])
        return self.split

    def prepare(self, inputs: Any) -> None:
        """Cut the network and make the faster copy, if that was not done: it calls both several times."""
        split = self.cut(inputs)
        if split is not None and self._fast is None and len(inputs):
            with torch.autocast(inputs.device.type, enabled=False):
                self._fast = folded_copy(split.before, inputs[:FEW])
                self._portion = portion_of(self._fast, self._fast, inputs[:1])

    def give_up(self) -> None:
        """Leave the network whole from here on."""
        self.split = self._fast = None

    def before(self, inputs: Tensor) -> Tensor:
        """What the first layer that learns gets of inputs, by the faster copy; on a CPU in portions."""
        assert self.split is not None
        fast = self._fast or self.split.before
        if inputs.device.type != "cpu":
            found: Tensor = fast(inputs)
            return found
        return torch.cat(share_out(fast, torch.split(inputs, self._portion)))

    def after(self, kept: Tensor, *, training: bool) -> Any:
        """The outputs of that. Raises NotSplit."""
        assert self.split is not None
        after = self.split.after
        if after.training != training:
            after.train(training)
        return after(kept)


class FromImages(nn.Module):
    """A network as training calls it: its frozen stages by the faster copy. Where it goes another way than
    before, chance and statistics are put back, and it is whole from there on."""

    def __init__(self, halves: Halves) -> None:
        super().__init__()
        self.model = halves.model
        self.halves = halves

    def forward(self, inputs: Any) -> Any:
        """The outputs."""
        halves = self.halves
        halves.prepare(inputs)  # nothing is left to do where it was called before, outside of what is shared
        if halves.split is None:
            return self.model(inputs)
        before = Moment(halves.split.after, inputs.device)
        try:
            return halves.after(halves.before(inputs), training=self.model.training)
        except NotSplit:
            before.put_back()
            halves.give_up()
        return self.model(inputs)


class FromEither(nn.Module):
    """A network for evaluation that takes images, or a tuple of what was kept of them."""

    def __init__(self, halves: Halves) -> None:
        super().__init__()
        self.model = halves.model
        self.halves = halves

    def forward(self, inputs: Any) -> Any:
        """The outputs. What was kept is copied: a layer may write into what it is given."""
        if isinstance(inputs, Tensor):
            return self.model(inputs)
        return self.halves.after(inputs[0].clone(), training=self.training)
