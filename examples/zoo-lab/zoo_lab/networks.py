"""`lab/NAME`: networks that no library has."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.plugins import Architecture, Blueprint, UnknownName

WIDTHS = {"tinynet": (16, 32, 64), "tinynet_wide": (32, 64, 128)}


class TinyNet(nn.Module):
    """Three stages, each of half the size of the one before.

    (batch, channels, size, size) -> (batch, classes). classes: None for one whose output is the feature
    vector.
    """

    def __init__(self, widths: tuple[int, ...], *, channels: int, classes: int | None) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        for width in widths:
            self.stages.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
            )
            channels = width
        self.classifier = nn.Identity() if classes is None else nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stages(images).mean((2, 3))
        return self.classifier(features)  # type: ignore[no-any-return]


def build(plan: Blueprint) -> nn.Module:
    """The network of a name, with random weights."""
    if plan.name not in WIDTHS:
        raise UnknownName("architecture of the lab", plan.name, WIDTHS)
    return TinyNet(WIDTHS[plan.name], channels=plan.input.channels, classes=plan.classes, **plan.arguments)


ARCHITECTURE = Architecture(build)
