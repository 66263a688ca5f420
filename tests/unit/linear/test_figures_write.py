"""Figures are written as pictures that can be read, with numbers that any JSON reader takes."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vsalt.errors import ConfigError, VsaltError
from vsalt.linear.figures import write
from vsalt.linear.figures.catalogue import FIGURES
from vsalt.linear.figures.figure import FigureSpec, Numbers, plain
from vsalt.linear.figures.write import save, write_figures

TINY: dict[str, dict[str, Any]] = {
    "F1": {"num_features": 4},
    "F2": {"rho": (0.6, 0.9), "depths": (2,), "num_points": 12},
    "F3": {
        "depths": (1,),
        "eps": 0.4,
        "learning_rate": 0.03,
        "ema_time": 3.0,
        "num_dots": 3,
        "num_points": 5,
    },
    "F4": {"depths": (2,), "num_eps": 6},
    "F5": {"depths": (1, 2, 8), "num_x": 9},
    "F6": {"panel_depths": (2, 5), "depths": (1, 8), "num_eps": 40, "num_pairs": 20},
    "F7": {"num_features": 6, "num_rounds": 12},
    "F8": {"num_features": 12, "shares": (0.3, 0.6, 1.0), "seeds": 2},
    "F9": {"ema_range": (0.1, 1e3), "num_times": 2, "num_formula": 12},
    "F10": {"num_features": 6, "seeds": 2, "num_samples": 500},
    "F11": {"rho": (0.5, 0.9), "num_starts": 9, "checked_starts": (0.0, 1.0)},
}


_TEXT: dict[str, list[tuple[float, float, float, str]]] = {}
"""Size and horizontal extent of every text, by figure."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")

    def save_and_record(spec: FigureSpec, numbers: Numbers, path: Path) -> None:
        _TEXT[spec.name] = list(_texts(save(spec, numbers, path)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "save", save_and_record)
        assert write_figures(out, settings=TINY) == out / "index.json"
    return out


def _texts(figure: Any) -> Iterator[tuple[float, float, float, str]]:
    from matplotlib.text import Text

    # Labels of ticks outside of the limits are there too, but not drawn.
    ticks = {id(t) for a in figure.axes for axis in (a.xaxis, a.yaxis) for t in _tick_texts(axis)}
    width = figure.bbox.width
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in ticks:
            box = text.get_window_extent()
            yield text.get_fontsize(), box.x0 / width, box.x1 / width, text.get_text()


def _tick_texts(axis: Any) -> list[Any]:
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    assert min((tick.label1.get_fontsize() for tick in ticks), default=9) >= 9
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def _refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def test_the_list_names_all_files_and_no_others(folder: Path) -> None:
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in index["figures"]] == [f"F{n}" for n in range(1, 12)]
    assert "gradient flow" in index["clock"]
    files = {row[kind] for row in index["figures"] for kind in ("picture", "numbers")}
    assert {path.name for path in folder.iterdir()} == {*files, "index.json"}
    assert all(len(row["title"]) > 30 and len(row["caption"]) > 80 for row in index["figures"])


@pytest.mark.parametrize("name", FIGURES)
def test_pictures_are_whole_and_not_empty(folder: Path, name: str) -> None:
    spec = FIGURES[name]
    data = (folder / f"{spec.stem}.png").read_bytes()
    width, height, pixels = _decode_size_and_bytes(data)
    assert (width, height) == pytest.approx([150 * inches for inches in spec.size], abs=1)
    assert 40_000 < len(data) < 900_000
    # A drawing is mostly white, but not only.
    assert len(set(pixels[:: max(1, len(pixels) // 20_000)])) > 20


def _decode_size_and_bytes(data: bytes) -> tuple[int, int, bytes]:
    """Read a PNG chunk by chunk, checking each sum."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, kinds, packed = 8, [], b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert zlib.crc32(kind + body) == checksum
        kinds.append(kind)
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            packed += body
        at += 12 + length
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    return width, height, zlib.decompress(packed)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", FIGURES)
def test_text_is_large_enough_and_stays_inside(name: str) -> None:
    assert len(_TEXT[name]) > 8
    for size, left, right, text in _TEXT[name]:
        assert size >= 9, text
        assert left > -0.001, text
        assert right < 1.001, text


@pytest.mark.parametrize("name", FIGURES)
def test_numbers_carry_clock_and_parameters(folder: Path, name: str) -> None:
    text = (folder / f"{FIGURES[name].stem}.json").read_text(encoding="utf-8")
    numbers = json.loads(text, parse_constant=_refuse)
    assert numbers["name"] == name
    assert "gradient flow" in numbers["clock"]
    assert numbers["parameters"]
    assert numbers["note"]


def test_infinite_times_are_null() -> None:
    values = {
        "a": np.array([1.0, np.inf]),
        "b": (np.float64("nan"), np.bool_(True)),
        3: [np.int64(2)],
    }
    assert plain(values) == {"a": [1.0, None], "b": [None, True], "3": [2]}


def test_the_same_numbers_give_the_same_file_and_leave_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    spec = FIGURES["F7"]
    numbers = spec.compute(**TINY["F7"])
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    save(spec, numbers, first)
    save(spec, numbers, second)
    assert first.read_bytes() == second.read_bytes()
    assert dict(mpl.rcParams) == before


def test_chosen_figures_only(tmp_path: Path) -> None:
    seen = []
    write_figures(
        tmp_path / "new" / "folder",
        only=("F7", "F5"),
        format="svg",
        settings=TINY,
        on_written=lambda spec, path: seen.append((spec.name, path.name)),
    )
    assert seen == [("F5", "F05-rho-exponents.svg"), ("F7", "F07-rounds-of-freezing.svg")]
    text = (tmp_path / "new/folder/F05-rho-exponents.svg").read_text(encoding="utf-8")
    assert "</svg>" in text
    assert "<text" in text


def test_mistakes_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        write_figures(tmp_path / "new", only=("F12", "F1"), format="bmp")
    assert caught.value.problems == [
        f"--only has 'F12'; it must be of {', '.join(FIGURES)}",
        "format is 'bmp'; it must be png or svg",
    ]
    assert not (tmp_path / "new").exists()


def test_missing_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "find_spec", lambda _: None)
    with pytest.raises(VsaltError, match=r"pip install 'vsalt\[linear\]'"):
        write_figures(tmp_path / "new")
    assert not (tmp_path / "new").exists()
