"""Probes that were saved, asked again: `probe eval` and `probe predict`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from support.encoders import write_checkpoint
from vsalt.cli import probe as command
from vsalt.errors import DataError, RunFolderError, WeightsError

FIT = ["--no-random-init", "--workers", "0", "--device", "cpu"]
READ = ["--workers", "0", "--device", "cpu"]
ATTENTIVE = ["--attentive.heads", "2", "--attentive.epochs", "4", "--attentive.lr", "0.003"]
KINDS = {
    "linear": ["--kind", "linear", "--segments", "2", "--pooling", "mean_space"],
    "knn": ["--kind", "knn", "--layers", "0"],
    "attentive": [
        *("--kind", "attentive", *ATTENTIVE, "--attentive.views", "2"),
        *("--attentive.size", "24", "24", "--attentive.frame-step", "1"),
    ],
    "attentive-1": ["--kind", "attentive-1", *ATTENTIVE, "--attentive.features", "online"],
}


def fit(encoder: Path, source: Path, out: Path, *words: str) -> Path:
    given = ["--encoder", str(encoder), "--data", str(source), "--out", str(out), *words, *FIT]
    assert command.fit(given, "vsalt probe fit") == 0
    return out


def ask(verb, probe: Path, encoder: Path, source: Path, *words: str) -> int:
    given = ["--probe", str(probe), "--encoder", str(encoder), "--data", str(source)]
    return verb([*given, *words, *READ], "vsalt probe")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_probe_answers_as_it_did(
    kind: str, encoder: Path, table, write, tmp_path: Path, capsys
) -> None:
    source = write(table)
    probe = fit(encoder, source, tmp_path / "probe", *KINDS[kind])
    fitted = json.loads((probe / "probe.json").read_text())["encoders"][0]
    capsys.readouterr()
    out = tmp_path / "scores"
    assert ask(command.evaluate, probe, encoder, source, "--split", "test", "--out", str(out)) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["metrics"]["accuracy"] == fitted["metrics"]["accuracy"]
    assert scores["metrics"]["confusion"] == fitted["metrics"]["confusion"]
    assert scores["probe"]["num_seen"] == 0
    assert "was trained on" not in capsys.readouterr().out
    before = {line["path"]: line for line in lines(probe / "predictions.jsonl")}
    for line in lines(out / "predictions.jsonl"):
        old = before[line["path"]]
        assert line["predicted"] == old["predicted"]
        assert line["label"] == old["label"]
        assert line["probabilities"][line["predicted"]] == pytest.approx(
            old["probability"], abs=1e-4
        )


def test_rows_the_probe_was_trained_on_are_counted(
    encoder: Path, table, write, tmp_path: Path, capsys
) -> None:
    source = write(table)
    probe = fit(encoder, source, tmp_path / "probe", "--kind", "knn", "--folds", "fold")
    with pytest.raises(RunFolderError, match=r"a head for each of the parts 0, 1, 2, 3.*--part"):
        ask(command.evaluate, probe, encoder, source)
    with pytest.raises(RunFolderError, match="no part '7'"):
        ask(command.evaluate, probe, encoder, source, "--part", "7")
    capsys.readouterr()
    assert ask(command.evaluate, probe, encoder, source, "--part", "1") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "The probe was trained on 27 of these rows" in text


def test_rows_without_labels_are_classified(encoder: Path, table, write, tmp_path: Path) -> None:
    probe = fit(encoder, write(table), tmp_path / "probe", "--kind", "linear")
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    paths = [row["path"] for row in table[:5]]
    unlabelled = write([{"path": path} for path in [*paths, str(tmp_path / "bad.mp4")]], "new.csv")
    out = tmp_path / "answers"
    words = ["--out", str(out), "--top", "2"]
    assert ask(command.predict, probe, encoder, unlabelled, *words) == 1
    found = lines(out / "predictions.jsonl")
    assert [line["path"] for line in found] == paths
    assert [line["predicted"] for line in found] == [row["label"] for row in table[:5]]
    for line in found:
        best = list(line["probabilities"].items())
        assert len(best) == 2
        assert best[0][0] == line["predicted"]
        assert 1 >= best[0][1] >= best[1][1]
    assert [Path(line["path"]).name for line in lines(out / "bad.jsonl")] == ["bad.mp4"]
    with pytest.raises(RunFolderError, match="not empty"):
        ask(command.predict, probe, encoder, unlabelled, *words)
    words = ["--out", str(tmp_path / "again"), "--skip-bad"]
    assert ask(command.predict, probe, encoder, unlabelled, *words) == 0


def test_what_does_not_belong_together_is_refused(
    encoder: Path, table, write, tmp_path: Path
) -> None:
    source = write(table)
    probe = fit(encoder, source, tmp_path / "probe", "--kind", "attentive-1", *ATTENTIVE)
    other = write_checkpoint(tmp_path / "other", seed=9)
    with pytest.raises(WeightsError, match=r"was not fitted to this encoder(.|\n)*step-7"):
        ask(command.evaluate, probe, other, source)
    unknown = write([{**table[0], "label": "violet"}, *table[1:]], "violet.csv")
    with pytest.raises(DataError, match=r"does not know 1 of the labels: violet"):
        ask(command.evaluate, probe, encoder, unknown)
    with pytest.raises(DataError, match=r"no row .* whose split is nowhere"):
        ask(command.evaluate, probe, encoder, source, "--split", "nowhere")
    with pytest.raises(RunFolderError, match=r"probe\.json does not exist"):
        ask(command.evaluate, tmp_path, encoder, source)
    # Weights of another probe, and settings that were changed by hand.
    heads = load_file(probe / "probe.safetensors")
    changed = {**heads, "encoder0.part0.linear.bias": torch.ones(3)}
    save_file(changed, probe / "probe.safetensors")
    with pytest.raises(WeightsError, match="is damaged, or not the file that belongs to"):
        ask(command.evaluate, probe, encoder, source)
    save_file(heads, probe / "probe.safetensors")
    record = json.loads((probe / "probe.json").read_text())
    record["encoders"][0]["clip"]["num_frames"] = 8
    (probe / "probe.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="sampling"):
        ask(command.evaluate, probe, encoder, source)
    record["encoders"][0]["clip"]["num_frames"] = 4
    record["encoders"][0]["parts"][0]["settings"]["lr"] = 0.5
    (probe / "probe.json").write_text(json.dumps(record))
    with pytest.raises(RunFolderError, match="was changed"):
        ask(command.evaluate, probe, encoder, source)
    (probe / "probe.json").write_text("{}")
    with pytest.raises(RunFolderError, match="no entry 'encoders'"):
        ask(command.evaluate, probe, encoder, source)


def test_several_probes_are_tried_on_other_rows_first(
    encoder: Path, table, write, tmp_path: Path, capsys
) -> None:
    sweep = ["--attentive.lr", "0.003", "1e-9", "--attentive.heads", "2", "--attentive.epochs", "4"]
    source = write(table)
    fit(encoder, source, tmp_path / "honest", "--kind", "attentive", *sweep)
    assert "caching" in (text := capsys.readouterr().out)
    assert "1 view x 27 rows x 32 tokens x 24 channels x 2 bytes" in text
    assert text.index("caching will take") < text.index("reading the test windows")
    assert sorted(path.name for path in (tmp_path / "honest").iterdir()) == [
        *("predictions.jsonl", "probe.json", "probe.safetensors", "trained_on.jsonl")
    ]
    fit(
        *(encoder, source, tmp_path / "paper", "--kind", "attentive", *sweep),
        *("--attentive.select", "test"),
    )
    text = " ".join(capsys.readouterr().out.split())
    assert "chosen on the test rows, as the paper does" in text
    parts = {}
    for name in ("honest", "paper"):
        found = json.loads((tmp_path / name / "probe.json").read_text())
        (parts[name],) = found["encoders"][0]["parts"]
    assert [part["selected_on"] for part in parts.values()] == ["selection", "test"]
    for part in parts.values():
        # A rate of 1e-9 learns nothing and cannot win.
        assert part["settings"] == {"lr": 0.003, "weight_decay": 0.01}
        accuracies = [trial["accuracy"] for trial in part["trials"]]
        assert accuracies[0] > accuracies[1]
    assert parts["paper"]["accuracy"] == parts["paper"]["trials"][0]["accuracy"]
    assert parts["honest"]["accuracy"] > 0.5
