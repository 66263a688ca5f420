"""Pictures as files: what is in them, how they move, and the attention of probes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from support.encoders import write_checkpoint
from support.tiny import make_clips, make_encoder, randomise
from vsalt.cli import viz as command
from vsalt.data.decode import Video
from vsalt.errors import ConfigError, DataError
from vsalt.evaluation.attention import probe_network
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.probe import ProbeOptions, fit_probe
from vsalt.evaluation.saved import SavedHead, read_head
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.report.attention import attention_map, attention_sheet
from vsalt.report.layout import Layout
from vsalt.report.moving import moving_pictures, write_gif, write_mp4
from vsalt.report.pictures import stage_sheets
from vsalt.report.visualise import VizOptions, visualise
from vsalt.training.locate import find_checkpoint, load_encoder

GRID, TUBELET = (4, 4, 4), (2, 8, 8)


def pictures() -> list[np.ndarray]:
    """Five pictures of odd sides with a white bar that moves to the right."""
    made = []
    for step in range(5):
        picture = np.full((45, 61, 3), 40, np.uint8)
        picture[:, 10 * step : 10 * step + 10] = (250, 180, 60)
        made.append(picture)
    return made


@pytest.mark.parametrize(("suffix", "write"), [("gif", write_gif), ("mp4", write_mp4)])
def test_moving_pictures_come_back(tmp_path: Path, suffix: str, write) -> None:
    path = tmp_path / f"moving.{suffix}"
    write(path, pictures(), steps_per_second=4)
    with Video(path) as video:
        assert (video.info.num_frames, video.info.duration_s) == (5, pytest.approx(1.25))
        frames = video.read((np.arange(5) + 0.5) / 4)
    for frame, picture in zip(frames, pictures(), strict=True):
        assert np.abs(frame[:45, :61].astype(int) - picture).mean() < 4
    if suffix == "gif":
        with Image.open(path) as image:
            assert image.info["loop"] == 0
            assert image.info["duration"] == 250


def test_a_step_of_a_moving_picture_is_a_column_of_the_still_one(run: Path) -> None:
    stage = stage_sheets(run / "teacher", num_clips=1, data=None)
    assert (stage.grid, stage.tubelet) == (GRID, TUBELET)
    for sheet in stage.sheets:
        moving = moving_pictures(sheet, stage.grid, stage.tubelet)
        assert len(moving) == 4
        layout = Layout(grid=GRID, tubelet=TUBELET, steps=(0, 1, 2, 3), enlarge=8)
        rows = sheet.draw(layout)
        for step, picture in enumerate(moving):
            for number, row in enumerate(rows):
                left = 3 + 1 + number * (256 + 2 + 3)
                tile = picture[4 : 4 + 256, left : left + 256]
                np.testing.assert_array_equal(tile, row[step])


def test_the_weights_make_the_pooler_s_mixture() -> None:
    pooler = AttentivePooler(24, 3, 2).eval()
    randomise(pooler, 0)
    tokens = torch.randn(2, 10, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        weights = pooler.attention(tokens)
        deep = pooler.blocks[0](tokens)
        values = pooler.cross.attn.kv(pooler.cross.norm1(deep))[..., 24:]
        per_head = values.unflatten(-1, (3, 8)).transpose(1, 2)
        mixed = (weights[:, :, None] @ per_head)[:, :, 0].flatten(1)
        query = pooler.query + mixed[:, None]
        expected = query + pooler.cross.mlp(pooler.cross.norm2(query))
        torch.testing.assert_close(expected[:, 0], pooler(tokens), atol=1e-5, rtol=1e-5)
    assert weights.shape == (2, 3, 10)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3))


def test_attention_lies_at_the_places_of_its_tokens() -> None:
    encoder = make_encoder(width=24, depth=2, heads=2).eval()
    classifier = AttentiveClassifier(AttentivePooler(24, 2, 1), 3).eval()
    randomise(classifier, 3)
    clip = make_clips(1, num_frames=4, size=(16, 24))
    grid = (2, 2, 3)
    places, answer = attention_map(encoder, classifier, clip, grid, (0, -1))
    assert places.shape == grid
    assert places.sum() == pytest.approx(1.0)
    with torch.no_grad():
        tokens = torch.cat(encoder.features(clip, layers=(0, -1)), dim=1)
        weights = classifier.pooler.attention(tokens)[0].mean(dim=0)
        assert answer == int(classifier(tokens).argmax())
    for time, row, column in np.ndindex(grid):
        token = 6 * time + 3 * row + column
        both = float(weights[token] + weights[12 + token])
        assert places[time, row, column] == pytest.approx(both, abs=1e-6)


def test_the_sheet_is_brightest_where_the_probe_looks() -> None:
    places = np.full((2, 2, 3), 0.04)
    places[1, 0, 2] = 0.56
    clip = torch.full((1, 3, 4, 16, 24), 200, dtype=torch.uint8)
    sheet = attention_sheet(clip, places, "up", title="Attention", about="File: a.mp4.")
    layout = Layout(grid=(2, 2, 3), tubelet=TUBELET, steps=(0, 1))
    frames, lit, alone = sheet.draw(layout)
    assert lit[1, :8, 16:].min() == 200 == frames.min()
    assert lit[0].max() < 60
    assert alone[1, 0, 16].tolist() == [255, 255, 255]
    assert alone[0].max() == 23
    assert "'up'" in sheet.details
    assert "6.7 times the mean" in sheet.details
    assert "24%, 76%" in sheet.details


def test_attention_on_one_token_is_lit_there_and_nowhere_else() -> None:
    places = np.zeros((5, 5, 5))
    places[4, 0, 2] = 1.0  # less than 2 % of the tokens: the quantile is 0
    clip = torch.full((1, 3, 5, 5, 5), 200, dtype=torch.uint8)
    sheet = attention_sheet(clip, places, "up", title="Attention", about="File: a.mp4.")
    _, _, alone = sheet.draw(Layout(grid=(5, 5, 5), tubelet=(1, 1, 1), steps=(0, 4)))
    assert alone[1, 0, 2].tolist() == [255, 255, 255]
    assert alone.sum() == 3 * 255


def test_a_teacher_in_all_topics(
    run: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_encoder(run / "teacher")
    settings = {"epochs": 1, "batch_size": 8, "heads": 2, "segments": 2}
    options = ProbeOptions(kind="attentive-1", attentive=AttentiveConfig(**settings))
    fit_probe({"teacher": loaded}, source, tmp_path / "probe", options, say=lambda _: None)
    network = probe_network(read_head(tmp_path / "probe", loaded.sha256, None), loaded.encoder)
    assert (network.layers, network.segments) == ((-1,), 2)
    words = [str(run / "teacher"), str(tmp_path / "out"), "--probe", str(tmp_path / "probe")]
    assert command.viz([*words, "--clips", "1"], "vsalt viz") == 0
    names = ["masks.png", "reconstruction.png", "tokens.png", "attention.png"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    captions = json.loads((tmp_path / "out" / "captions.json").read_text())
    assert list(captions) == names
    assert captions["attention.png"]["rows"] == ["clip", "lit", "weights"]
    assert "trained on 2 windows" in captions["attention.png"]["details"]
    for name in names:
        with Image.open(tmp_path / "out" / name) as image:
            assert np.asarray(image).std() > 10


def test_networks_of_deep_probes_are_built_and_linear_ones_refused(
    run: Path, source: Path, tmp_path: Path
) -> None:
    loaded = load_encoder(run / "teacher")

    def head(options: ProbeOptions) -> SavedHead:
        out = tmp_path / options.kind
        fit_probe({"teacher": loaded}, source, out, options, say=lambda _: None)
        return read_head(out, loaded.sha256, None)

    attentive = AttentiveConfig(epochs=1, batch_size=8, heads=2)
    options = ProbeOptions(kind="attentive", attentive=attentive)
    deep = probe_network(head(options), loaded.encoder).classifier
    assert len(deep.pooler.blocks) == 3  # SALT's probe: these, then the query
    assert not deep.training
    with pytest.raises(ConfigError, match="kind linear, which looks at no token more than at othe"):
        probe_network(head(ProbeOptions()), loaded.encoder)


def test_chosen_topics_of_a_student_that_move(run: Path, tmp_path: Path) -> None:
    options = VizOptions(topics=("tokens", "masks"), format="gif", num_clips=2)
    found = visualise(run, tmp_path / "out", options)
    assert [path.name for path in found] == [
        "masks-clip-1.gif",
        "masks-clip-2.gif",
        "tokens-clip-1.gif",
        "tokens-clip-2.gif",
    ]
    with Image.open(found[2]) as image:
        assert image.n_frames == 4
    found[0].unlink()
    (other,) = visualise(run, tmp_path / "out", VizOptions(topics=("tokens",), num_clips=1))
    captions = json.loads((tmp_path / "out" / "captions.json").read_text())
    assert sorted(captions) == sorted(path.name for path in [*found[1:], other])
    assert not list((tmp_path / "out").glob(".*"))


def test_of_an_encoder_alone_there_are_tokens(run: Path, source: Path, tmp_path: Path) -> None:
    imported = write_imported(tmp_path / "imported")
    moved = tmp_path / "moved"
    shutil.copytree(find_checkpoint(run / "student").path, moved)
    given = {imported: str(source), moved: None, run / "student" / "teacher": None}
    for number, (folder, data) in enumerate(given.items()):
        options = VizOptions(num_clips=1, data=data)
        (found,) = visualise(folder, tmp_path / f"out-{number}", options)
        assert found.name == "tokens.png"
        with Image.open(found) as image:
            assert np.asarray(image).std() > 10
        with pytest.raises(ConfigError, match="is an encoder alone, which hides nothing") as error:
            visualise(
                folder, tmp_path / "none", replace(options, topics=("masks", "reconstruction"))
            )
        assert "predicts no pixels" in str(error.value)
    # The colours are those of the encoder that `load_encoder` gives.
    for folder, kept in ((moved, run / "student"), (run / "student" / "teacher", run / "teacher")):
        sheets = [stage_sheets(of, num_clips=1, data=None).sheets[-1] for of in (folder, kept)]
        layout = Layout(grid=GRID, tubelet=TUBELET, steps=(0, 3))
        alone, whole = (sheet.draw(layout) for sheet in sheets)
        np.testing.assert_array_equal(alone[0], whole[0])
        np.testing.assert_array_equal(alone[1], whole[1])
    names = [
        stage_sheets(folder, num_clips=1, data=data).sheets[0].rows[1]
        for folder, data in given.items()
    ]
    assert names == ["imported", "student", "teacher"]
    with pytest.raises(DataError, match="imported and knows no videos; give --data SOURCE"):
        visualise(imported, tmp_path / "none", VizOptions())


def write_imported(folder: Path) -> Path:
    """Write what `vsalt import` does, of a small encoder."""
    write_checkpoint(folder)
    meta = json.loads((folder / "meta.json").read_text())
    meta["config"]["stage"]["method"] = {"name": "imported"}
    meta |= {"manifest_sha256": None, "imported": {}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_what_there_is_not_is_refused_with_the_reason(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="such as RUN/teacher") as error:
        visualise(run, tmp_path / "out", VizOptions(topics=("reconstruction", "attention")))
    assert "attention needs --probe DIR" in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="clips is 0") as error:
        VizOptions(num_clips=0, steps_per_second=99)
    assert "steps-per-second is 99" in str(error.value)
    with pytest.raises(ConfigError, match="--part fold-1 needs --probe"):
        command.viz([str(run), str(tmp_path / "out"), "--part", "fold-1"], "vsalt viz")
