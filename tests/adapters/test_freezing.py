"""A frozen stage is a fixed function, whatever anybody calls; unfrozen, it is what it was."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from adapters import (
    AdapterError,
    FrozenChanged,
    TextClassifier,
    TextEncoder,
    UnknownName,
    assert_frozen_unchanged,
    attach_head,
    freeze,
    frozen_fingerprint,
    frozen_guard,
    stages,
    unfreeze,
    unfreeze_norms,
)

Network = Callable[[str], nn.Module]


def train(model: nn.Module, images: Tensor, *, steps: int = 5) -> None:
    """A few steps of SGD on noise, in train mode, as a training loop does them."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.01, momentum=0.9, weight_decay=0.01)
    for step in range(steps):
        model.train()
        output = model(images)
        logits = [output] if isinstance(output, Tensor) else [part for part in output if part is not None]
        labels = (torch.arange(len(images)) + step) % logits[0].shape[1]
        sum(F.cross_entropy(part, labels) for part in logits).backward()
        optimizer.step()
        optimizer.zero_grad()


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.thorough
def test_sixty_of_sixty_buffers_move_without_and_none_with_freeze(network: Network) -> None:
    images = torch.randn(8, 3, 64, 64)

    model = network("tv/resnet18")
    model.requires_grad_(False).fc.requires_grad_(True)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    train(model, images)
    moved = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    assert len(moved) == len(before) == 60

    model = network("tv/resnet18")
    attach_head(model, 3)
    freeze(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train(model, images)
    moved = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert moved == ["fc.layers.output.weight", "fc.layers.output.bias"]


def test_training_changes_the_head_alone(example: tuple[nn.Module, Tensor]) -> None:
    model, images = example
    head = attach_head(model, 3, aux=False)  # Inception's auxiliary classifier needs 299 pixels
    freeze(model)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    frozen = frozen_fingerprint(model)
    train(model, images, steps=2)
    assert assert_frozen_unchanged(model, frozen).checked >= len(list(model.parameters())) - len(before)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())


def test_a_frozen_network_gives_in_train_mode_what_it_gives_in_eval_mode(
    example: tuple[nn.Module, Tensor],
) -> None:
    model, images = example
    freeze(model)
    with torch.no_grad():
        expected = model.eval()(images)
        assert torch.equal(model.train()(images), expected)


def test_until_is_exclusive_like_the_end_of_a_range(network: Network) -> None:
    model = network("tv/resnet18")
    frozen = freeze(model, until="layer4")
    assert {name.split(".")[0] for name in frozen} == {"conv1", "bn1", "layer1", "layer2", "layer3"}
    assert {name.split(".")[0] for name in learning(model)} == {"layer4", "fc"}
    by_index = network("tv/resnet18")
    assert freeze(by_index, until=4) == frozen
    assert freeze(network("tv/resnet18"), until="stem") == freeze(network("tv/resnet18"), until=0) == []


@pytest.mark.parametrize("wanted", ["layer5", "", 6, -7])
def test_an_unknown_stage_is_answered_with_all_names(network: Network, wanted: str | int) -> None:
    with pytest.raises(UnknownName, match=r"layer4.*fc"):
        freeze(network("tv/resnet18"), until=wanted)


def test_the_stages_that_learn_collect_statistics_and_the_frozen_ones_do_not(network: Network) -> None:
    model = network("tv/resnet18")
    freeze(model, until="layer4")
    model.train()
    assert model.layer4[0].bn1.training
    assert model.training
    assert not model.layer3.training
    assert not model.bn1.training
    before = copy.deepcopy(model.state_dict())
    train(model, torch.randn(4, 3, 64, 64), steps=1)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {name.split(".")[0] for name in moved} == {"layer4", "fc"}
    assert "layer4.0.bn1.running_mean" in moved


def test_twice_is_as_once(example: tuple[nn.Module, Tensor]) -> None:
    model, _ = example
    assert freeze(model)
    state, held = modes(model), learning(model)
    assert freeze(model) == []
    assert (modes(model), learning(model)) == (state, held)
    unfreeze(model)
    assert unfreeze(model) == []


def test_unfreezing_restores_exactly(example: tuple[nn.Module, Tensor]) -> None:
    model, _ = example
    model.train()
    next(module for module in model.modules() if not list(module.children())).eval()
    keys, state = {id(m): set(vars(m)) for m in model.modules()}, (modes(model), learning(model))
    frozen = freeze(model)
    assert unfreeze(model) == frozen
    assert (modes(model), learning(model)) == state
    assert {id(m): set(vars(m)) for m in model.modules()} == keys


def test_an_unfrozen_stage_is_in_the_mode_of_the_rest(network: Network) -> None:
    model = network("tv/resnet18")
    freeze(model)
    model.train()
    unfreeze(model, 1)
    assert model.layer4[1].bn2.training
    freeze(model)
    model.eval()
    unfreeze(model)
    assert not any(modes(model).values())


@pytest.mark.parametrize(
    ("wanted", "learns"),
    [
        (0, {"fc"}),
        (1, {"layer4", "fc"}),
        (2, {"layer3", "layer4", "fc"}),
        (99, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}),
        (None, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}),
        ("layer2", {"layer2"}),
        (["stem", "layer4"], {"conv1", "bn1", "layer4"}),
    ],
)
def test_the_last_stages_or_those_named_learn_again(
    network: Network, wanted: int | str | list[str] | None, learns: set[str]
) -> None:
    model = network("tv/resnet18")
    freeze(model)
    unfrozen = unfreeze(model, wanted)
    assert {name.split(".")[0] for name in learning(model)} == learns
    assert learning(model) == set(unfrozen)


def test_fewer_than_no_stages_cannot_be_unfrozen(small: nn.Module) -> None:
    with pytest.raises(AdapterError, match="-1"):
        unfreeze(small, -1)


def test_norms_can_keep_their_statistics_while_they_learn_scale_and_shift(network: Network) -> None:
    for name in ("tv/resnet18", "timm/mobilenetv2_050"):  # timm's norms contain their activation
        model = network(name)
        freeze(model)
        unfreeze(model, freeze_norm=True)
        assert all(parameter.requires_grad for parameter in model.parameters())
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        weights = {name: p.clone() for name, p in model.named_parameters() if "bn1" in name}
        train(model, torch.randn(2, 3, 64, 64), steps=2)
        assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
        assert all(not torch.equal(weights[n], p) for n, p in model.named_parameters() if n in weights)
        assert model.training
        unfreeze(model)
        assert all(modes(model.train()).values())


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm1d(4, affine=False),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
        nn.LazyBatchNorm1d(),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_every_norm_with_statistics_is_held(norm: nn.Module) -> None:
    body = nn.Sequential(nn.Conv1d(3, 4, 3), norm, nn.Dropout(0.5), nn.Conv1d(4, 4, 3))
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(4 * 4, 2))
    series = torch.randn(5, 3, 8)
    model.eval()(series)  # a lazy norm learns its width
    freeze(model, until="2")
    before = copy.deepcopy(body.state_dict())
    with torch.no_grad():
        expected = model.eval()(series)
        assert torch.equal(model.train()(series), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in body.state_dict().items())
    assert not norm.training


def activated_norm() -> nn.Module:
    """timm's batch norm, which has its activation in it."""
    from timm.layers import BatchNormAct2d

    return BatchNormAct2d(3)


class Counting(nn.Module):
    """A network that collects statistics of its inputs itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.running_mean.add_(x.mean((0, 2, 3)))
        return self.linear(self.conv(x - self.running_mean[:, None, None]).mean((2, 3)))


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.BatchNorm2d(3),
        lambda: nn.BatchNorm2d(3, affine=False),
        lambda: nn.InstanceNorm2d(3, track_running_stats=True),
        activated_norm,
        lambda: nn.Dropout(),
        lambda: nn.RReLU(),
        lambda: spectral_norm(nn.Conv2d(3, 3, 1)),
        Counting,
    ],
)
def test_one_module_of_a_network_is_frozen_as_a_whole_network_is(build: Callable[[], nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), build())
    part, images = network[1], 2 + torch.randn(4, 3, 8, 8)
    freeze(part)
    before = {name: buffer.clone() for name, buffer in part.named_buffers()}
    given = network.train()(images)
    assert not any(module.training for module in part.modules())
    assert network[0].training
    assert all(torch.equal(buffer, before[name]) for name, buffer in part.named_buffers())
    assert torch.equal(given, network.eval()(images))
    unfreeze(network)
    assert all(module.training for module in network.train().modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_recurrent_layer_by_itself_has_no_dropout_once_it_is_frozen() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, dropout=0.5)
    freeze(layer)
    rows = torch.randn(2, 5, 3)
    assert torch.equal(layer.train()(rows)[0], layer.eval()(rows)[0])


def test_a_single_norm_can_keep_its_statistics_while_it_learns() -> None:
    norm = nn.BatchNorm1d(3)
    freeze(norm)
    unfreeze(norm, freeze_norm=True)
    norm.train()(torch.randn(8, 3) + 5)
    assert norm.running_mean is not None
    assert not norm.running_mean.any()
    assert learning(norm) == {"weight", "bias"}


def test_two_and_three_dimensional_norms_are_held() -> None:
    for dimension, conv, norm in ((2, nn.Conv2d, nn.BatchNorm2d), (3, nn.Conv3d, nn.BatchNorm3d)):
        model = nn.Sequential(
            conv(3, 4, 1), norm(4), conv(4, 4, 1), nn.Flatten(), nn.Linear(4 * 2**dimension, 2)
        )
        freeze(model, until="4")
        model.train()(torch.randn(2, 3, *[2] * dimension))
        assert int(model[1].num_batches_tracked) == 0


def test_nothing_that_sets_the_mode_gets_through(small: nn.Sequential) -> None:
    freeze(small)
    small.train()
    small.train(True).train()
    small[1].train()
    small.apply(lambda module: module.train())
    for child in small.children():
        assert child.train() is child
    assert small.train() is small
    assert not any(modes(small).values())


def test_class_track_running_stats_and_state_dict_stay_what_they_are(network: Network) -> None:
    model = network("tv/resnet18")
    kinds, keys = [type(m) for m in model.modules()], list(model.state_dict())
    freeze(model)
    assert [type(m) for m in model.modules()] == kinds
    assert list(model.state_dict()) == keys
    assert model.bn1.track_running_stats
    model.load_state_dict(network("tv/resnet18").state_dict())


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded: nn.Module = torch.load(file, weights_only=False)
    return loaded


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, saved, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["deepcopy", "torch.save", "pickle"],
)
def test_a_copy_is_frozen_by_itself(network: Network, duplicate: Callable[[nn.Module], nn.Module]) -> None:
    model = network("timm/mobilenetv2_050")
    attach_head(model, 3)
    freeze(model)
    twin = duplicate(model)
    assert learning(twin) == learning(model)
    with frozen_guard(twin), frozen_guard(model):
        train(twin, torch.randn(2, 3, 64, 64), steps=2)
    assert sum(modes(twin).values()) == sum(modes(model.train()).values()) > 0
    unfreeze(twin)
    assert all(modes(twin).values())  # train was asked for last
    assert not model.blocks.training
    assert len(learning(twin)) > len(learning(model))


@pytest.mark.thorough
def test_it_holds_under_torch_compile(network: Network) -> None:
    model = network("tv/resnet18")
    attach_head(model, 3)
    freeze(model)
    compiled = torch.compile(model, backend="eager")
    with frozen_guard(model):
        train(compiled, torch.randn(2, 3, 64, 64), steps=2)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """A process group of one."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_it_holds_under_distributed_data_parallel(network: Network, process_group: None) -> None:
    from torch.nn.parallel import DistributedDataParallel

    model = network("tv/resnet18")
    attach_head(model, 3)
    freeze(model)
    parallel = DistributedDataParallel(model)
    with frozen_guard(model):
        train(parallel, torch.randn(2, 3, 64, 64), steps=2)


def test_an_averaged_model_stays_frozen(small: nn.Sequential) -> None:
    freeze(small, until="10")
    average = torch.optim.swa_utils.AveragedModel(small)
    assert [stage.name for stage in stages(average)][-1].endswith("10")
    average.train()
    assert not average.module[1].training
    assert small[1] is not average.module[1]


def test_a_module_put_into_a_frozen_network_later_learns(network: Network) -> None:
    model = network("tv/resnet18")
    freeze(model)
    model.layer1.add_module("adapter", nn.Sequential(nn.Conv2d(64, 64, 1), nn.Dropout()))
    model.train()
    assert model.layer1.adapter[1].training
    assert not model.layer1[0].bn1.training


def test_a_frozen_parameter_in_an_optimizer_is_left_alone(small: nn.Sequential) -> None:
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    small.train()(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    freeze(small, until="10")
    with frozen_guard(small):
        optimizer.step()


def test_a_parameter_fixed_by_design_stays_fixed(small: nn.Sequential) -> None:
    small[0].bias.requires_grad_(False)
    freeze(small)
    freeze(small)
    unfreeze(small)
    assert not small[0].bias.requires_grad
    assert all(parameter.requires_grad for name, parameter in small.named_parameters() if name != "0.bias")


def test_a_network_that_came_frozen_learns_once_it_is_unfrozen(small: nn.Sequential) -> None:
    small.requires_grad_(False)
    freeze(small)
    unfreeze(small, 1)
    assert learning(small) == {"4.weight", "4.bias", "5.weight", "5.bias", "10.weight", "10.bias"}


def test_the_head_is_spared_but_can_be_frozen_by_itself(small: nn.Sequential) -> None:
    head = attach_head(small, 3, head="mlp", hidden=[8], batch_norm=True, standardize=True)
    freeze(small)
    assert learning(small) == {f"10.{name}" for name, _ in head.named_parameters()}
    small.train()
    assert all(module.training for module in head.modules())
    freeze(head)
    assert learning(small) == set()
    assert not any(modes(head.train()).values())
    unfreeze(head)
    assert len(learning(small)) == len(list(head.parameters()))


def test_a_wholly_frozen_network_has_no_dropout_of_its_own_either() -> None:
    import timm

    model = timm.create_model("mobilenetv2_050", pretrained=False, num_classes=0, drop_rate=0.5)
    freeze(model)
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.train()(images), model.train()(images))
    assert attach_head(model, 3).train() is not None
    model.train()
    assert model.training  # the head learns: what is above it follows .train() again


def test_a_module_with_a_train_of_its_own_forgets_what_it_computed_for_eval() -> None:
    import timm

    model = timm.create_model("efficientvit_m0", pretrained=False, num_classes=4)
    images = torch.randn(2, 3, 224, 224)
    freeze(model)
    model.train()
    with torch.no_grad():
        model(images)  # held in eval: attention biases are computed once and kept
        unfreeze(model)
        for name, parameter in model.named_parameters():
            if "attention_biases" in name:
                parameter.add_(torch.randn_like(parameter))
        fresh = copy.deepcopy(model.state_dict())
        found = model.eval()(images)
        other = timm.create_model("efficientvit_m0", pretrained=False, num_classes=4).eval()
        other.load_state_dict(fresh)
        torch.testing.assert_close(found, other(images))


def test_what_gets_round_the_hold_is_found_out(small: nn.Sequential) -> None:
    freeze(small, until="10")
    before = frozen_fingerprint(small)
    small[1].training = True
    small(torch.randn(4, 3, 16, 16))
    with pytest.raises(FrozenChanged, match=r"1\.running_mean"):
        assert_frozen_unchanged(small, before)


def test_converted_norms_are_held_again_by_freezing_again(small: nn.Sequential) -> None:
    freeze(small, until="10")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(small)
    freeze(converted, until="10")
    converted.train()
    assert not any(module.training for module in converted.modules() if isinstance(module, nn.SyncBatchNorm))


@pytest.mark.parametrize("name", ["tv/resnet18", "timm/test_vit", "timm/mobilenetv2_050"])
def test_norms_and_biases_alone_learn_and_statistics_stay(network: Network, name: str) -> None:
    model = network(name)
    freeze(model)
    unfrozen = unfreeze_norms(model)
    assert learning(model) == set(unfrozen)
    assert {parameter.ndim for parameter in model.parameters() if parameter.requires_grad} == {1}
    assert unfreeze_norms(model) == []
    side = 160 if "vit" in name else 64
    before = copy.deepcopy(model.state_dict())
    with frozen_guard(model):
        train(model, torch.randn(2, 3, side, side), steps=2)
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved
    assert moved <= set(unfrozen)
    freeze(model)
    assert learning(model) == set()


def test_a_text_encoder_is_frozen_like_any_network() -> None:
    encoder = TextEncoder(torch.randn(20, 8), encoder="cnn", new_words=3)
    model = TextClassifier(encoder, 2)
    head = attach_head(model, 4)
    freeze(model)
    assert learning(model) == {f"classifier.{name}" for name, _ in head.named_parameters()}
    with frozen_guard(model):
        train(model, torch.randint(0, 23, (4, 12)), steps=2)
    unfreeze(model, 1)
    assert {name for name in learning(model) if name.startswith("encoder")}
