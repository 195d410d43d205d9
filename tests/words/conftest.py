"""The real GloVe file, compiled once; gensim's reading of it; and a way to compile a few lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.judge import read_as_gensim

from zoo.words.compiling.compiler import CompileReport, compile_vectors
from zoo.words.vectors.word_vectors import WordVectors, open_vectors

Compile = Callable[..., tuple[WordVectors, CompileReport]]


@pytest.fixture(scope="session")
def glove(data: Path) -> Path:
    """The first 2,444 lines of GloVe 6B 50d."""
    return data / "words" / "glove.6B.50d.head.txt"


@pytest.fixture(scope="session")
def vectors(glove: Path, tmp_path_factory: pytest.TempPathFactory) -> WordVectors:
    """The same, compiled."""
    target = tmp_path_factory.mktemp("words") / "glove.words"
    compile_vectors(glove, target)
    return open_vectors(target)


@pytest.fixture(scope="session")
def reference(glove: Path) -> Any:
    """The same as gensim reads it."""
    return read_as_gensim(glove)


@pytest.fixture
def compile_bytes(tmp_path: Path) -> Compile:
    """Compile the bytes of a file and open the result."""

    def compile_them(
        content: bytes, name: str = "vectors.txt", **options: Any
    ) -> tuple[WordVectors, CompileReport]:
        source = tmp_path / name
        source.write_bytes(content)
        target = tmp_path / "compiled.words"
        report = compile_vectors(source, target, **options)
        return open_vectors(target), report

    return compile_them
