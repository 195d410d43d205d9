"""What training scripts keep beside the weights and cannot do harm: read as stand-ins, never as what it is.

A pickle names classes and functions, and torch's `weights_only` unpickler refuses every name that it does not
know. Those below are of values: numbers of numpy, versions, paths, dates, settings. In the place of each
stands a class of ours that takes anything and holds nothing, or a plain dict or list: nothing of the named
library is imported or called, whether it is installed or not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any


class Value:
    """A value that is left out. It takes any arguments and any state, and keeps none of it."""

    def __new__(cls, *_arguments: Any) -> Value:
        return super().__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        pass


class Settings:
    """In the place of a kind of dict: a plain ordered one, for it may hold the weights."""

    def __new__(cls, *_arguments: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class Items:
    """In the place of a kind of list: a plain one."""

    def __new__(cls, *_arguments: Any) -> list[Any]:  # type: ignore[misc]
        return []


# module, or several with "|" -> the names in it
_VALUES = {
    "numpy.core.multiarray|numpy._core.multiarray": "scalar _reconstruct",
    "numpy": "dtype ndarray bool_ str_ bytes_ float16 float32 float64 int8 int16 int32 int64"
    " uint8 uint16 uint32 uint64",
    "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "torch.torch_version": "TorchVersion",
    "packaging.version|pkg_resources.extern.packaging.version": "Version _Version",
    "packaging._structures": "InfinityType NegativeInfinityType",
    "pathlib|pathlib._local": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "datetime": "datetime date time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID SafeUUID",
    "builtins": "list dict tuple int float str bool bytes frozenset slice range object",
    "typing": "Any",
    "types": "SimpleNamespace",
    "argparse": "Namespace",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.base": "ContainerMetadata Metadata",
    "omegaconf.nodes": "AnyNode StringNode IntegerNode FloatNode BooleanNode BytesNode PathNode",
}
_SETTINGS = {
    "collections": "defaultdict",
    "easydict": "EasyDict",
    "addict|addict.addict": "Dict",
    "munch": "Munch",
    "yacs.config|fvcore.common.config|detectron2.config.config": "CfgNode",
    "ml_collections.config_dict.config_dict": "ConfigDict",
    "mmcv.utils.config|mmengine.config.config": "ConfigDict",
    "pytorch_lightning.utilities.parsing|lightning.pytorch.utilities.parsing": "AttributeDict",
    "lightning_fabric.utilities.data|lightning.fabric.utilities.data": "AttributeDict",
}
_ITEMS = {"collections": "deque"}


def _rows() -> Iterator[tuple[Any, str]]:
    for stand_in, table in ((Value, _VALUES), (Settings, _SETTINGS), (Items, _ITEMS)):
        for modules, names in table.items():
            for module in modules.split("|"):
                yield from ((stand_in, f"{module}.{name}") for name in names.split())


STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = list(_rows())
"""(stand-in, full name) for torch.serialization.safe_globals."""
