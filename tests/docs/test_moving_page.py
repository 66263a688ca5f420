"""The page about moving from other code names flags that exist, and what it says of masks holds."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from support.pages import ROOT, files, read_blocks
from vsalt.config import PretrainConfig, from_dict, resolve_stage
from vsalt.masking.config import MultiblockConfig, TubeConfig, num_kept
from vsalt.objectives.config import VjepaConfig
from vsalt.presets import stage_preset

PAGE = (ROOT / "docs/how-to/move-from-vjepa-or-videomae.md").read_text(encoding="utf-8")
BLOCKS = read_blocks(PAGE)
WITHOUT_DEFAULT = {"--masks.short", "--masks.long"}
"""Named for all flags that begin so."""

# Programs of their own: placeholders of required flags do not pass the checks under pytest.
_FLAGS = """
import contextlib, io, re
from vsalt.cli.main import main
for words in (
    "--method vjepa --masks multiblock", "--method pixel --masks tube", "--method salt",
):
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        main(["pretrain", *words.split(), "--help"])
    print(*re.findall(r"--[a-z][\\w.-]*", text.getvalue()))
"""


def flags_of(page: str) -> list[str]:
    """Return the flags in the column `flag` of a page's tables; `.b` after `--x.a` is `--x.b`."""
    found = []
    column = None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if not cells:
            column = None
        elif column is None:
            column = cells.index("flag") if "flag" in cells else -1
        elif column >= 0:
            prefix = None
            for code in re.findall(r"`([^`]+)`", cells[column]):
                name = code.split()[0]
                if name.startswith("."):
                    name = f"{prefix}{name}"
                if name.startswith("--"):
                    found.append(name)
                    prefix = name.rpartition(".")[0]
    return found


def test_flags_are_those_of_the_parser() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FLAGS],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    known = set(done.stdout.split())
    named = flags_of(PAGE)
    assert len(named) > 80
    assert sorted({*named} - known - WITHOUT_DEFAULT) == []
    assert all(any(flag.startswith(f"{start}.") for flag in known) for start in WITHOUT_DEFAULT)


def test_flags_are_found_in_their_column() -> None:
    page = (
        "| theirs | flag |\n|---|---|\n| `--a` | `--x.b 3`, `.c` and `d` |\n\n| `--e` | f |\n|-|\n"
    )
    assert flags_of(page) == ["--x.b", "--x.c"]


@pytest.mark.parametrize("ratio", [0.9, 0.75])
def test_tubes_at_videomaes_ratio_and_at_the_one_that_is_advised(ratio: float) -> None:
    """VideoMAE (`masking_generator.py`) hides int(ratio * places)."""
    seen = 196 - int(ratio * 196)
    assert seen == {0.9: 20, 0.75: 49}[ratio]
    assert num_kept(196, ratio) == {0.9: 19, 0.75: 49}[ratio]
    assert num_kept(196, {0.9: 0.895}.get(ratio, ratio)) == seen
    assert "176 of 196" in PAGE
    assert "19 of 196, not 20" in PAGE
    assert "`--masks.ratio 0.895`" in PAGE


def example(name: str, preset: str) -> PretrainConfig:
    values = tomllib.loads(files(BLOCKS)[name])
    return from_dict(PretrainConfig, values, base=stage_preset(preset))


def test_the_example_of_vjepa2_says_what_its_yaml_says() -> None:
    (theirs,) = (yaml.safe_load(block.text) for block in BLOCKS if block.language == "yaml")
    config = example("vjepa2.toml", "vjepa2-faithful")
    data, model, optim = theirs["data"], theirs["model"], theirs["optimization"]
    clip, stage = config.clip, resolve_stage(config.stage)
    assert [clip.num_frames] == data["dataset_fpcs"]
    assert (*clip.size, clip.fps) == (data["crop_size"], data["crop_size"], data["fps"])
    assert stage.encoder.tubelet == (data["tubelet_size"], data["patch_size"], data["patch_size"])
    assert list(config.data.crop_scale) == theirs["data_aug"]["random_resize_scale"]
    assert list(config.data.crop_ratio) == theirs["data_aug"]["random_resize_aspect_ratio"]
    assert (config.seed, config.data.holdout) == (theirs["meta"]["seed"], 0)
    predictor = (stage.predictor.depth, stage.predictor.width, stage.predictor.heads)
    assert predictor == (model["pred_depth"], model["pred_embed_dim"], model["pred_num_heads"])
    assert isinstance(stage.method, VjepaConfig)
    assert [stage.method.momentum, stage.method.momentum_final] == optim["ema"]
    for name, key in (
        *(("lr_start", "start_lr"), ("lr", "lr"), ("lr_final", "final_lr")),
        *(("weight_decay", "weight_decay"), ("weight_decay_final", "final_weight_decay")),
        ("schedule_stretch", "ipe_scale"),
    ):
        assert getattr(stage.optim, name) == float(optim[key])
    gpus = theirs["nodes"] * theirs["tasks_per_node"]
    assert stage.loop.steps == optim["epochs"] * optim["ipe"]
    assert stage.loop.save_every == theirs["meta"]["save_every_freq"] * optim["ipe"]
    assert stage.optim.warmup_steps == optim["warmup"] * optim["ipe"]
    assert stage.loop.batch_size == gpus * data["batch_size"]
    assert stage.loop.micro_batch_size == data["batch_size"]
    assert isinstance(stage.masks, MultiblockConfig)
    assert (stage.masks.policy, stage.masks.group_size) == ("batch_min", data["batch_size"])
    for ours, mask in zip(stage.masks.kinds.values(), theirs["mask"], strict=True):
        assert ours.num_blocks == mask["num_blocks"]
        assert [ours.spatial_scale] * 2 == mask["spatial_scale"]
        assert [ours.temporal_scale] * 2 == mask["temporal_scale"]
        assert list(stage.masks.aspect_ratio) == mask["aspect_ratio"]
    assert stage.optim.clip_norm is None


def test_the_example_of_videomae_follows_its_rules() -> None:
    config = example("videomae.toml", "videomae-faithful")
    stage = resolve_stage(config.stage)
    epoch = 20_000 // (8 * 32)
    loop = stage.loop
    assert (loop.steps, loop.save_every) == (800 * epoch, 20 * epoch)
    assert (loop.batch_size, loop.micro_batch_size) == (8 * 32, 32)
    assert stage.optim.warmup_steps == 40 * epoch
    assert stage.optim.lr == pytest.approx(1.5e-4 * 8 * 32 / 256)
    assert stage.optim.clip_norm is None
    assert (stage.predictor.width, stage.predictor.depth, stage.predictor.heads) == (384, 4, 6)
    assert isinstance(stage.masks, TubeConfig)
    assert 8 * num_kept(196, stage.masks.ratio) == 160
    assert "160 of 1,568 tokens seen" in PAGE
