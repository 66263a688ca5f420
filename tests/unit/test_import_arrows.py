"""Imports between the packages of vsalt point one way; see docs/explanation/architecture.md.

    cli → compare → {interop, evaluation, embedding, report, linear, doctor, bench, scale}
        → training →
        objectives → targets → {models, masking, data, compute}

A module imports from its own package, from lower layers, and from plain modules. Plain are
`vsalt.errors`, `vsalt.durable`, `vsalt.randomness`, every `config`, `*_config` and `types` module
of a package, and, for training and above, `vsalt.config` and `vsalt.presets`. `vsalt.linear` may
import only the errors.
Imports inside functions and under TYPE_CHECKING count; so do constant names given to importlib.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"

LAYERS = (
    ("models", "masking", "data", "compute"),
    ("targets",),
    ("objectives",),
    ("training",),
    ("interop", "evaluation", "embedding", "report", "linear", "doctor", "bench", "scale"),
    ("compare",),
    ("cli",),
)
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
# `python -m vsalt` is the command line, `import vsalt` shows the public names of all layers.
LEVEL |= {"__main__": len(LAYERS), "": len(LAYERS)}
TYPING_ONLY = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
COMPOSED_CONFIG = ("config", "presets")
PLAIN_ROOTS = ("errors", "durable", "randomness")
# What each of these may import of vsalt, instead of what its layer allows.
ONLY: Mapping[str, tuple[str, ...]] = {
    "errors": (),
    "durable": ("errors",),
    "randomness": ("errors",),
    "linear": ("errors",),
}


@dataclass(frozen=True)
class Import:
    """One imported name, resolved to a module."""

    target: str
    line: int
    at_load: bool  # runs when the module is loaded: not in a function, not under TYPE_CHECKING
    at_runtime: bool  # not under TYPE_CHECKING


@dataclass(frozen=True)
class Module:
    """One source file; `name` is relative to vsalt, so vsalt itself is the empty name."""

    name: str
    is_package: bool
    tree: ast.Module

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_composed_config(self) -> bool:
        return self.top in COMPOSED_CONFIG

    @property
    def is_config(self) -> bool:
        return self.is_composed_config or self.name.endswith((".config", "_config"))


Modules = Mapping[str, Module]


def test_imports_follow_the_arrows() -> None:
    violations = arrow_violations(read_modules(SOURCE))
    assert not violations, "\n".join(violations)


def test_configs_and_errors_load_no_torch() -> None:
    violations = torch_violations(read_modules(SOURCE))
    assert not violations, "\n".join(violations)


def test_the_tree_is_seen() -> None:
    names = set(read_modules(SOURCE))
    assert {"", "errors", "config", "cli.main"} <= names
    assert len(names) == len(list((SOURCE / "vsalt").rglob("*.py")))


# --- the rules -----------------------------------------------------------------------------------


def arrow_violations(modules: Modules) -> list[str]:
    violations = []
    for module in modules.values():
        if module.top not in {*LEVEL, *COMPOSED_CONFIG, *PLAIN_ROOTS}:
            violations.append(f"vsalt.{module.name}: {module.top!r} has no place in the layers")
            continue
        for found in imports(module, modules):
            if not _is_inside(found.target, "vsalt"):
                continue
            reason = _why_not(module, found.target, modules)
            if reason:
                violations.append(f"{_where(module, found)} imports {found.target}: {reason}")
    return violations


def _why_not(module: Module, target: str, modules: Modules) -> str | None:
    """The broken rule, or None where `module` may import `target`."""
    name = target.removeprefix("vsalt").removeprefix(".")
    top = name.partition(".")[0]
    if name == "__version__":
        return None
    if name not in modules:
        return "there is no such module"
    if module.name == "":
        return None
    if name == "":
        return "the public names are for users; import the module that defines them"
    if module.top in ONLY:
        allowed = (module.top, *ONLY[module.top])
        return None if top in allowed else f"{module.top} may import only {', '.join(allowed)}"
    if top == module.top or top in PLAIN_ROOTS:
        return None
    if top in COMPOSED_CONFIG:
        may = module.is_composed_config or LEVEL.get(module.top, -1) >= LEVEL["training"]
        return None if may else f"{top} is for training and above"
    if name.endswith((".config", "_config", ".types")):
        return None
    if module.is_composed_config:
        return f"{module.top} composes config modules and nothing else"
    return _why_not_by_layer(module.top, top)


def _why_not_by_layer(importer: str, imported: str) -> str | None:
    if LEVEL[imported] < LEVEL[importer]:
        return None
    if LEVEL[imported] == LEVEL[importer]:
        return f"{importer} and {imported} are siblings; share a plain module instead"
    return f"{imported} lies above {importer}"


def torch_violations(modules: Modules) -> list[str]:
    """Configs and errors that import torch, themselves or through what they load."""
    violations = []
    for module in modules.values():
        if not (module.is_config or module.name == "errors"):
            continue
        for found in imports(module, modules):
            if _is_inside(found.target, "torch") and found.at_runtime:
                violations.append(f"{_where(module, found)} imports {found.target}")
        path = _path_to_torch(module, modules)
        if path:
            violations.append(f"vsalt.{module.name} loads torch: {' → '.join(path)}")
    return violations


def _path_to_torch(start: Module, modules: Modules) -> list[str]:
    """A shortest chain of loads from `start` to torch, parent packages included, else nothing."""
    paths = [[start.name]]
    seen = {start.name}
    for path in paths:
        for target in _loaded_by(modules[path[-1]], modules):
            if _is_inside(target, "torch"):
                return [*(f"vsalt.{name}".rstrip(".") for name in path), "torch"]
            name = target.removeprefix("vsalt").removeprefix(".")
            if _is_inside(target, "vsalt") and name in modules and name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return []


def _loaded_by(module: Module, modules: Modules) -> Iterator[str]:
    for target in (f.target for f in imports(module, modules) if f.at_load):
        yield target
        while "." in target:  # Python runs every package on the way first
            target = target.rpartition(".")[0]
            yield target
    if module.name:
        parent = module.name.rpartition(".")[0]
        yield f"vsalt.{parent}".rstrip(".")


# --- reading -------------------------------------------------------------------------------------


def read_modules(source: Path) -> dict[str, Module]:
    found = {}
    for file in sorted((source / "vsalt").rglob("*.py")):
        parts = file.relative_to(source / "vsalt").with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found[name] = Module(name, is_package, ast.parse(file.read_text(encoding="utf-8")))
    return found


def imports(module: Module, modules: Modules) -> list[Import]:
    found: list[Import] = []
    _collect(module.tree.body, module, modules, found, at_load=True, at_runtime=True)
    return found


def _collect(
    nodes: Iterable[ast.AST],
    module: Module,
    modules: Modules,
    found: list[Import],
    *,
    at_load: bool,
    at_runtime: bool,
) -> None:
    for node in nodes:
        for target in _targets(node, module, modules):
            found.append(Import(target, node.lineno, at_load, at_runtime))
        if isinstance(node, ast.If) and ast.unparse(node.test) in TYPING_ONLY:
            _collect(node.body, module, modules, found, at_load=False, at_runtime=False)
            _collect(node.orelse, module, modules, found, at_load=at_load, at_runtime=at_runtime)
            continue
        in_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        _collect(
            ast.iter_child_nodes(node),
            module,
            modules,
            found,
            at_load=at_load and not in_function,
            at_runtime=at_runtime,
        )


def _targets(node: ast.AST, module: Module, modules: Modules) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=base, names=names, level=level):
            absolute = _absolute(base or "", level, module)
            return [_module_or_member(absolute, alias.name, modules) for alias in names]
        case ast.Call(func=function, args=[ast.Constant(value=str() as name), *_]):
            called = ast.unparse(function).rpartition(".")[2]
            return [name] if called in ("import_module", "__import__") else []
    return []


def _absolute(base: str, level: int, module: Module) -> str:
    if level == 0:
        return base
    parts = ["vsalt", *module.name.split(".")] if module.name else ["vsalt"]
    package = parts if module.is_package else parts[:-1]
    return ".".join([*package[: len(package) - level + 1], *([base] if base else [])])


def _module_or_member(base: str, member: str, modules: Modules) -> str:
    """`from base import member` loads base.member where that is a module, else only base."""
    inside = f"{base}.{member}".removeprefix("vsalt").removeprefix(".")
    if _is_inside(base, "vsalt") and (inside in modules or inside == "__version__"):
        return f"{base}.{member}"
    return base


def _is_inside(target: str, package: str) -> bool:
    return target == package or target.startswith(f"{package}.")


def _where(module: Module, found: Import) -> str:
    return f"vsalt.{module.name}".rstrip(".") + f":{found.line}"


# --- each rule can fail --------------------------------------------------------------------------

TREE = {
    "": "",
    "__main__": "from vsalt.cli.main import main",
    "errors": "",
    "randomness": "import numpy\nfrom vsalt.errors import VsaltError",
    "config": "from vsalt.data.config import DataConfig\nfrom vsalt import errors, presets",
    "presets": "",
    "presets.small": "import vsalt.config",
    "models": "",
    "models.config": "from vsalt.errors import ConfigError",
    "models.types": "import torch",
    "models.vit": "import torch\nfrom . import types\nfrom .config import ViTConfig",
    "data": "",
    "data.config": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
    "data.clips": "from vsalt.models.types import Grid\nfrom vsalt import randomness, __version__",
    "targets": "",
    "targets.teacher": "from vsalt.models import vit",
    "objectives": "",
    "objectives.salt": "from ..targets.teacher import Teacher\nimport vsalt.models.vit",
    "training": "",
    "training.loop": "from vsalt.config import RunConfig\nimport vsalt.objectives.salt",
    "evaluation": "",
    "evaluation.knn": "def fit():\n    from vsalt.training.loop import run",
    "interop": "",
    "interop.hub": "import vsalt.models.vit",
    "compare": "",
    "compare.cells": "import vsalt.evaluation.knn\nfrom vsalt.config import RunConfig",
    "linear": "",
    "linear.flow": "import numpy\nfrom vsalt.errors import VsaltError\nfrom . import flow",
    "cli": "",
    "cli.main": "import importlib\nimportlib.import_module('vsalt.evaluation.knn')",
}


def fake_modules(changed: Mapping[str, str]) -> dict[str, Module]:
    sources = TREE | changed
    packages = {name.rpartition(".")[0] for name in sources}
    return {
        name: Module(name, name in packages, ast.parse(source)) for name, source in sources.items()
    }


def test_a_good_tree_passes() -> None:
    modules = fake_modules({})
    assert arrow_violations(modules) == []
    assert torch_violations(modules) == []


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("models.vit", "import vsalt.training.loop", "training lies above models"),
        ("models.vit", "from vsalt.data.clips import read", "data are siblings"),
        ("models.vit", "def f():\n    from vsalt.data import clips", "data are siblings"),
        ("models.vit", "class A:\n    from vsalt.data import clips", "data are siblings"),
        ("models.vit", "from ..data import clips", "data are siblings"),
        ("models.vit", "from .. import data", "data are siblings"),
        ("models", "from ..data import clips", "data are siblings"),
        ("models.vit", "from vsalt import data", "data are siblings"),
        ("models.vit", "__import__('vsalt.data.clips')", "data are siblings"),
        ("models.vit", "from vsalt import pretrain", "public names are for users"),
        ("models.vit", "import vsalt", "public names are for users"),
        ("models.vit", "import vsalt.absent", "no such module"),
        ("models.vit", "import vsalt.config", "config is for training and above"),
        ("objectives.salt", "import vsalt.presets.small", "presets is for training and above"),
        ("data.config", "import vsalt.config", "config is for training and above"),
        ("data.config", "import vsalt.models.vit", "siblings"),
        (
            "data.clips",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import vsalt.targets.teacher",
            "targets lies above data",
        ),
        ("targets.teacher", "import vsalt.objectives.salt", "objectives lies above targets"),
        ("objectives.salt", "import vsalt.training.loop", "training lies above objectives"),
        ("training.loop", "import vsalt.evaluation.knn", "evaluation lies above training"),
        ("evaluation.knn", "import vsalt.interop.hub", "siblings"),
        ("evaluation.knn", "import vsalt.cli.main", "cli lies above evaluation"),
        ("evaluation.knn", "import vsalt.compare.cells", "compare lies above evaluation"),
        ("compare.cells", "import vsalt.cli.main", "cli lies above compare"),
        ("interop.hub", "import vsalt.evaluation.knn", "siblings"),
        ("evaluation.knn", "import vsalt.__main__", "lies above evaluation"),
        ("linear.flow", "import vsalt.randomness", "linear may import only"),
        ("linear.flow", "import vsalt.models.config", "linear may import only"),
        ("errors", "import vsalt.randomness", "errors may import only"),
        ("randomness", "import vsalt.models.config", "randomness may import only"),
        ("config", "import vsalt.models.vit", "composes config modules"),
        ("presets.small", "import vsalt.training.loop", "composes config modules"),
        ("helpers", "", "'helpers' has no place"),
    ],
)
def test_a_wrong_arrow_is_found(name: str, source: str, reason: str) -> None:
    violations = arrow_violations(fake_modules({name: source}))
    assert len(violations) == 1
    assert reason in violations[0]
    assert f"vsalt.{name}" in violations[0]


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"errors": "import torch"}, "vsalt.errors → torch"),
        ({"models.config": "from torch import nn"}, "vsalt.models.config → torch"),
        ({"models.config": "import torch.nn as nn"}, "vsalt.models.config → torch"),
        ({"presets.small": "import torch"}, "vsalt.presets.small → torch"),
        ({"models.config": "from vsalt.models import types"}, "vsalt.models.types → torch"),
        ({"models": "from vsalt.models.vit import ViT"}, "vsalt.models → vsalt.models.vit → torch"),
        ({"": "from vsalt.models.vit import ViT"}, "vsalt → vsalt.models.vit → torch"),
    ],
)
def test_torch_in_a_config_is_found(changed: Mapping[str, str], path: str) -> None:
    assert path in "\n".join(torch_violations(fake_modules(changed)))


def test_torch_inside_a_function_of_a_config_is_found() -> None:
    changed = {"models.config": "def f():\n    import torch"}
    assert torch_violations(fake_modules(changed)) == ["vsalt.models.config:2 imports torch"]


def test_lazy_public_names_load_no_torch() -> None:
    lazy = "def __getattr__(name):\n    from vsalt.models import vit\n    return vit"
    assert torch_violations(fake_modules({"": lazy})) == []
