"""Arms of comparisons: what each one changes, and that it changes nothing else."""

import dataclasses
import json
from typing import Any

import pytest

from vsalt.config import PretrainConfig, SaltRunConfig, from_dict, to_dict
from vsalt.errors import ConfigError
from vsalt.presets import PRESETS, is_one_stage, salt_preset, stage_preset
from vsalt.presets.arms import ARMS
from vsalt.training.build import build_objective, resolve, resolve_salt
from vsalt.training.plan import clip_shapes

ONE_STAGE = {"pixel", "vjepa", "videomae"}
CHANGED = {
    "salt": set(),
    "salt-tube-teacher": {"teacher.masks"},
    "salt-random-teacher": {"teacher.masks"},
    "salt-causal-teacher": {"teacher.masks"},
    "salt-untrained-teacher": {"teacher.loop.steps"},
    "salt-early-teacher": {"teacher.loop.stop_at"},
    "salt-still-teacher": {"teacher.still_frames"},
    "salt-small-teacher": {
        f"teacher.encoder.{name}" for name in ("width", "depth", "heads", "mlp_width")
    },
    "salt-3stage": {"assistant", "student.loop.steps"},
}
METHODS = {"pixel": "pixel", "vjepa": "vjepa", "videomae": "pixel"}


def arm_of(base: str, arm: str) -> SaltRunConfig | PretrainConfig:
    name = f"{base}:{arm}"
    return stage_preset(name) if is_one_stage(name) else salt_preset(name)


def differing(one: Any, two: Any, path: str = "") -> set[str]:
    if isinstance(one, dict) and isinstance(two, dict) and one.get("name") == two.get("name"):
        found = {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)}
        names = [differing(one.get(n), two.get(n), f"{path}.{n}" if path else n) for n in found]
        return set().union(*names)
    return {path}


def test_every_arm_is_known() -> None:
    assert set(ARMS) == set(CHANGED) | ONE_STAGE


@pytest.mark.parametrize("base", ["tiny-cpu", "demo", "small-gpu", "paper-vitG-40k"])
@pytest.mark.parametrize("arm", CHANGED)
def test_an_arm_of_several_stages_changes_what_it_says(base: str, arm: str) -> None:
    config, before = arm_of(base, arm), salt_preset(base)
    assert isinstance(config, SaltRunConfig)
    changed = CHANGED[arm]
    if (base, arm) == ("demo", "salt-causal-teacher"):  # whose masks are causal, too
        changed = {"teacher.masks.ratio"}
    assert differing(to_dict(config), to_dict(before)) == changed
    assert from_dict(SaltRunConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("base", ["tiny-cpu", "demo", "small-gpu", "paper-vitl-3stage"])
@pytest.mark.parametrize("arm", sorted(ONE_STAGE))
def test_an_arm_of_one_stage_shares_networks_clips_and_masks(base: str, arm: str) -> None:
    config, before = arm_of(base, arm), salt_preset(base)
    assert isinstance(config, PretrainConfig)
    student = before.student
    assert (config.clip, config.data, config.seed) == (before.clip, before.data, before.seed)
    assert config.stage.encoder == student.encoder
    assert config.stage.predictor == student.predictor
    assert config.stage.loop.batch_size == student.loop.batch_size
    stages = [getattr(before, name) for name in before.stages]
    assert config.stage.loop.steps == sum(stage.loop.steps for stage in stages)
    assert config.stage.method.name == METHODS[arm]
    if arm == "videomae":
        assert (config.stage.masks.name, config.stage.masks.ratio) == ("tube", 0.9)
        assert config.stage.masks.num_masks == 1
        assert config.stage.method == before.teacher.method
    else:
        assert config.stage.masks == student.masks
    assert stage_preset(f"{base}:{arm}", METHODS[arm]) == config


@pytest.mark.parametrize("arm", sorted(ARMS))
@pytest.mark.parametrize("base", ["tiny-cpu", "demo"])
def test_every_arm_of_a_small_preset_can_be_built(base: str, arm: str) -> None:
    config = arm_of(base, arm)
    if isinstance(config, PretrainConfig):
        build_objective(resolve(config), None)
        return
    resolved = resolve_salt(config)
    teacher = None
    for name in resolved.stages:
        objective = build_objective(resolved.stage(name), teacher)
        teacher = objective.encoder


def test_masks_of_ablated_teachers_are_as_many_as_before() -> None:
    assert salt_preset("tiny-cpu:salt-tube-teacher").teacher.masks.num_masks == 2
    assert salt_preset("demo:salt-tube-teacher").teacher.masks.num_masks == 1
    for arm in ("tube", "random", "causal"):
        masks = salt_preset(f"tiny-cpu:salt-{arm}-teacher").teacher.masks
        assert (masks.name, masks.ratio) == (arm, 0.9)


def test_the_small_teacher_has_half_of_everything() -> None:
    for base, expected in (
        ("paper-vitl", (512, 12, 8, 2048)),
        ("tiny-cpu", (96, 6, 1, 384)),
        ("demo", (48, 1, 2, 192)),
    ):
        config = salt_preset(f"{base}:salt-small-teacher")
        assert config.teacher.encoder.architecture == expected
        resolved = resolve_salt(config) if base != "paper-vitl" else config
        assert resolved.teacher.predictor == (
            resolve_salt(salt_preset(base)).teacher.predictor
            if base != "paper-vitl"
            else salt_preset(base).teacher.predictor
        )


def test_three_stages_share_the_students_steps() -> None:
    config = salt_preset("paper-vitG:salt-3stage")
    assert config.assistant is not None
    assert config.assistant.encoder == config.teacher.encoder
    loops = [getattr(config, name).loop.steps for name in config.stages]
    assert loops == [80_000, 80_000, 80_000]
    with pytest.raises(ConfigError, match="has three stages"):
        salt_preset("paper-vitl-3stage:salt-3stage")


OWN = {
    "schedule_stretch": 1.25,
    "betas": (0.9, 0.999),
    "clip_norm": 10.0,
    "clip_after_warmup": True,
}


def test_optimisers_of_arms_of_one_stage() -> None:
    """V-JEPA's is the student's but for what is its own; the others have the teacher's."""
    base = salt_preset("tiny-cpu")
    optims = [dataclasses.replace(base.teacher.optim, lr=lr) for lr in (1e-2, 1e-3)]
    stages = [
        dataclasses.replace(stage, optim=optim)
        for stage, optim in zip((base.teacher, base.student), optims, strict=True)
    ]
    base = dataclasses.replace(base, teacher=stages[0], student=stages[1])
    found = {arm: ARMS[arm](base).stage.optim for arm in ONE_STAGE}
    assert found["vjepa"] == dataclasses.replace(optims[1], **OWN)
    assert found["pixel"] == found["videomae"] == optims[0]


def test_names_that_mean_nothing_are_answered() -> None:
    for name, problem in (
        ("tiny-cpu:vjep", "arm 'vjep' does not exist; did you mean vjepa?"),
        ("tiny:vjepa", "preset 'tiny' does not exist; did you mean tiny-cpu?"),
        ("vjepa-faithful:vjepa", "has one stage and no arms; leave :vjepa out"),
        ("tiny-cpu:vjepa", "take `vsalt pretrain --preset tiny-cpu:vjepa`"),
        ("vjepa2-faithful", "take `vsalt pretrain --preset vjepa2-faithful`"),
    ):
        with pytest.raises(ConfigError) as caught:
            salt_preset(name)
        assert problem in str(caught.value)
    for name, method, problem in (
        ("tiny-cpu:salt-3stage", None, "take `vsalt salt --preset tiny-cpu:salt-3stage`"),
        ("tiny-cpu:vjepa", "pixel", "is of method vjepa, not pixel; leave --method out"),
        ("tiny-cpu", None, "say which method to train: --method pixel or salt or vjepa"),
        ("videomae-faithful", "vjepa", "is of method pixel, not vjepa"),
    ):
        with pytest.raises(ConfigError) as caught:
            stage_preset(name, method)
        assert problem in str(caught.value)
    assert all(not is_one_stage(name) for name in PRESETS)


def test_faithful_presets_are_their_papers() -> None:
    """Tables of hyper-parameters of arXiv 2404.08471, 2506.09985 and 2203.12602, and the code."""
    jepa, jepa2, mae = (stage_preset(f"{n}-faithful") for n in ("vjepa", "vjepa2", "videomae"))
    for config, size, steps, batch in (
        (jepa, 224, 90_000, 3072),
        (jepa2, 256, 240_000, 3072),
        (mae, 224, 187_200, 2048),
    ):
        assert config.clip.size == (size, size)
        assert config.clip.num_frames == 16
        assert (config.stage.loop.steps, config.stage.loop.batch_size) == (steps, batch)
        values = json.loads(json.dumps(to_dict(config)))
        assert from_dict(PretrainConfig, values) == config
    assert (jepa.clip.frame_step, jepa2.clip.fps, mae.clip.frame_step) == (4, 4.0, 4)
    positions = [each.stage.encoder.positions for each in (jepa, jepa2, mae)]
    assert positions == ["sincos", "vjepa2", "sincos1d"]
    assert [each.stage.encoder.size for each in (jepa, jepa2, mae)] == ["L", "L", "B"]

    optims = [each.stage.optim.resolved(each.stage.loop.steps, each.stage.loop.batch_size)
              for each in (jepa, jepa2, mae)]  # fmt: skip
    one, two, three = (dataclasses.asdict(optim) for optim in optims)
    rates = [(optim["lr_start"], optim["lr"], optim["lr_final"]) for optim in (one, two, three)]
    assert rates[0] == (2e-4, 6.25e-4, 1e-6)
    assert rates[1][:2] == (1e-4, 5.25e-4)
    assert rates[2] == pytest.approx((8e-6, 1.2e-3, 8e-5))
    assert [optim["warmup_steps"] for optim in (one, two, three)] == [12_000, 12_000, 4680]
    assert [optim["betas"][1] for optim in (one, two, three)] == [0.999, 0.999, 0.95]
    decays = [(o["weight_decay"], o["weight_decay_final"]) for o in (one, two, three)]
    assert decays == [(0.04, 0.4), (0.04, 0.04), (0.05, 0.05)]
    assert (one["clip_norm"], one["clip_after_warmup"]) == (10.0, True)
    assert two["clip_norm"] is three["clip_norm"] is None
    assert (one["schedule"], one["schedule_stretch"]) == ("cosine", 1.25)
    assert two["schedule"] == "constant"

    momenta = [(c.stage.method.momentum, c.stage.method.momentum_final) for c in (jepa, jepa2)]
    assert momenta == [(0.998, 1.0), (0.99925, 0.99925)]
    assert jepa.stage.masks == jepa2.stage.masks
    assert jepa.stage.masks.policy == "batch_min"
    # VideoMAE hides int(0.9 * 196) of the 196 places at each of the 8 time steps.
    assert clip_shapes(resolve(mae)).masks == ((8 * 20, 8 * 176),)
    networks = [resolve(each).stage.predictor.architecture for each in (jepa2, mae)]
    assert networks == [(384, 12, 12, 1536), (384, 4, 6, 1536)]
