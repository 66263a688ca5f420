"""The wheel holds what users need and runs outside the source tree; help answers without torch."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vsalt

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_wheel_holds_types_and_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"vsalt-{vsalt.__version__}.dist-info"
        licence = archive.read(f"{info}/licenses/LICENSE")
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert "vsalt/py.typed" in names
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert "vsalt = vsalt.cli.main:main" in entry_points
    assert {name.split("/")[0] for name in names} == {"vsalt", info}


def test_wheel_holds_every_source_file(wheel: Path) -> None:
    sources = (ROOT / "src" / "vsalt").rglob("*.py")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    assert packed == {file.relative_to(ROOT / "src").as_posix() for file in sources}


def test_wheel_holds_the_style_of_reports(wheel: Path) -> None:
    name = "vsalt/report/style.css"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(name) == (ROOT / "src" / name).read_bytes()


def test_wheel_holds_the_parts_of_the_linear_page(wheel: Path) -> None:
    folder = ROOT / "src" / "vsalt" / "linear" / "page"
    parts = [file for file in folder.iterdir() if file.suffix in (".html", ".css", ".js")]
    assert len(parts) > 5
    with zipfile.ZipFile(wheel) as archive:
        for file in parts:
            name = file.relative_to(ROOT / "src").as_posix()
            assert archive.read(name) == file.read_bytes()


def test_wheel_runs_outside_the_tree(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip_install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run(*pip_install, "--target", str(target), str(wheel), cwd=tmp_path)
    where = run("-c", "import vsalt; print(vsalt.__file__)", cwd=tmp_path, path=target)
    assert Path(where.strip()).is_relative_to(target)
    version = run("-m", "vsalt", "--version", cwd=tmp_path, path=target)
    assert vsalt.__version__ in version.split()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["completion", "bash"]])
def test_help_loads_no_torch(arguments: list[str], tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from vsalt.cli.main import main\n"
        "sys.argv[0] = 'vsalt'\n"
        "try:\n"
        "    code = main()\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        "print()\n"
        "print(code or 0, 'torch' in sys.modules)\n"
    )
    printed = run("-c", script, *arguments, cwd=tmp_path).splitlines()
    assert len(printed) > 1
    assert printed[-1] == "0 False"


def run(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Standard output of this Python, away from the source tree."""
    environment = dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
