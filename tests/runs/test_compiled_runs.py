"""`--compile` from the shell, with the compiler that is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.commands import Call
from support.kits import Kit, on_tiny


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler (g++)")
@on_tiny
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_command_compiles_saves_plain_names_and_answers_alike(
    kit: Kit, few: Path, ask: Call, tmp_path: Path
) -> None:
    options = ("--unfreeze", 1, "--epochs", 1, "--tune-epochs", 1, "--batch-size", 4, "--device", "cpu")
    for run, more in (("plain", ()), ("compiled", ("--compile",))):
        said = ask("finetune", kit.net, few, *options, *more, "--out", tmp_path / run)
        assert said.code == 0, said.err
        assert ("the network is compiled" in said.err) == bool(more)
        assert "could not be compiled" not in said.err
    tensors = []
    for run in ("plain", "compiled"):
        tensors.append(load_file(tmp_path / run / "adapter.safetensors"))
    assert list(tensors[0]) == list(tensors[1])
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, rtol=1e-2, atol=1e-3)
    said = ask("evaluate", tmp_path / "compiled", few)
    assert said.code == 0, said.err
