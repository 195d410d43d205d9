"""Pretrain the small network that ships in the wheel, on digits 0-4 of scikit-learn's bundled digits.

    python tools/pretrain_digits.py [--out zoo/weights/digits.safetensors]

`zoo demo` then teaches it digits 5-9, which it has never seen. Repeats bit for bit on one machine; takes
two minutes on a core. Prints the held-out accuracy and the sha256 that registry.yaml must name.

Source of the data: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (CC BY 4.0).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import timm
import torch
from safetensors.torch import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

ARCHITECTURE = "test_resnet"  # 0.37 million parameters: 0.75 MB as float16
CLASSES = 5
SIZE = 32  # pixels: 8 x 8 scans, enlarged as `zoo demo` writes them
MEAN, STD = 0.5, 0.5
EPOCHS, BATCH = 40, 64
TURNS = 8  # each image also comes turned by 0, 90, 180, 270 degrees and mirrored


def digit_images() -> tuple[Tensor, Tensor]:
    """Images (n, 3, 32, 32) in 0..1 and labels (n,) of the digits 0-4."""
    digits = load_digits()
    wanted = digits.target < CLASSES
    images = torch.tensor(digits.images[wanted], dtype=torch.float32)[:, None] / 16
    images = F.interpolate(images, size=(SIZE, SIZE), mode="bicubic").clamp(0, 1)
    return images.repeat(1, 3, 1, 1), torch.tensor(digits.target[wanted])


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned (±17°), sheared, scaled (0.8-1.2) and moved (±4 px) at random: as hands differ."""
    n = len(images)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle, shear, scale = between(-0.3, 0.3), between(-0.3, 0.3), between(0.8, 1.2)
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = [cos, -sin + shear, between(-0.25, 0.25), sin, cos, between(-0.25, 0.25)]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (moved * between(0.6, 1.3)[:, None, None, None]).clamp(0, 1)


def turn(images: Tensor, turns: Tensor) -> Tensor:
    """Each image in one of the eight orientations of a square. turns: (n,) in 0..7."""
    turned = [
        torch.rot90(i.flip(-1) if t >= 4 else i, t % 4, (-2, -1))
        for i, t in zip(images, turns.tolist(), strict=True)
    ]
    return torch.stack(turned)


def normalise(images: Tensor) -> Tensor:
    """Values as the registry entry's `mean` and `std` say."""
    return (images - MEAN) / STD


def pretrain() -> tuple[nn.Module, float]:
    """The trained network in eval mode, and its accuracy on the fifth that was held out.

    Beside the digit it learns which way up the digit is (Gidaris et al. 2018, arXiv:1803.07728), in one
    task of 5 x 8 classes: five classes alone are told apart by too few features to teach anything new with.
    Label smoothing is left out: it makes features transfer worse (Kornblith et al. 2021, arXiv:2010.16402).
    """
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    images, labels = digit_images()
    train, held_out = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    generator = torch.Generator().manual_seed(0)
    model = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=CLASSES)
    joint = nn.Linear(model.num_features, CLASSES * TURNS)  # only for pretraining; not shipped
    parameters = [*model.parameters(), *joint.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.02)
    steps = -(-len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, EPOCHS * steps)
    rows = torch.tensor(train)
    for epoch in range(EPOCHS):
        model.train()
        for batch in rows[torch.randperm(len(rows), generator=generator)].split(BATCH):
            turns = torch.randint(TURNS, (len(batch),), generator=generator)
            distorted = distort(images[batch], generator)
            turned = model.forward_features(normalise(torch.cat([distorted, turn(distorted, turns)])))
            upright, turned = model.forward_head(turned, pre_logits=True).chunk(2)
            loss = F.cross_entropy(model.get_classifier()(upright), labels[batch])
            loss = loss + F.cross_entropy(joint(turned), labels[batch] * TURNS + turns)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule.last_epoch < EPOCHS * steps:
                schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:>3}/{EPOCHS}  loss {loss.item():.4f}", flush=True)
    model.eval()
    with torch.inference_mode():
        right = model(normalise(images[held_out])).argmax(1) == labels[held_out]
    return model, right.float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "zoo" / "weights" / "digits.safetensors"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    model, accuracy = pretrain()
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    content = save(state, metadata={"format": "pt"})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    print(f"held-out accuracy {accuracy:.4f}\n{out}: {len(content):,} bytes")
    print(f"sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
