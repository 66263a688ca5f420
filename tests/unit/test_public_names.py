"""The public names of vsalt: typed, loaded when asked for, documented."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import vsalt

ROOT = Path(__file__).parents[2]


def typed_homes() -> dict[str, str]:
    """Where type checkers find each name: the imports under TYPE_CHECKING."""
    tree = ast.parse((ROOT / "src/vsalt/__init__.py").read_text(encoding="utf-8"))
    return {
        alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_what_type_checkers_see_is_what_programs_get() -> None:
    homes = typed_homes()
    assert sorted([*homes, "__version__"]) == sorted(vsalt.__all__)
    for name, module in homes.items():
        assert getattr(vsalt, name) is getattr(import_module(module), name)


def test_importing_vsalt_imports_nothing_heavy() -> None:
    program = (
        "import sys, vsalt; dir(vsalt); from vsalt import VsaltError;"
        "print(*(sys.modules.keys() & {'torch', 'numpy', 'av', 'tyro', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_names_are_listed_and_others_refused() -> None:
    assert set(vsalt.__all__) <= set(dir(vsalt))
    with pytest.raises(AttributeError, match="no attribute 'load_encoders'"):
        vsalt.load_encoders  # noqa: B018


def test_every_name_is_documented() -> None:
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^::: (\S+)\n(.*(?:\n .*)*)", page, re.MULTILINE))
    for name, module in typed_homes().items():
        assert f"`{name}`" in page.partition("\n## Use")[0], name
        members = re.search(r"members: \[(.*)\]", shown[module])
        assert members is None or name in members[1].split(", "), name
