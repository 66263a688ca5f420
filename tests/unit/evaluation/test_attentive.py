"""Training of attentive probes against a plain loop, and their token sources against the encoder.

Everything runs on tokens of a few dimensions.
"""

import errno
import math
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.encoders import CLIP, FPS, TINY, write_video
from vsalt.data.config import ReadLimits
from vsalt.data.decode import read_frames
from vsalt.data.manifest import Row
from vsalt.data.probe_clips import ProbeClips, ProbeKey
from vsalt.data.probe_config import ProbeClipConfig
from vsalt.errors import ConfigError, DataError, RunFolderError
from vsalt.evaluation import attentive_prober
from vsalt.evaluation.attentive import AttentiveHead, HeadTraining
from vsalt.evaluation.attentive_config import AttentiveConfig
from vsalt.evaluation.selection import best_trial
from vsalt.evaluation.tokens import TokenBatch, TokenCache, TokenReader
from vsalt.models.config import EncoderConfig
from vsalt.models.vit import Encoder
from vsalt.randomness import keyed_permutation

NUM_ROWS, NUM_TOKENS, NUM_CLASSES = 7, 5, 3


class GivenTokens:
    """A source whose tokens are a formula of (pass, row), as (B, V, M, D)."""

    def __init__(self, width: int = TINY.width, views: int = 1, unreadable=()) -> None:
        self.width, self.views, self.unreadable = width, views, unreadable

    def of(self, key: ProbeKey) -> Tensor:
        seed = 100 * key.pass_index + key.row
        noise = np.random.default_rng(seed).normal(size=(self.views, NUM_TOKENS, self.width))
        return torch.from_numpy(noise).float() + 0.3 * (key.row % NUM_CLASSES)

    def batches(self, keys):
        for own in keys:
            tokens = torch.stack([self.of(key) for key in own])
            yield TokenBatch([tokens], tuple(key.row not in self.unreadable for key in own))


def encoder(**changes) -> Encoder:
    torch.manual_seed(0)
    return Encoder(replace(TINY, **changes)).eval()


def training(*, rows_at_once: int = 8, depth: int = 4, **settings) -> HeadTraining:
    config = AttentiveConfig(**{"heads": 2, "epochs": 3, "batch_size": 4, **settings})
    return HeadTraining(
        config=config,
        depth=depth,
        num_classes=NUM_CLASSES,
        seed=5,
        rows_at_once=rows_at_once,
        device="cpu",
        precision="fp32",
    )


ROWS = np.arange(NUM_ROWS)
LABELS = ROWS % NUM_CLASSES


def train(plan: HeadTraining, settings, source=None) -> list[AttentiveHead]:
    source = source or GivenTokens()
    return plan.train(source, [encoder()], ROWS, LABELS, [settings])[0]


def plain(plan: HeadTraining, lr: float, weight_decay: float, without=()) -> nn.Module:
    """The same training written out, with torch's own scheduler."""
    classifier = plan.new_classifier(encoder())
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=lr, weight_decay=weight_decay)
    num_steps = 3 * math.ceil(NUM_ROWS / 4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, num_steps)
    source = GivenTokens()
    for epoch in range(3):
        order = keyed_permutation(NUM_ROWS, "attentive order", 5, epoch).tolist()
        for first in range(0, NUM_ROWS, 4):
            rows = order[first : first + 4]
            tokens = torch.stack([source.of(ProbeKey(epoch, row))[0] for row in rows])
            losses = nn.functional.cross_entropy(
                classifier(tokens), torch.tensor(rows) % NUM_CLASSES, reduction="none"
            )
            loss = losses[[row not in without for row in rows]].sum() / len(rows)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return classifier


def largest_difference(a: nn.Module, b: nn.Module) -> float:
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((one - two).detach().abs().max()) for one, two in pairs)


def test_training_is_the_plain_loop() -> None:
    plan = training()
    (head,) = train(plan, [{"lr": 1e-3, "weight_decay": 0.1}])
    expected = plain(plan, 1e-3, 0.1)
    assert largest_difference(head.classifier, expected) < 1e-6
    # The comparison would notice another rate, decay or order.
    for changed in (plain(plan, 1.1e-3, 0.1), plain(plan, 1e-3, 0.8)):
        assert largest_difference(changed, expected) > 1e-5


def test_a_sweep_in_one_pass_is_each_probe_alone() -> None:
    settings = AttentiveConfig(heads=2, lr=(1e-3, 1e-4), weight_decay=(0.5, 0.01)).settings
    assert settings == [
        {"lr": 1e-3, "weight_decay": 0.5},
        {"lr": 1e-3, "weight_decay": 0.01},
        {"lr": 1e-4, "weight_decay": 0.5},
        {"lr": 1e-4, "weight_decay": 0.01},
    ]
    together = train(training(), settings)
    for head, own in zip(together, settings, strict=True):
        (alone,) = train(training(), [own])
        assert head.settings == own
        assert largest_difference(head.classifier, alone.classifier) == 0
    assert largest_difference(together[0].classifier, together[3].classifier) > 1e-5


def test_cutting_a_batch_changes_rounding_only() -> None:
    one = train(training(rows_at_once=8), [{"lr": 1e-3, "weight_decay": 0.1}])
    two = train(training(rows_at_once=3), [{"lr": 1e-3, "weight_decay": 0.1}])
    assert largest_difference(one[0].classifier, two[0].classifier) < 5e-5


def test_unreadable_rows_have_no_part_in_their_step() -> None:
    source = GivenTokens(unreadable=(2, 5))
    (head,) = train(training(), [{"lr": 1e-3, "weight_decay": 0.1}], source)
    assert largest_difference(head.classifier, plain(training(), 1e-3, 0.1, (2, 5))) < 1e-6
    assert largest_difference(head.classifier, plain(training(), 1e-3, 0.1)) > 1e-5


def test_losses_are_means_over_the_epochs_rows() -> None:
    plan = training(depth=1, epochs=2, batch_size=NUM_ROWS)
    (head,) = train(plan, [{"lr": 1e-3, "weight_decay": 0.1}])
    fresh, source = plan.new_classifier(encoder()), GivenTokens()
    tokens = torch.stack([source.of(ProbeKey(0, row))[0] for row in range(NUM_ROWS)])
    expected = nn.functional.cross_entropy(fresh(tokens), torch.from_numpy(LABELS))
    assert head.losses[0] == pytest.approx(expected.item(), rel=1e-5)
    assert len(head.losses) == 2
    assert head.converged


def test_a_probe_that_diverges_is_left_behind_and_never_chosen() -> None:
    settings = [{"lr": lr, "weight_decay": 0.1} for lr in (1e30, 1e-3)]
    wild, tame = train(training(), settings)
    assert not wild.converged
    assert len(wild.losses) < 3
    (alone,) = train(training(), settings[1:])
    assert largest_difference(tame.classifier, alone.classifier) == 0
    plan = training()
    answers = plan.answer(GivenTokens(), [[wild, tame]], ROWS)
    ((first, second),) = attentive_prober._score([[wild, tame]], answers, LABELS)
    assert (first.accuracy, first.cross_entropy) == (0.0, None)
    assert best_trial([first, second]) is second
    with pytest.raises(DataError, match=r"every probe diverged \(lr 1e\+30.*lower --attentive\.lr"):
        best_trial([first])


def test_answers_are_mean_probabilities_over_views() -> None:
    plan = training(depth=1, rows_at_once=3)
    heads = train(plan, [{"lr": 1e-3, "weight_decay": 0.1}, {"lr": 1e-2, "weight_decay": 0.1}])
    source = GivenTokens(views=3)
    calls: list[tuple[int, int]] = []
    rows = np.array([4, 0, 6, 2])
    ((first, second),) = plan.answer(source, [heads], rows, lambda *n: calls.append(n))
    assert calls == [(3, 4), (4, 4)]
    for given, head in ((first, heads[0]), (second, heads[1])):
        for row, shares in zip(rows, given, strict=True):
            logits = [head.classifier(view[None])[0] for view in source.of(ProbeKey(0, int(row)))]
            expected = sum(torch.exp(own) / torch.exp(own).sum() for own in logits) / 3
            np.testing.assert_allclose(shares, expected.detach(), atol=1e-6)


def test_heads_follow_the_mode() -> None:
    paper = training().new_classifier(encoder())
    assert {block.attn.heads for block in paper.pooler.blocks} == {2}
    assert paper.pooler.cross.norm1.eps == 1e-5
    hf = training(heads=None, mode="hf").new_classifier(encoder(heads=3))
    assert {block.attn.heads for block in hf.pooler.blocks} == {3} == {hf.pooler.cross.attn.heads}
    assert hf.pooler.cross.norm1.eps == 1e-6
    assert len(hf.pooler.blocks) == 3
    assert training(heads=None).new_classifier(encoder(width=48)).pooler.cross.attn.heads == 16
    assert len(training(depth=1).new_classifier(encoder()).pooler.blocks) == 0
    with pytest.raises(ConfigError, match=r"heads is 5.*width 24.*--attentive\.heads.*mode hf"):
        training(heads=5).new_classifier(encoder())


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, message in (
        ({"epochs": 0}, "epochs is 0"),
        ({"lr": ()}, r"lr is \(\)"),
        ({"lr": (1e-3, 1e-3)}, "each number may be given once"),
        ({"weight_decay": (-1.0,)}, "weight-decay"),
        ({"erase": 1.5}, "erase is 1.5"),
        ({"lr": (math.nan,)}, "lr is"),
        ({"weight_decay": (math.inf,)}, "weight-decay is"),
        ({"heads": 4, "mode": "hf"}, "leave one of them out"),
        ({"cached_views": 2, "features": "online"}, "caches nothing"),
        ({"cached_views": 30}, "more than the 20 epochs"),
        ({"augment": "none", "flip": 0.5}, "augment none changes nothing"),
        ({"crop_scale": (0.5, 0.1)}, "crop-scale"),
        ({"crop_ratio": (2.0, 0.5)}, "crop-ratio"),
        ({"layers": ()}, "layers is empty"),
    ):
        with pytest.raises(ConfigError, match=message):
            AttentiveConfig(**wrong)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("rows")
    found = []
    for index in range(3):
        path = write_video(
            folder / f"{index}.mp4", (200, 90, 40 * index), num_frames=24, seed=index
        )
        found.append(Row(path=str(path), relative_path=path.name, source=0, columns={}))
    return found


TESTING = ProbeClipConfig(clip=CLIP, segments=2, views=3)


def reader(rows: list[Row], clips: ProbeClipConfig = TESTING, **changes) -> TokenReader:
    settings = {"encoders": [encoder(depth=2)], "layers": (-1,), "precision": "fp32", **changes}
    settings.setdefault("limits", ReadLimits())
    return TokenReader(rows=rows, clips=clips, seed=3, workers=0, device="cpu", **settings)


def blocks(network: Encoder, clip: Tensor) -> list[Tensor]:
    """What every block puts out for one clip, through the final norm."""
    outputs: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda *args: outputs.append(args[2]))
        for block in network.blocks
    ]
    with torch.no_grad():
        network(clip[None])
        normed = [network.norm(output)[0] for output in outputs]
    for handle in handles:
        handle.remove()
    return normed


def test_rows_above_the_limits_are_noted(rows) -> None:
    own = reader(rows, limits=ReadLimits(max_pixels=100), errors={})
    (batch,) = own.batches([[ProbeKey(0, 0)]])
    assert batch.readable == (False,)
    assert "above the limit of 100 pixels" in own.errors[0]


def test_tokens_are_the_encoders_window_after_window(rows) -> None:
    own = reader(rows, layers=(0, -1))
    keys = [[ProbeKey(0, 2), ProbeKey(0, 0)], [ProbeKey(0, 1)]]
    batches = list(own.batches(keys))
    shapes = [tuple(batch.tokens[0].shape) for batch in batches]
    assert shapes == [(2, 3, 2 * 2 * 32, 24), (1, 3, 128, 24)]
    assert own.num_tokens() == 128
    network, clips = own.encoders[0], ProbeClips(rows, TESTING, seed=3)
    for batch, names in zip(batches, keys, strict=True):
        for found, key in zip(batch.tokens[0], names, strict=True):
            for view in range(3):
                windows = [clips[key][segment, view] for segment in range(2)]
                expected = torch.cat([block for clip in windows for block in blocks(network, clip)])
                torch.testing.assert_close(found[view], expected, atol=1e-5, rtol=0)


def test_the_middle_of_each_part_is_read(rows) -> None:
    # 24 frames in two parts of 12; a window of 4 frames, 2 apart, in the middle of each.
    one = replace(TESTING, views=1)
    frames = [[2, 4, 6, 8], [14, 16, 18, 20]]
    clips = ProbeClips(rows, one, seed=3)[ProbeKey(0, 1)]
    for segment, numbers in enumerate(frames):
        decoded = read_frames(rows[1].path, [(number + 0.5) / FPS for number in numbers])
        mean = decoded[:, 8:-8, 8:-8].mean(axis=(1, 2))
        given = clips[segment, 0].float()[:, :, 8:-8, 8:-8].mean(dim=(2, 3)).T
        np.testing.assert_allclose(given, mean, atol=4)


DRAWN = ProbeClipConfig(clip=CLIP, segments=2, window="random", augment="crop")


def test_the_cache_holds_what_would_be_computed(rows, tmp_path: Path) -> None:
    online = reader(rows, DRAWN, encoders=[encoder(), encoder(width=16)])
    cache = TokenCache(online, [2, 0], num_passes=2, folder=tmp_path)
    assert cache.num_bytes == 2 * 2 * 64 * (24 + 16) * 2
    assert "2 views x 2 rows x 64 tokens x 24 + 16 channels" in cache.describe()
    calls: list[tuple[int, int]] = []
    cache.fill(3, lambda *n: calls.append(n))
    assert calls == [(3, 4), (4, 4)]
    # The files have no name, so that nothing is left however the process ends.
    assert list(tmp_path.iterdir()) == []
    # Pass 3 of 2 cached ones is pass 1.
    (cached,) = cache.batches([[ProbeKey(3, 0), ProbeKey(0, 2)]])
    (computed,) = online.batches([[ProbeKey(1, 0), ProbeKey(0, 2)]])
    for own, expected in zip(cached.tokens, computed.tokens, strict=True):
        torch.testing.assert_close(own, expected, rtol=5e-4, atol=1e-5)
    (other,) = online.batches([[ProbeKey(0, 0), ProbeKey(0, 2)]])
    assert not torch.allclose(cached.tokens[0][0], other.tokens[0][0], atol=0.01)
    cache.close()


def test_a_disk_that_is_too_small_is_named(rows, tmp_path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    cache = TokenCache(reader(rows, DRAWN), [0], num_passes=1, folder=tmp_path)
    with pytest.raises(RunFolderError, match=r"needs 0\.0 MB.*--attentive\.features online"):
        cache.require_disk()

    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        cache.fill(1, None)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_that_cannot_be_read_is_an_error_or_noted(rows, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    bad = Row(path=str(tmp_path / "bad.mp4"), relative_path="bad.mp4", source=0, columns={})
    keys = [[ProbeKey(0, 0), ProbeKey(0, 1)]]
    with pytest.raises(DataError, match=r"bad\.mp4"):
        list(reader([rows[0], bad]).batches(keys))
    errors: dict[int, str] = {}
    (found,) = reader([rows[0], bad], errors=errors).batches(keys)
    assert list(errors) == [1]
    (alone,) = reader(rows[:1]).batches([[ProbeKey(0, 0)]])
    torch.testing.assert_close(found.tokens[0][0], alone.tokens[0][0])
    assert found.readable == (True, False)
    drawn = reader([rows[0], bad], replace(DRAWN, segments=1), errors={})
    cache = TokenCache(drawn, [0, 1], num_passes=2, folder=tmp_path)
    cache.fill(4, None)
    (cached,) = cache.batches([[ProbeKey(1, 1), ProbeKey(0, 0)]])
    assert cached.readable == (False, True)


def test_encoders_of_another_tubelet_have_their_own_tokens(rows) -> None:
    other = Encoder(EncoderConfig(width=24, depth=1, heads=2, mlp_width=24, tubelet=(4, 16, 16)))
    assert reader(rows, replace(TESTING, views=1), encoders=[other.eval()]).num_tokens() == 2 * 4
