"""Lengths and flags of runs with two and with three stages."""

from pathlib import Path

import pytest

from vsalt.cli import pretrain
from vsalt.cli.pretrain import salt, with_steps
from vsalt.config import SaltRunConfig
from vsalt.errors import ConfigError
from vsalt.presets import salt_preset


def lengths(config: SaltRunConfig) -> list[tuple[int, int, int]]:
    loops = [getattr(config, name).loop for name in config.stages]
    return [(loop.steps, loop.save_every, loop.batch_size) for loop in loops]


def test_lengths_are_given_for_all_stages_or_for_each() -> None:
    two, three = salt_preset("paper-vitl"), salt_preset("paper-vitl-3stage")
    assert lengths(with_steps(two, "7", 48, "5")) == [(7, 5, 48)] * 2
    assert lengths(with_steps(two, "20:220", None, "3")) == [(20, 3, 3072), (220, 3, 3072)]
    assert lengths(with_steps(three, "7", 48, "5")) == [(7, 5, 48)] * 3
    assert lengths(with_steps(three, "1:2:3", None, "4:5:6")) == [
        (1, 4, 3072),
        (2, 5, 3072),
        (3, 6, 3072),
    ]
    assert with_steps(three, None) == three


@pytest.mark.parametrize(
    ("preset", "text", "problem"),
    [
        ("paper-vitl", "1:2:3", "number of steps, or two as T:S. Three need an assistant: take a "),
        ("paper-vitl", "1:2:3:4", "number of steps, or two as T:S"),
        ("paper-vitl-3stage", "1:2", "number of steps, or three as T:A:S"),
        ("paper-vitl-3stage", "1:x:2", "number of steps, or three as T:A:S"),
    ],
)
def test_lengths_that_do_not_fit_the_stages_are_refused(
    preset: str, text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        with_steps(salt_preset(preset), None, None, text)
    assert f"--save-every is {text!r}; it must be a {problem}" in caught.value.problems[0]


def test_flags_of_no_assistant_say_how_to_get_one() -> None:
    for flag in ("--assistant.optim.lr", "--assistant.optim.lr=1"):
        with pytest.raises(ConfigError) as caught:
            salt(["--out", "x", "--preset", "paper-vitl", flag, "1"], "vsalt salt")
        (problem,) = caught.value.problems
        assert problem.startswith("--assistant.optim.lr: this run has no assistant; take a preset")
        assert "paper-vitl-3stage" in problem
        assert "[assistant] in --config" in problem


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["--masks", "tube"],
            "--masks belongs to vsalt pretrain; give --teacher.masks tube and --student.masks tube",
        ),
        (
            ["--masks.ratio=0.5"],
            "--masks.ratio belongs to vsalt pretrain; give --teacher.masks.ratio and "
            "--student.masks.ratio",
        ),
        (
            ["--teacher.masks.ratio", "0.75"],
            "--teacher.masks.ratio: ratio is a setting of tube, random, causal, and the masks are "
            "multiblock; give --teacher.masks tube as well",
        ),
        (
            ["--student.masks", "causal", "--student.masks.short.num-blocks", "3"],
            "--student.masks.short.num-blocks: short is a setting of multiblock, and the masks are "
            "causal; give --student.masks multiblock as well",
        ),
        (
            ["--student.masks.num-masks=2", "--student.masks.ratio=0.5"],
            "--student.masks.num-masks: num-masks is a setting of tube, random, causal, and the "
            "masks are multiblock; give --student.masks tube as well",
        ),
    ],
)
def test_misplaced_mask_flags_say_what_is_missing(words: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        salt(["--out", "x", *words], "vsalt salt")
    assert caught.value.problems[0] == problem


def test_settings_of_the_chosen_masks_reach_the_parser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("vsalt.training.start.start_salt", lambda *_, **__: None)
    words = ["--out", str(tmp_path / "run"), "--teacher.masks", "tube"]
    words += ["--teacher.masks.ratio", "0.75", "--student.masks.short.num-blocks", "3"]
    assert salt(words, "vsalt salt") == 0


def test_presets_are_listed_in_few_words() -> None:
    with pytest.raises(ConfigError) as caught:
        salt_preset("paper-vitX")
    (problem,) = caught.value.problems
    for part in ("demo, tiny-cpu, small-gpu", "b, l, h, g, G", "-40k, -3stage, -3stage-40k"):
        assert part in problem
        assert part in pretrain._PRESET_HELP


def test_a_misspelt_preset_is_answered_with_the_nearest() -> None:
    for name, hint in (
        ("tinycpu", "did you mean tiny-cpu? There are demo, tiny-cpu"),
        ("paper-vitl-3stages", "did you mean paper-vitl-3stage? There are"),
        ("huge", "preset 'huge' does not exist; there are demo, tiny-cpu"),
    ):
        with pytest.raises(ConfigError) as caught:
            salt(["--out", "x", "--preset", name], "vsalt salt")
        assert hint in caught.value.problems[0]
