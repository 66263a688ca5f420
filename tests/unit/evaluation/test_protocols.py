"""The protocols of the paper: their numbers, and each run once on a tiny stand-in."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from vsalt.cli import probe as command
from vsalt.data.config import ClipConfig
from vsalt.errors import ConfigError
from vsalt.evaluation.attentive_config import PROTOCOLS, AttentiveConfig, protocol

# SALT (arXiv 2509.24317), its tables of evaluation settings:
# segments, views, frame step, batch size, probes.
PRINTED = {
    "k400": (8, 3, 4, 256, 20),
    "k400-fast": (1, 1, 4, 256, 1),
    "ssv2": (2, 3, 4, 256, 20),
    "ssv2-fast": (1, 1, 4, 256, 1),
    "coin": (8, 3, 4, 256, 1),
    "jester": (4, 3, 2, 128, 1),
    "diving48": (4, 3, 2, 128, 1),
    "in1k": (1, 1, 1, 1024, 1),
}


def test_protocols_are_the_papers() -> None:
    assert PROTOCOLS.keys() == PRINTED.keys()
    for name, (segments, views, step, batch, probes) in PRINTED.items():
        own = protocol(name)
        assert (own.segments, own.views, own.frame_step) == (segments, views, step), name
        assert (own.batch_size, len(own.settings)) == (batch, probes), name
        assert (own.num_frames, own.size, own.epochs) == (16, (224, 224), 20), name
        assert (own.heads, own.mode, own.layers) == (None, "paper", (-1,)), name
        if probes == 1:
            assert own.settings == [{"lr": 1e-3, "weight_decay": 0.01}], name
        else:
            assert own.lr == (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
            assert own.weight_decay == (0.8, 0.4, 0.1, 0.01)
    with pytest.raises(ConfigError, match=r"protocol 'k600' does not exist; there are k400"):
        protocol("k600")


def test_a_protocol_replaces_the_clips_of_pretraining() -> None:
    trained = ClipConfig(num_frames=8, size=(112, 112), fps=4.0, spacing="linspace")
    clip = protocol("jester").clip(trained)
    assert clip == ClipConfig(num_frames=16, size=(224, 224), frame_step=2, spacing="linspace")
    assert protocol("jester").antialias is False
    assert AttentiveConfig().clip(trained) == trained


SMALL = ["--attentive.size", "32", "32", "--attentive.num-frames", "4", "--attentive.epochs", "1"]
SMALL += ["--attentive.heads", "2", "--attentive.batch-size", "9", "--workers", "0"]
SMALL += ["--device", "cpu", "--no-random-init"]


@pytest.mark.parametrize("name", [name for name in PRINTED if name != "in1k"])
def test_a_video_protocol_runs(
    name: str, encoder: Path, table, write, tmp_path: Path, asked
) -> None:
    source = write(table[:21])
    words = ["--protocol", name, "--encoder", str(encoder), "--data", str(source), *SMALL]
    assert command.fit([*words, "--out", str(tmp_path / "out")], "vsalt probe fit") == 0
    found = json.loads((tmp_path / "out" / "probe.json").read_text())
    (part,) = found["encoders"][0]["parts"]
    num_probes = PRINTED[name][4]
    assert len(part["trials"]) == (num_probes if num_probes > 1 else 0)
    assert part["selected_on"] == ("test" if num_probes > 1 else "nothing")
    assert found["kind"] == "attentive"
    assert found["encoders"][0]["clip"]["frame_step"] == PRINTED[name][2]
    assert found["options"]["protocol"] == name
    # What the clips really were: first all rows are read once, with one view.
    drawn = {config for config, _, _ in asked if config.window == "random"}
    fixed = {config for config, _, _ in asked[21:] if config.window == "fixed"}
    for (config,), num_views in ((drawn, 1), (fixed, PRINTED[name][1])):
        assert (config.segments, config.views) == (PRINTED[name][0], num_views)
        assert (config.clip.frame_step, config.clip.spacing) == (PRINTED[name][2], "linspace")
        assert not config.antialias
    assert {config.augment for config in drawn} == {"randaugment"}


def test_the_image_protocol_runs_on_images(encoder: Path, write, tmp_path: Path) -> None:
    rows = []
    for index in range(18):
        name, split = ("red", "blue", "grey")[index % 3], "test" if index >= 15 else "train"
        colour = {"red": (200, 60, 60), "blue": (60, 60, 200), "grey": (128, 128, 128)}[name]
        pixels = np.full((40, 48, 3), colour, dtype=np.uint8)
        suffix, codec = (("jpg", "mjpeg"), ("png", "png"))[index % 2]
        with av.open(
            str(path := tmp_path / f"{index}.{suffix}"), "w", format="image2"
        ) as container:
            stream = container.add_stream(codec, rate=1)
            stream.width, stream.height = 48, 40
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
        rows.append({"path": str(path), "label": name, "split": split})
    words = ["--protocol", "in1k", "--encoder", str(encoder), "--data", str(write(rows))]
    words += [*SMALL, "--out", str(tmp_path / "out")]
    assert command.fit(words, "vsalt probe fit") == 0
    found = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert found["num_rows"] == 18
    assert found["encoders"][0]["clip"]["num_frames"] == 4


def test_a_protocol_is_for_attentive_probes(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave out --kind knn"):
        command.fit(["--protocol", "coin", "--kind", "knn"], "vsalt probe fit")
