"""A saved probe as one network gives the probabilities that `vsalt probe predict` writes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from support.encoders import TINY, write_checkpoint
from vsalt.cli import probe as command
from vsalt.errors import ConfigError
from vsalt.evaluation.network import saved_network
from vsalt.evaluation.saved import read_head
from vsalt.models.vit import Encoder
from vsalt.training.locate import load_encoder

READ = ["--workers", "0", "--device", "cpu"]
FIT = [*READ, "--no-random-init"]
ATTENTIVE = ["--attentive.epochs", "3", "--attentive.lr", "0.01"]
KINDS = {
    "linear, windows": [
        "--kind",
        "linear",
        "--segments",
        "2",
        "--pooling",
        "mean_space",
        "--layers",
        "0",
    ],
    "attentive": ["--kind", "attentive", "--attentive.mode", "hf", *ATTENTIVE],
    "attentive, windows": [
        *("--kind", "attentive-1", "--attentive.heads", "4", *ATTENTIVE),
        *("--attentive.segments", "3", "--attentive.size", "16", "24"),
        *("--attentive.layers", "0", "1", "--attentive.antialias", "False"),
    ],
}


def fitted(kind: str, encoder: Path, source: Path, out: Path) -> Path:
    given = ["--encoder", str(encoder), "--data", str(source), "--out", str(out), *KINDS[kind]]
    assert command.fit([*given, *FIT], "vsalt probe fit") == 0
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_probe(
    kind: str, table, write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = write_checkpoint(tmp_path / "step-7", encoder=replace(TINY, depth=2))
    probe = fitted(kind, encoder, write(table), tmp_path / "probe")
    given: list[Tensor] = []
    features = Encoder.features

    def recorded(self, clips, **settings):
        given.append(clips)
        return features(self, clips, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "features", recorded)
        few = write([row for row in table if row["split"] == "test"][:4], "few.csv")
        line = ["--probe", str(probe), "--encoder", str(encoder), "--data", str(few)]
        line += ["--out", str(tmp_path / "said"), "--batch-size", "1", *READ]
        assert command.predict(line, "vsalt probe predict") == 0
    text = (tmp_path / "said" / "predictions.jsonl").read_text()
    said = [json.loads(one) for one in text.splitlines()]
    loaded = load_encoder(encoder)
    head = read_head(probe, loaded.sha256, None)
    found = saved_network(head, loaded)
    if "attentive" in kind:
        options = {**head.options, "attentive": {**head.options["attentive"], "views": 3}}
        several = saved_network(replace(head, options=options), loaded)
        assert (several.num_views, found.num_views) == (3, 1)
    assert found.antialias is (kind != "attentive, windows")
    windows = found.num_windows
    assert windows == {"linear, windows": 2, "attentive": 1, "attentive, windows": 3}[kind]
    assert tuple(given[0].shape[-2:]) == found.clip.size
    rows = torch.cat(given)
    rows = rows.unflatten(0, (-1, windows)) if windows > 1 else rows
    assert len(rows) == len(said) == 4
    with torch.no_grad():
        shares = found.network(rows).softmax(dim=1)
    assert shares.std(dim=0).max() > 1e-3
    for own, line in zip(shares.tolist(), said, strict=True):
        named = dict(zip(found.classes, own, strict=True))
        assert named == pytest.approx(line["probabilities"], abs=1e-5)


def test_nearest_neighbours_are_no_network(encoder: Path, table, write, tmp_path: Path) -> None:
    line = ["--encoder", str(encoder), "--data", str(write(table)), "--kind", "knn"]
    command.fit([*line, "--out", str(tmp_path / "probe"), *FIT], "vsalt probe fit")
    loaded = load_encoder(encoder)
    with pytest.raises(ConfigError, match="knn, which is no network; fit --kind linear"):
        saved_network(read_head(tmp_path / "probe", loaded.sha256, None), loaded)
