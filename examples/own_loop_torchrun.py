"""Your own loop in several processes: `adapters` under DistributedDataParallel.

    torchrun --standalone --nproc-per-node 2 examples/own_loop_torchrun.py photos/
    torchrun … examples/own_loop_torchrun.py photos/ --weights FILE.pth --mean .5 .5 .5 --std .5 .5 .5

All processes draw the same order, and each takes its share of every batch, so that no image is padded in
twice: a run of two is the run of one, up to rounding. What is unfrozen later needs a new wrapper.
"""

from __future__ import annotations

import torch
from own_loop import open_folder, read_options
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from adapters import attach_head, freeze, frozen_guard, parameter_groups, unfreeze

BATCH = 32


def main() -> None:
    """Train, and print the validation accuracy after each phase, in the first process."""
    options = read_options()
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, device = distributed.get_rank(), torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    train, val = (open_folder(options, part).dataset for part in ("train", "val"))

    model = mobilenet_v2(weights=None if options.weights else MobileNet_V2_Weights.DEFAULT)
    if options.weights:
        model.load_state_dict(torch.load(options.weights, weights_only=True))
    freeze(model)
    attach_head(model, train.classes, dropout=0, seed=0)
    model.to(device)

    for name, depth, lr in (("head alone", 0, 1e-3), ("last stage too", 1, 1e-4)):
        if depth:
            unfreeze(model, depth, freeze_norm=True)
        replica = DistributedDataParallel(model)  # takes what learns now: made anew after every unfreezing
        optimizer = torch.optim.Adam(parameter_groups(model, lr=lr, decay=0.5, weight_decay=1e-4))
        with frozen_guard(model):
            for epoch in range(options.epochs):
                loss = train_epoch(replica, train, optimizer, epoch, device)
        found = accuracy(model, val, device)
        if rank == 0:
            print(f"{name}: loss {loss:.4f}, accuracy {found:.4f}")
    distributed.destroy_process_group()


def train_epoch(
    replica: nn.Module, items: Dataset, optimizer: torch.optim.Optimizer, epoch: int, device: torch.device
) -> float:
    """One pass; returns the mean loss over all items of all processes."""
    replica.train()
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(epoch))  # the same everywhere
    world, total = distributed.get_world_size(), torch.zeros((), device=device)
    for batch in order.split(BATCH):
        images, labels = stack(items, share(batch), device)
        logits = replica(images)
        loss = nn.functional.cross_entropy(logits, labels, reduction="sum")  # 0 for a share without items
        optimizer.zero_grad()
        (loss / len(batch) * world).backward()  # gradients are averaged: so it is the mean over the batch
        optimizer.step()
        total += loss.detach()
    distributed.all_reduce(total)
    return total.item() / len(items)


@torch.no_grad()
def accuracy(model: nn.Module, items: Dataset, device: torch.device) -> float:
    """The share of all items whose class is found; every process looks at its share."""
    model.eval()
    right = torch.zeros((), device=device)
    for batch in share(torch.arange(len(items))).split(BATCH):
        images, labels = stack(items, batch, device)
        right += (model(images).argmax(1) == labels).sum()
    distributed.all_reduce(right)
    return right.item() / len(items)


def share(rows: Tensor) -> Tensor:
    """What this process takes of some rows: all shares together are the rows, each once."""
    return torch.tensor_split(rows, distributed.get_world_size())[distributed.get_rank()]


def stack(items: Dataset, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """The images (rows, 3, 224, 224) and their classes (rows,)."""
    pairs = [items[row] for row in rows.tolist()]
    images = torch.stack([image for image, _ in pairs]) if pairs else torch.empty(0, 3, 224, 224)
    labels = torch.tensor([label for _, label in pairs], dtype=torch.long)
    return images.to(device), labels.to(device)


if __name__ == "__main__":
    main()
