"""Which run of SALT to begin with a budget of operations, and what each choice rests on."""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vsalt.compute.findings import FINDINGS, SIZES, teacher_steps, times
from vsalt.config import SaltRunConfig
from vsalt.errors import ConfigError
from vsalt.models.config import ENCODERS, EncoderConfig
from vsalt.presets import salt_preset
from vsalt.presets.paper import SIZES as LETTERS
from vsalt.training.budget import flops_of
from vsalt.training.fit_steps import largest
from vsalt.training.lengths import with_length
from vsalt.training.stage_cost import StageCost, stage_costs

PRESETS: dict[str, str] = {
    "Ti": "tiny-cpu",
    "S": "small-gpu",
    **{size: f"paper-vit{letter}" for letter, size in LETTERS.items()},
}
"""By size of the student: where all other settings come from."""
LADDER = ("demo", *PRESETS.values())
"""From the cheapest to the dearest, for budgets without a given size."""
FAR = 100
"""A run of so many times its preset's own operations is warned of."""
MANY_PASSES = 10
"""Likewise of so many times the most passes that were measured."""
MIN_STEPS = 1000
"""Batches are halved for as long as there are fewer steps in all."""
MIN_BATCH = 8
SHORTEST_FIXED_WARMUP = 20_000
"""The paper's 10,000 steps of warm-up were half of its shortest stage."""


@dataclass(frozen=True)
class Choice:
    """One decision.

    Attributes:
        name: of what.
        value: what is proposed, in words.
        rule: how it was chosen.
        finding: key of `FINDINGS` that it rests on; None: on none.
        distance: how far the run is from what that finding was measured on.
    """

    name: str
    value: str
    rule: str
    finding: str | None
    distance: str


@dataclass(frozen=True)
class Proposal:
    """A run.

    Attributes:
        preset: where all other settings come from.
        config: the whole configuration.
        steps: of teacher and student.
        flops: exact operations of both.
        six_nd: operations of the whole run as SALT's tables count them; those of the findings.
        choices: what was decided, and why.
        command: words of the command line that begins it; DATA and RUN are to be filled in.
        baseline: likewise of V-JEPA for the same budget, with the same batches.
        warnings: what speaks against it.
    """

    preset: str
    config: SaltRunConfig
    steps: tuple[int, int]
    flops: tuple[int, int]
    six_nd: float
    choices: tuple[Choice, ...]
    command: str
    baseline: str
    warnings: tuple[str, ...]


def propose(budget_flops: int | float, data_clips: int, student: str | None = None) -> Proposal:
    """Propose a run of two stages that takes the whole budget, and not more.

    Args:
        budget_flops: exact operations of both stages.
        data_clips: training clips that there are.
        student: size of the student, Ti to G; None: that of the preset which costs about so much.

    Raises:
        ConfigError: if the budget does not pay one step of each stage, or a value is not allowed.
    """
    _check(budget_flops, data_clips, student)
    preset = PRESETS[student] if student else _nearest(budget_flops)
    config = salt_preset(preset)
    costs = stage_costs(config)
    batch_size = config.student.loop.batch_size
    smallest = config.student.loop.micro_batch_size or MIN_BATCH
    number = _most_steps(costs, batch_size, budget_flops)
    while number < MIN_STEPS and batch_size % 2 == 0 and batch_size // 2 >= smallest:
        batch_size //= 2
        number = _most_steps(costs, batch_size, budget_flops)
    if number < 2:
        least = sum(_at_batch(cost, batch_size).flops(1) for cost in costs)
        raise ConfigError(
            [
                f"--budget-flops is {budget_flops:.3g}; one step of each stage of preset {preset} "
                f"takes {least:.3g} with {batch_size} clips; give more{_or_smaller(preset)}"
            ]
        )
    steps = _split(number, batch_size)
    teacher_cost, student_cost = (_at_batch(cost, batch_size) for cost in costs)
    flops = (teacher_cost.flops(steps[0]), student_cost.flops(steps[1]))
    six_nd = teacher_cost.six_nd(steps[0]) + student_cost.six_nd(steps[1])
    config = _configure(config, steps, batch_size)
    return Proposal(
        preset=preset,
        config=config,
        steps=steps,
        flops=flops,
        six_nd=six_nd,
        choices=_choices(config, preset, flops, six_nd, data_clips, student),
        command=_command(config, preset),
        baseline=_baseline(config, preset, budget_flops),
        warnings=_warnings(preset, number, batch_size, sum(flops), budget_flops, data_clips),
    )


def _check(budget_flops: int | float, data_clips: int, student: str | None) -> None:
    problems = []
    if not 0 < budget_flops < float("inf"):
        problems.append(f"--budget-flops is {budget_flops}; it must be above 0, and finite")
    if data_clips < 1:
        problems.append(f"--data-clips is {data_clips}; it must be at least 1")
    if student is not None and student not in PRESETS:
        problems.append(f"--student is {student!r}; there are {', '.join(PRESETS)}")
    if problems:
        raise ConfigError(problems)


def _nearest(budget_flops: int | float) -> str:
    """Return the preset whose own cost is nearest to the budget, as a ratio."""

    def ratio(name: str) -> float:
        return abs(math.log(budget_flops) - math.log(flops_of(salt_preset(name))))

    return min(LADDER, key=ratio)


def _or_smaller(preset: str) -> str:
    """Say how else to get more steps; there is nothing smaller than the cheapest preset."""
    return "" if preset == LADDER[0] else ", or a smaller --student, or none"


def _at_batch(cost: StageCost, batch_size: int) -> StageCost:
    return replace(cost, batch_size=batch_size)


def _split(steps: int, batch_size: int) -> tuple[int, int]:
    first = teacher_steps(steps, batch_size)
    return first, steps - first


def _most_steps(costs: Sequence[StageCost], batch_size: int, budget_flops: int | float) -> int:
    """Return the largest number of steps of both stages; every further one costs something."""
    teacher, student = (_at_batch(cost, batch_size) for cost in costs)

    def spent(steps: int) -> int:
        if steps < 2:
            return 0
        first, last = _split(steps, batch_size)
        return teacher.flops(first) + student.flops(last)

    return largest(spent, int(budget_flops), start=0 if spent(2) > budget_flops else 2)


def _configure(config: SaltRunConfig, steps: tuple[int, int], batch_size: int) -> SaltRunConfig:
    """Return the preset with other steps and batches, as the command line gives it."""
    stages = []
    for stage, number in zip((config.teacher, config.student), steps, strict=True):
        saves = with_length(stage, number).loop.save_every
        loop = replace(stage.loop, steps=number, batch_size=batch_size, save_every=saves)
        changed = replace(stage, loop=loop)
        if stage.optim.warmup_steps is not None and min(steps) < SHORTEST_FIXED_WARMUP:
            changed = replace(changed, optim=replace(stage.optim, warmup_steps=None))
        stages.append(changed)
    return replace(config, teacher=stages[0], student=stages[1])


def _command(config: SaltRunConfig, preset: str) -> str:
    """Return the command line of a configuration."""
    teacher, student = config.teacher, config.student
    words = ["vsalt", "salt", "--data", "DATA", "--out", "RUN", "--preset", preset]
    words += ["--steps", f"{teacher.loop.steps}:{student.loop.steps}"]
    words += ["--batch-size", str(student.loop.batch_size)]
    words += ["--save-every", f"{teacher.loop.save_every}:{student.loop.save_every}"]
    if salt_preset(preset).student.optim.warmup_steps != student.optim.warmup_steps:
        for name in ("teacher", "student"):
            words += [f"--{name}.optim.warmup-steps", "None"]
    return shlex.join(words)


def _baseline(config: SaltRunConfig, preset: str, budget_flops: int | float) -> str:
    """Return the command line of V-JEPA at the same budget, which it is never above."""
    budget = f"{budget_flops:g}"
    words = ["vsalt", "pretrain", "--data", "DATA", "--out", "OTHER-RUN"]
    words += ["--preset", f"{preset}:vjepa", "--batch-size", str(config.student.loop.batch_size)]
    words += ["--budget-flops", budget if float(budget) == budget_flops else repr(budget_flops)]
    return shlex.join(words)


def _choices(
    config: SaltRunConfig,
    preset: str,
    flops: tuple[int, int],
    six_nd: float,
    data_clips: int,
    asked: str | None,
) -> tuple[Choice, ...]:
    """Say what was chosen, and what it rests on."""
    teacher, student = config.teacher, config.student
    batch_size = student.loop.batch_size
    clips = (teacher.loop.steps + student.loop.steps) * batch_size
    steps = f"{teacher.loop.steps:,} : {student.loop.steps:,} steps"
    share = teacher.loop.steps / (teacher.loop.steps + student.loop.steps)
    passes = clips / data_clips
    optim = student.optim
    lr = optim.lr * (batch_size / optim.lr_batch_size) ** 0.5
    found = FINDINGS
    return (
        Choice(
            "student",
            f"{_name(student.encoder)}, preset {preset}",
            "as asked; all other settings are the preset's"
            if asked
            else "the preset whose own cost is nearest to the budget, as a ratio; a rule of ours, "
            "and no finding says that it is the best size, least of all on small budgets",
            "budget" if student.encoder.size in SIZES else None,
            found["budget"].distance(six_nd),
        ),
        Choice(
            "teacher",
            _name(teacher.encoder),
            "of the student's size, but not above ViT-L",
            "teacher",
            _size_distance(teacher.encoder, found["teacher"].distance(clips)),
        ),
        Choice(
            "split",
            f"{steps}; the teacher gets {share:.0%} of the steps, {flops[0] / sum(flops):.0%} of "
            "the FLOPs",
            "40,000 teacher steps of 3,072 clips, but not below 1/6 or above 1/3 of all",
            "split",
            _size_distance(student.encoder, found["split"].distance(clips)),
        ),
        Choice(
            "batch",
            f"{batch_size} clips",
            f"the preset's, halved for as long as there are fewer than {MIN_STEPS:,} steps",
            "batch",
            found["batch"].distance(batch_size),
        ),
        Choice(
            "peak LR",
            f"{lr:.3g}",
            f"{optim.lr:.3g} at {optim.lr_batch_size:,} clips by the square root"
            + _other_lr(optim.lr, optim.lr_batch_size, batch_size),
            "batch",
            found["batch"].distance(batch_size),
        ),
        Choice(
            "passes",
            f"{_count(passes)} over {data_clips:,} clips",
            "what the steps come to; where they are many, more data may serve better than more "
            "compute",
            "passes",
            found["passes"].distance(passes),
        ),
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _other_lr(lr: float, lr_batch_size: int, batch_size: int) -> str:
    """Say where the preset has a learning rate of its own."""
    if (lr, lr_batch_size) == (6.25e-4, 3072):
        return ""
    paper = 6.25e-4 * (batch_size / 3072) ** 0.5
    return f", the preset's own; from the paper's 6.25e-4 at 3,072 it would be {paper:.2g}"


def _size_distance(encoder: EncoderConfig, distance: str) -> str:
    if encoder.size in SIZES:
        return distance
    return f"nothing was measured below ViT-B; {distance}"


def _name(encoder: EncoderConfig) -> str:
    if encoder.architecture == ENCODERS[encoder.size]:
        return f"ViT-{encoder.size}"
    return f"ViT of {encoder.architecture.depth} blocks of width {encoder.architecture.width}"


def _warnings(
    preset: str,
    steps: int,
    batch_size: int,
    flops: int,
    budget_flops: int | float,
    data_clips: int,
) -> tuple[str, ...]:
    found = []
    if steps < MIN_STEPS:
        found.append(
            f"only {steps} steps, with the smallest batch: a network of this size learns little in "
            f"so few; give more{_or_smaller(preset)}"
        )
    if flops < 0.98 * budget_flops:
        found.append(f"a step is so dear that {1 - flops / budget_flops:.0%} of the budget is left")
    longer = flops / flops_of(salt_preset(preset))
    if longer > FAR:
        larger = "" if preset == LADDER[-1] else ", or a larger --student, or none"
        found.append(
            f"{times(longer)} what preset {preset} costs, which is not made for that; give "
            f"less{larger}"
        )
    passes = steps * batch_size / data_clips
    most = FINDINGS["passes"].high
    if passes > MANY_PASSES * most:
        found.append(
            f"{_count(passes)} passes over the data, where at most {most} were measured; give more "
            "clips, or less to spend"
        )
    if batch_size > data_clips:
        found.append(
            f"a step takes {batch_size:,} clips, of which there are {data_clips:,}: it has some of "
            "them more than once; give more clips"
        )
    return (*found, *_on_small_budgets(preset, flops))


def _on_small_budgets(preset: str, flops: int) -> list[str]:
    """Say what was found where no finding of the paper reaches."""
    small = FINDINGS["small budgets"]
    if flops > small.high:
        return []
    return [
        f"{small.says} ({small.source}; {small.measured}); compare this run with --preset "
        f"{preset}:pixel and {preset}:salt-small-teacher at the same budget"
    ]
