"""Which rows, windows and views an attentive probe is really given, and whose result is whose."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from support.encoders import TINY, write_checkpoint
from vsalt.data import probe_clips
from vsalt.errors import ConfigError, DataError, DecodeError
from vsalt.evaluation import attentive_prober, tokens
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.probe import ProbeOptions, fit_probe
from vsalt.evaluation.protocol import TaskOptions
from vsalt.training.extract import ExtractConfig
from vsalt.training.locate import load_encoder

CONFIG = AttentiveConfig(heads=2, epochs=2, batch_size=8)


def run(encoders, source: Path, out: Path, config: AttentiveConfig = CONFIG, **settings):
    task = {name: settings.pop(name) for name in ("folds",) if name in settings}
    options = ProbeOptions(
        kind="attentive-1",
        task=TaskOptions(**task),
        extract=ExtractConfig(batch_size=8, device="cpu"),
        attentive=config,
        **{"random_init": False, **settings},
    )
    loaded = {path.parent.name: load_encoder(path) for path in encoders}
    return fit_probe(loaded, source, out, options, say=lambda text: None)


def parts_of(asked) -> tuple[list, list]:
    """Keys of training samples and of test samples, in order."""
    training = [key for config, _, key in asked if config.window == "random"]
    testing = [key for config, _, key in asked if config.window == "fixed"]
    return training, testing


def test_one_probe_learns_from_all_training_rows(
    encoder, table, write, tmp_path: Path, asked
) -> None:
    run([encoder], write(table), tmp_path / "out", replace(CONFIG, features="online"))
    train = {index for index, row in enumerate(table) if row["split"] == "train"}
    training, testing = parts_of(asked)
    for epoch in range(2):
        own = training[27 * epoch : 27 * (epoch + 1)]
        assert {key.row for key in own} == train
        assert {key.pass_index for key in own} == {epoch}
    assert len(training) == 2 * 27
    # All rows once, to see whether they can be read; then the test rows.
    assert [key.row for key in testing[:36]] == list(range(36))
    assert {key.row for key in testing[36:]} == set(range(36)) - train
    assert len(testing) == 36 + 9


def test_several_probes_are_chosen_on_rows_of_their_own(
    encoder, table, write, tmp_path: Path, asked
) -> None:
    config = replace(CONFIG, features="online", lr=(1e-3, 1e-4))
    run([encoder], write(table), tmp_path / "out", config)
    training, testing = parts_of(asked)
    train = {index for index, row in enumerate(table) if row["split"] == "train"}
    fit, refit = training[: 2 * 21], training[2 * 21 :]
    selection = {key.row for key in testing[36:42]}
    assert {key.row for key in fit} == train - selection
    assert {key.row for key in refit} == train
    assert len(refit) == 2 * 27
    assert selection < train
    assert {key.row for key in testing[42:]} == set(range(36)) - train
    asked.clear()
    run([encoder], write(table), tmp_path / "paper", replace(config, select="test"))
    training, testing = parts_of(asked)
    assert len(training) == 2 * 27
    assert len(testing) == 36 + 9


def test_clips_are_those_that_were_asked_for(encoder, table, write, tmp_path: Path, asked) -> None:
    config = replace(
        CONFIG,
        segments=2,
        views=3,
        size=(24, 16),
        frame_step=1,
        spacing="linspace",
        antialias=False,
        augment="randaugment",
        crop_scale=(0.2, 0.9),
        crop_ratio=(0.5, 2.0),
        erase=0.5,
        flip=0.25,
        cached_views=2,
    )
    run([encoder], write(table), tmp_path / "out", config, seed=7)
    training = {config for config, _, _ in asked if config.window == "random"}
    testing = {config for config, _, key in asked[36:] if config.window == "fixed"}
    (drawn,), (fixed,) = training, testing
    for clips in (drawn, fixed):
        assert (clips.clip.size, clips.clip.frame_step, clips.clip.num_frames) == ((24, 16), 1, 4)
        assert (clips.clip.spacing, clips.antialias, clips.segments) == ("linspace", False, 2)
    assert (drawn.augment, drawn.crop_scale, drawn.crop_ratio) == (
        *("randaugment", (0.2, 0.9)),
        (0.5, 2.0),
    )
    assert (drawn.erase, drawn.flip, drawn.views) == (0.5, 0.25, 1)
    assert (fixed.augment, fixed.views) == ("none", 3)
    assert {seed for _, seed, _ in asked} == {7}
    assert {key.pass_index for key in parts_of(asked)[0]} == {0, 1}


@pytest.mark.parametrize("select", ["selection", "test"])
def test_every_encoder_has_its_own_choice_and_result(
    select: str, encoder, table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_checkpoint(tmp_path / "other" / "step-7", seed=5)
    wide = replace(TINY, width=32, tubelet=(2, 16, 16))
    third = write_checkpoint(tmp_path / "third" / "step-7", encoder=wide)
    config = replace(CONFIG, lr=(1e-3, 1e-4), select=select)

    def choose(numbers):
        order = iter(numbers)
        monkeypatch.setattr(attentive_prober, "best_trial", lambda own: own[next(order)])

    source = write(table)
    choose([0, 1, 1])
    together = run([encoder, other, third], source, tmp_path / "all", config)
    chosen = [own.parts[0].settings["lr"] for own in together.encoders]
    assert chosen == [1e-3, 1e-4, 1e-4]
    heads = load_file(tmp_path / "all" / "probe.safetensors")
    for index, (path, number) in enumerate(((encoder, 0), (other, 1), (third, 1))):
        choose([number])
        out = tmp_path / f"alone-{index}"
        alone = run([path], source, out, config)
        assert alone.encoders[0].parts[0].trials == together.encoders[index].parts[0].trials
        assert alone.encoders[0].metrics == together.encoders[index].metrics
        own = load_file(out / "probe.safetensors")
        assert own
        for name, value in own.items():
            np.testing.assert_array_equal(value, heads[name.replace("encoder0", f"encoder{index}")])


def test_labels_of_test_rows_play_no_role(encoder, table, write, tmp_path: Path) -> None:
    shuffled = [
        {**row, "label": "red" if row["split"] == "test" else row["label"]} for row in table
    ]
    config = replace(CONFIG, lr=(1e-3, 1e-4))
    run([encoder], write(table), tmp_path / "one", config)
    run([encoder], write(shuffled, "shuffled.csv"), tmp_path / "two", config)
    one, two = ((tmp_path / name / "probe.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("features", ["online", "cached"])
def test_windows_that_cannot_be_read_are_passed_over_if_that_is_wanted(
    features: str, encoder, table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = probe_clips.ProbeClips.__getitem__

    def fail(self, key):
        if self._config.window == "random" and key == (1, 3):
            raise DecodeError("a broken tail")
        return read(self, key)

    monkeypatch.setattr(probe_clips.ProbeClips, "__getitem__", fail)
    config = replace(CONFIG, features=features, cached_views=2 if features == "cached" else 1)
    with pytest.raises(DataError, match=r"3\.mp4 could be read before.*--skip-bad"):
        run([encoder], write(table), tmp_path / "out", config)
    assert list((tmp_path / "out").iterdir()) == []
    result = run([encoder], write(table), tmp_path / "out", config, skip_bad=True)
    (passed,) = result.passed_over
    assert passed.path == table[3]["path"]
    assert "broken tail" in passed.error
    assert result.left_out == {}


def test_unreadable_rows_are_left_out(encoder, table, write, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video")
    bad = {**table[0], "path": str(tmp_path / "a.mp4")}
    source = write([*table[:4], bad, *table[4:]])
    with pytest.raises(DataError, match=r"1 of 37 videos cannot be read(.|\n)*a\.mp4"):
        run([encoder], source, tmp_path / "out")
    result = run([encoder], source, tmp_path / "out", skip_bad=True)
    clean = run([encoder], write(table, "clean.csv"), tmp_path / "clean")
    assert result.left_out == {"unreadable": 1}
    assert result.encoders[0].metrics == clean.encoders[0].metrics


def test_what_cannot_work_is_refused_before_anything_is_read(
    encoder, table, write, tmp_path: Path, asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(table)
    for wrong, message in (
        ({"heads": 7}, "heads is 7"),
        ({"size": (20, 20)}, r"does not divide.*--attentive\.size"),
        ({"num_frames": 0}, "num-frames is 0"),
        ({"layers": (9,)}, "are no blocks"),
        ({"layers": (0, -1)}, "names a block of 1 twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            run([encoder], source, tmp_path / "out", replace(CONFIG, **wrong))
    monkeypatch.setattr(tokens.TokenCache, "num_bytes", 1 << 60)
    with pytest.raises(Exception, match="the cache of tokens needs"):
        run([encoder], source, tmp_path / "out")
    assert asked == []


def test_a_probe_that_diverges_alone_is_an_error(encoder, table, write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"diverged.*lower --attentive\.lr"):
        run([encoder], write(table), tmp_path / "out", replace(CONFIG, lr=(1e30,)))


def test_rows_that_choose_are_listed_with_those_that_train(
    encoder, table, write, tmp_path: Path
) -> None:
    for select, count in (("selection", 27), ("test", 36)):
        config = replace(CONFIG, lr=(1e-3, 1e-4), select=select)
        run([encoder], write(table), tmp_path / select, config)
        lines = (tmp_path / select / "trained_on.jsonl").read_text().splitlines()
        assert len(lines) == count
        assert all(json.loads(line)["parts"] == ["test"] for line in lines)
