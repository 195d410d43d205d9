"""What a forward pass changes besides gradients, so that it can be made as if it had not been."""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import nn


class Moment:
    """The buffers of a model and torch's generators, as they are. frozen: names of buffers that stay so."""

    def __init__(self, model: nn.Module, device: torch.device, frozen: Container[str] = ()) -> None:
        self.device = device
        self.buffers = [buffer for name, buffer in model.named_buffers() if name not in frozen]
        self.copies = [buffer.clone() for buffer in self.buffers]
        self.generator = torch.get_rng_state()
        self.on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def put_back(self) -> None:
        """Put it back."""
        with torch.no_grad():
            for buffer, copy in zip(self.buffers, self.copies, strict=True):
                buffer.copy_(copy)
        torch.set_rng_state(self.generator)
        if self.on_gpu is not None:
            torch.cuda.set_rng_state(self.on_gpu, self.device)
