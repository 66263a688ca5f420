"""Whole probes on small videos whose classes are colours."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from support.encoders import CLIP, write_checkpoint
from vsalt.cli import probe as command
from vsalt.data.catalogue import SeenRow
from vsalt.data.manifest import read_source
from vsalt.errors import ConfigError, DataError, RunFolderError
from vsalt.evaluation.probe import ProbeOptions, fit_probe
from vsalt.evaluation.protocol import TaskOptions
from vsalt.evaluation.result import ProbeResult
from vsalt.evaluation.subjects import extract_all, random_init, trained
from vsalt.evaluation.tables import probe_tables
from vsalt.evaluation.transductive import Exposure
from vsalt.models.weights import weights_hash
from vsalt.training.extract import ExtractConfig
from vsalt.training.locate import load_encoder

NUM_ROWS = 36


def run(encoder: Path, source: Path, out: Path, **settings) -> ProbeResult:
    task = {name: settings.pop(name) for name in ("folds", "group_column") if name in settings}
    options = ProbeOptions(
        task=TaskOptions(**task), extract=ExtractConfig(batch_size=8, device="cpu"), **settings
    )
    return fit_probe({"mine": load_encoder(encoder)}, source, out, options)


def predictions(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["linear", "knn"])
def test_a_split_is_probed(encoder, table, write, tmp_path: Path, kind: str) -> None:
    source = write(table)
    result = run(encoder, source, tmp_path / "out", kind=kind)
    mine, random = result.encoders
    # Colours that differ by far more than the shades: every encoder tells them apart.
    assert mine.metrics.num_rows == 9
    assert mine.metrics.accuracy == 1.0 if kind == "linear" else mine.metrics.accuracy > 0.6
    assert mine.metrics.interval.method == "wilson"
    assert (mine.name, mine.role, mine.step) == ("mine", "trained", 7)
    assert mine.exposure.kind == "unknown"
    assert (mine.stage, random.stage) == ("teacher", None)
    assert (random.role, random.checkpoint) == ("random-init", None)
    assert random.sha256 != mine.sha256 == load_encoder(encoder).sha256
    assert result.chance.uniform == pytest.approx(1 / 3)
    assert result.chance.majority == pytest.approx(1 / 3)
    (part,) = result.parts
    assert (part.num_fit, part.num_selection, part.num_test) == (21, 6, 9)

    written = json.loads((tmp_path / "out" / "probe.json").read_text())
    heads = load_file(tmp_path / "out" / "probe.safetensors")
    assert written.pop("heads_sha256") == weights_hash(heads)
    assert len(written.pop("use_sha256")) == 64
    assert written == json.loads(json.dumps(result.to_dict()))
    lines = predictions(tmp_path / "out")
    assert len(lines) == 2 * 9
    truth = {row["path"]: row["label"] for row in table if row["split"] == "test"}
    for name in ("mine", "random init"):
        own = {line["path"]: line for line in lines if line["encoder"] == name}
        assert own.keys() == truth.keys()
        assert {path: line["label"] for path, line in own.items()} == truth
        right = sum(line["predicted"] == line["label"] for line in own.values())
        assert right / 9 == result.encoders[name != "mine"].metrics.accuracy


@pytest.mark.parametrize(("kind", "num_fits"), [("linear", 14), ("knn", 1)])
def test_fits_are_counted_and_told(
    kind: str, num_fits: int, encoder, table, write, tmp_path: Path
) -> None:
    calls: list[tuple[int, int]] = []
    said: list[str] = []
    fit_probe(
        {"mine": load_encoder(encoder)},
        write(table),
        tmp_path / "out",
        ProbeOptions(kind=kind, extract=ExtractConfig(batch_size=8, device="cpu")),
        on_progress=lambda *numbers: calls.append(numbers),
        say=said.append,
    )
    # All rows are read for both encoders, then a head of each is fitted.
    reading = [(done, NUM_ROWS) for done in range(1, NUM_ROWS + 1)]
    fitting = [(done, 2 * num_fits) for done in range(1, 2 * num_fits + 1)]
    assert calls == [*reading, *fitting]
    assert said == [f"fitting {kind} probes of mine, random init"]


def test_the_stored_head_gives_the_predictions(encoder, table, write, tmp_path: Path) -> None:
    source = write(table)
    result = run(encoder, source, tmp_path / "out", folds="fold", random_init=False)
    heads = load_file(tmp_path / "out" / "probe.safetensors")
    rows = read_source(source).rows
    subject = trained("mine", load_encoder(encoder))
    found = extract_all([subject], rows, ExtractConfig(batch_size=8, device="cpu"))
    place = {row.relative_path: index for index, row in enumerate(rows)}
    parts = [part.name for part in result.parts]
    assert parts == ["0", "1", "2", "3"]
    for line in predictions(tmp_path / "out"):
        head = f"encoder0.part{parts.index(line['part'])}"
        mean, scale, weight, bias = (
            heads[f"{head}.{name}"] for name in ("mean", "scale", "weight", "bias")
        )
        x = found.features[0][place[line["path"]]].double()
        scores = weight @ ((x - mean) / scale) + bias
        assert result.classes[int(scores.argmax())] == line["predicted"]


def test_folds_are_pooled(encoder, table, write, tmp_path: Path) -> None:
    # Wrong labels in one fold: it is scored low, and all are pooled by their rows.
    rows = [{**row, "label": "red"} if row["fold"] == "2" else row for row in table]
    source = write(rows)
    groups = {"folds": "fold", "group_column": "scene"}
    result = run(encoder, source, tmp_path / "out", random_init=False, **groups)
    mine = result.encoders[0]
    assert [part.num_test for part in result.parts] == [9] * 4
    assert mine.metrics.num_rows == NUM_ROWS
    by_fold = [part.accuracy for part in mine.parts]
    assert by_fold[2] == pytest.approx(1 / 3)
    assert mine.metrics.accuracy == pytest.approx(sum(by_fold) / 4)
    assert mine.metrics.interval.method == "group bootstrap"
    assert (result.num_groups, result.num_shared_test_rows) == (12, 0)
    for part, size in zip(mine.parts, result.parts, strict=True):
        assert part.converged
        assert size.num_fit + size.num_selection == 27
        assert part.settings in [trial.settings for trial in part.trials]


def test_labels_of_test_rows_play_no_role(encoder, table, write, tmp_path: Path) -> None:
    shuffled = [
        {**row, "label": "red" if row["split"] == "test" else row["label"]} for row in table
    ]
    run(encoder, write(table), tmp_path / "one")
    run(encoder, write(shuffled, "shuffled.csv"), tmp_path / "two")
    one, two = (
        {(line["encoder"], line["path"]): line["predicted"] for line in predictions(out)}
        for out in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    heads = [load_file(tmp_path / name / "probe.safetensors") for name in ("one", "two")]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_the_same_command_writes_the_same_bytes(encoder, table, write, tmp_path: Path) -> None:
    source = write(table)
    for name in ("one", "two"):
        run(encoder, source, tmp_path / name)
    for name in ("probe.json", "probe.safetensors", "predictions.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_random_encoder_follows_the_seed_and_nothing_else(encoder) -> None:
    config = load_encoder(encoder).config
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, other = (random_init(config, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.sha256 == again.sha256 != other.sha256
    assert first.sha256 == weights_hash(first.encoder.state_dict())
    assert first.encoder.config == config.stage.encoder


def test_encoders_of_other_clips_are_compared(encoder, table, write, tmp_path: Path) -> None:
    slow = write_checkpoint(tmp_path / "slow", seed=1, clip=replace(CLIP, num_frames=2))
    same = write_checkpoint(tmp_path / "same", seed=2)
    rows = read_source(write(table)).rows[:4]
    config = ExtractConfig(batch_size=8, device="cpu")
    subjects = [trained(str(path), load_encoder(path)) for path in (encoder, slow, same)]
    calls: list[tuple[int, int]] = []
    together = extract_all(subjects, rows, config, on_progress=lambda *n: calls.append(n))
    assert calls == [(done, 8) for done in range(1, 9)]
    for index, subject in enumerate(subjects):
        alone = extract_all([subject], rows, config)
        assert torch.equal(alone.features[0], together.features[index])
    assert not torch.allclose(together.features[0], together.features[1])


def test_test_rows_of_pretraining_are_found(encoder, table, write, tmp_path: Path) -> None:
    source = write(table)
    run_folder = tmp_path / "run"
    checkpoint = write_checkpoint(run_folder / "checkpoints" / "step-7")
    rows = read_source(source).rows
    seen = [
        SeenRow(Path(row.path).name, Path(row.path).stat().st_size, None, None, "train")._asdict()
        for row in [*rows[9:12], *rows[:6]]  # three test rows, six training rows
    ]
    (run_folder / "seen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in seen))
    result = run(checkpoint, source, tmp_path / "out")
    assert str(result.encoders[0].exposure) == "3 of 9 test rows"
    assert result.encoders[1].exposure.kind == "none"


def test_unreadable_videos_stop_the_probe_or_are_left_out(
    encoder, table, write, tmp_path: Path
) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"not a video")
    bad = [
        {**table[0], "path": str(tmp_path / "a.mp4"), "split": "train"},
        {**table[0], "path": str(tmp_path / "b.mp4"), "split": "test"},
    ]
    source = write([bad[0], *table, bad[1]])
    with pytest.raises(DataError, match=r"2 of 38 videos cannot be read(.|\n)*a\.mp4(.|\n)*b\.mp4"):
        run(encoder, source, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    result = run(encoder, source, tmp_path / "out", skip_bad=True)
    assert result.left_out == {"unreadable": 2}
    assert [Path(row.path).name for row in result.unreadable] == ["a.mp4", "b.mp4"]
    clean = run(encoder, write(table), tmp_path / "clean")
    assert result.encoders[0].metrics == clean.encoders[0].metrics


def test_a_folder_in_use_is_refused_before_any_work(encoder, table, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="exists and is not empty"):
        run(encoder, tmp_path / "absent.csv", tmp_path / "out")


def test_tables_show_what_matters(encoder, table, write, tmp_path: Path) -> None:
    rows = [{**row, "label": f"[b]{row['label']}"} for row in table]
    result = run(encoder, write(rows), tmp_path / "out", folds="fold", group_column="scene")
    console = Console(file=io.StringIO(), width=160)
    console.print(probe_tables(result))
    text = console.file.getvalue()
    assert "accuracy [95 %]" in text
    interval = result.encoders[0].metrics.interval
    assert f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in text
    assert "teacher (mine)" in text
    assert "pretraining of teacher (mine) saw is unknown: weights were moved out" in text
    assert "or the teacher is not vsalt's" in text
    assert "12 groups only; the intervals are rough" in text
    assert "[b]blue" in text
    assert "bootstrap over the groups" in text
    assert text.count("33.3") >= 2


@pytest.mark.parametrize(("num_groups", "shown"), [(4, False), (5, True)])
def test_too_few_groups_make_no_interval(
    num_groups: int, shown: bool, encoder, table, write, tmp_path: Path
) -> None:
    rows = [{**row, "scene": str(index % num_groups)} for index, row in enumerate(table)]
    result = run(encoder, write(rows), tmp_path / "out", folds="fold", group_column="scene")
    assert result.num_test_groups == num_groups
    console = Console(file=io.StringIO(), width=160)
    console.print(probe_tables(result))
    text = console.file.getvalue()
    interval = result.encoders[0].metrics.interval
    assert interval.method == "group bootstrap"
    assert (f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in text) is shown
    assert (text.count("[–]") == 2) is not shown
    assert (f"{num_groups} groups only, too few for an interval" in text) is not shown


@pytest.mark.parametrize(
    ("exposure", "cell", "note"),
    [
        (Exposure(kind="inductive", num_seen=0, num_test=9), "no test rows", None),
        (Exposure(kind="none", num_seen=0, num_test=9), "not trained", None),
        (
            Exposure(kind="transductive", num_seen=4, num_test=9),
            "4 of 9 test rows",
            "Pretraining of teacher (mine) may have drawn 4 of 9 test rows, without their labels.",
        ),
    ],
)
def test_what_pretraining_saw_is_said_in_plain_words(
    exposure: Exposure, cell: str, note: str | None, encoder, table, write, tmp_path: Path
) -> None:
    result = run(encoder, write(table), tmp_path / "out", random_init=False)
    seen = replace(result, encoders=(replace(result.encoders[0], exposure=exposure),))
    console = Console(file=io.StringIO(), width=160)
    console.print(probe_tables(seen))
    text = " ".join(console.file.getvalue().replace("│", " ").split())
    assert all(word in text for word in cell.split())
    assert ("Pretraining of" in text) is (note is not None)
    assert note is None or note in text
    assert "ductive" not in text


def test_the_command(encoder, table, write, tmp_path: Path, capsys) -> None:
    words = ["--encoder", str(encoder), "--data", str(write(table)), "--device", "cpu"]
    words += ["--workers", "0", "--kind", "knn", "--folds", "fold", "--no-random-init", "--out"]
    assert command.fit([*words, str(tmp_path / "out")], "vsalt probe fit") == 0
    assert "knn probe of" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert [entry["name"] for entry in result["encoders"]] == [str(encoder)]
    assert result["options"]["task"]["folds"] == "fold"
    with pytest.raises(ConfigError, match="each path once"):
        command.fit([*words[:2], *words, str(tmp_path / "twice")], "vsalt probe fit")
    with pytest.raises(ConfigError, match="--encoder must be given at least once"):
        command.fit([*words[2:], str(tmp_path / "none")], "vsalt probe fit")
