"""`vsalt plan --nodes`: what a preset needs of many GPUs, by formula."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vsalt.errors import ConfigError
from vsalt.models.config import SizeName
from vsalt.presets import PRESET_NAMES

if TYPE_CHECKING:
    from rich.table import Table

    from vsalt.scale.budget import Budget, Choices
    from vsalt.scale.cluster import Assumption, Cluster

TABLE_SIZES: tuple[SizeName, ...] = ("L", "H", "g", "G")
TABLE_GPUS = (8, 16, 32, 64, 128, 256, 512)
NUMBERS = (
    "gpus_per_node",
    "gpu_memory_gib",
    "spare_gib",
    "gpu_tflops",
    "mfu",
    "link_gb_s",
    "network_gb_s",
    "cores_per_node",
)
TABLE_WORDS = (
    "GiB of a GPU (! too much), cores of a node: of the stage that needs more; GB that a GPU sends "
    "in a step, seconds of a step if no communication is hidden: of the last stage; GPU-hours: of "
    "all stages"
)
DETAIL_WORDS = (
    "a GPU takes: micro-batches x clips of a step; ranges: all communication hidden to none; "
    "days of a stage: GPU-hours / GPUs / 24; SALT is teacher and student, vjepa is in their place"
)


@dataclass(frozen=True, kw_only=True)
class NodesArgs:
    """With --nodes or --table: memory, communication, decoding and time on many GPUs.

    All by formula; nothing is measured. Numbers that are not given are assumed, and named so.
    """

    nodes: int | None = None
    """Machines."""
    table: bool = False
    """A table of ViT-L to ViT-G, or of --size, on 8 to 512 GPUs, or on --nodes."""
    preset: Annotated[str, tyro.conf.arg(help=f"Where settings come from: {PRESET_NAMES}.")] = (
        "paper-vitl"
    )
    size: SizeName | None = None
    """Size of the student. Unset: the preset's."""
    teacher_size: SizeName | None = None
    """Size of the teacher. Unset: the preset's."""
    batch_size: int | None = None
    """Clips of a step, all GPUs together. Unset: the preset's."""
    micro_batch_size: int | None = None
    """Clips that a GPU computes at once. Unset: the preset's."""
    sharding: Literal["replicate", "shard"] = "replicate"
    """replicate: every GPU has all trained weights (DDP). shard: a part of them (FSDP2)."""
    teacher_sharding: Literal["replicate", "shard"] = "replicate"
    """Likewise for a frozen teacher's weights. A moving average is as its encoder is."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Of activations and products; weights are fp32."""
    repeats: int = 1
    """Uses of a clip once it is decoded."""
    gpus_per_node: int | None = None
    """GPUs of a machine."""
    gpu_memory_gib: float | None = None
    """Memory of a GPU."""
    spare_gib: float | None = None
    """Part of it that is not planned with."""
    gpu_tflops: float | None = None
    """10^12 operations per second of a GPU at most, in the precision."""
    mfu: float | None = None
    """Share of them that a step reaches."""
    link_gb_s: float | None = None
    """10^9 bytes per second that a GPU sends within its machine, one direction."""
    network_gb_s: float | None = None
    """10^9 bytes per second that a machine sends to others, all its network cards together."""
    cores_per_node: float | None = None
    """Cores of a machine that read clips."""
    decode_clips_per_core_s: float | None = None
    """Clips per second that a core reads."""

    @property
    def is_asked(self) -> bool:
        """Whether machines are planned for."""
        return self.nodes is not None or self.table


def plan_nodes(args: NodesArgs, as_json: bool) -> int:
    """Print what a preset needs of machines.

    Raises:
        ConfigError: if numbers are out of range, or settings do not fit.
    """
    from vsalt.scale.budget import Choices
    from vsalt.scale.cluster import build_cluster

    _check(args)
    given = {name: getattr(args, name) for name in NUMBERS}
    cluster, assumed = build_cluster(
        {**given, "clips_per_core_s": args.decode_clips_per_core_s}, args.precision
    )
    choices = Choices(
        sharding=args.sharding,
        teacher_sharding=args.teacher_sharding,
        precision=args.precision,
        repeats=args.repeats,
    )
    plans = _plans(args, cluster, choices)
    budgets = [budget for plan in plans for budget in plan]
    if as_json:
        print(json.dumps(_plain(budgets, cluster, choices, assumed), indent=1, allow_nan=False))
        return 0
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.print(_table(plans) if args.table else _details(budgets))
    console.print(TABLE_WORDS if args.table else DETAIL_WORDS)
    for line in _warnings(budgets):
        console.print(line, style="yellow")
    console.print("nothing here is measured on a GPU; assumed, not given:")
    for each in assumed:
        console.print(f"  {each.flag} {each.value:g} ({each.source})", soft_wrap=True)
    return 0


def _check(args: NodesArgs) -> None:
    wrong = [
        f"--{name.replace('_', '-')} is {value}; it must be at least 1"
        for name, value in (
            ("nodes", args.nodes),
            ("gpus_per_node", args.gpus_per_node),
            ("repeats", args.repeats),
        )
        if value is not None and value < 1
    ]
    if wrong:
        raise ConfigError(wrong)


def _plans(args: NodesArgs, cluster: "Cluster", choices: "Choices") -> list[Sequence["Budget"]]:
    """Return the budgets of all stages for every size and number of GPUs that is asked for."""
    from vsalt.scale.budget import Budget, plan_budget
    from vsalt.scale.stages import plan_stages

    sizes: Sequence[SizeName | None] = [args.size]
    if args.table and args.size is None:
        sizes = TABLE_SIZES
    gpus = TABLE_GPUS if args.nodes is None else (args.nodes * cluster.gpus_per_node,)
    found: list[Sequence[Budget]] = []
    for size in sizes:
        stages = plan_stages(
            args.preset,
            size=size,
            teacher_size=args.teacher_size,
            batch_size=args.batch_size,
            micro_batch_size=args.micro_batch_size,
        )
        found += [
            [plan_budget(stage, number, cluster, choices) for stage in stages] for number in gpus
        ]
    return found


def _warnings(budgets: Sequence["Budget"]) -> list[str]:
    """Return every warning once, with the stages and the numbers of GPUs that it is about."""
    gpus: dict[tuple[str, str, str], dict[str, None]] = {}
    for budget in budgets:
        for warning in budget.warnings:
            key = (budget.stage.title, budget.stage.size, warning)
            # SALT's teacher may be the same beside every student.
            gpus.setdefault(key, {})[str(budget.num_gpus)] = None
    titles: dict[tuple[str, str, str], list[str]] = {}
    for (title, size, warning), numbers in gpus.items():
        titles.setdefault((size, ", ".join(numbers), warning), []).append(title)
    return [
        f"careful: {', '.join(names)} (ViT-{size}, {numbers} GPUs) {warning}"
        for (size, numbers, warning), names in titles.items()
    ]


def _plain(
    budgets: Sequence["Budget"],
    cluster: "Cluster",
    choices: "Choices",
    assumed: Sequence["Assumption"],
) -> dict[str, Any]:
    return {
        "kind": "nodes",
        "measured": False,
        "cluster": vars(cluster),
        "choices": vars(choices),
        "assumed": [vars(each) for each in assumed],
        "budgets": [_plain_budget(each) for each in budgets],
    }


def _plain_budget(budget: "Budget") -> dict[str, Any]:
    stage, moved = budget.stage, budget.exchange
    return {
        "stage": stage.title,
        "method": stage.method,
        "size": stage.size,
        "teacher_size": stage.teacher_size,
        "gpus": budget.num_gpus,
        "nodes": budget.num_nodes,
        "steps": stage.steps,
        "batch_size": stage.batch_size,
        "masks": [list(mask) for mask in stage.shapes.masks],
        "clips_per_gpu": budget.share,
        "micro_batch_size": budget.micro_batch_size,
        "micro_batches": budget.num_parts,
        "largest_micro_batch_size": budget.largest_micro_batch,
        "memory_bytes": {**vars(budget.memory), "total": budget.memory.total},
        "fits": budget.fits,
        "flops_per_clip": {**vars(budget.work), "total": budget.work.total},
        "collectives": [
            {**vars(each), "sent_bytes_per_gpu": each.sent_bytes(budget.num_gpus)}
            for each in budget.collectives
        ],
        "communication": {
            "bytes_a_gpu_sends": moved.link_bytes,
            "bytes_a_node_sends_to_others": moved.network_bytes,
            "seconds": moved.seconds,
            "hidden_at_best": moved.hidden_at_best,
            "hidden_at_worst": 0.0,
        },
        "compute_s": budget.compute_s,
        "decode_s": budget.decode_s,
        "step_s": {"best": budget.step_s[0], "worst": budget.step_s[1]},
        "gpu_hours": {"best": budget.gpu_hours[0], "worst": budget.gpu_hours[1]},
        "decode": vars(budget.decode),
        "warnings": list(budget.warnings),
    }


def _details(budgets: Sequence["Budget"]) -> "Table":
    """Return a column for every stage."""
    from rich.table import Table

    first = budgets[0]
    machines = f"{first.num_nodes} node{'s' if first.num_nodes > 1 else ''}"
    gpus = f"{first.num_gpus} GPU{'s' if first.num_gpus > 1 else ''}"
    table = Table(title=f"{gpus} in {machines}, by formula", title_justify="left")
    table.add_column("")
    for budget in budgets:
        table.add_column(budget.stage.title, justify="right")
    columns = [_detail_cells(budget) for budget in budgets]
    for name in columns[0]:
        if name in ("a GPU needs", "a GPU sends, GB a step", "computing, s", "cores per node"):
            table.add_section()
        table.add_row(name, *(column[name] for column in columns))
    return table


def _detail_cells(budget: "Budget") -> dict[str, str]:
    stage, memory, moved = budget.stage, budget.memory, budget.exchange
    decode = budget.decode
    cached = decode.with_cached_latents
    # Of a share that is not whole there is no divisor.
    none = "none" if budget.share.is_integer() else "-"
    source = stage.teacher_size or ("average" if stage.method == "vjepa" else "pixels")
    return {
        "encoder": f"ViT-{stage.size}",
        "target": f"ViT-{source}" if stage.teacher_size else source,
        "steps": f"{stage.steps:,}",
        "clips of a step": f"{stage.batch_size:,}",
        "a GPU takes": f"{budget.num_parts} x {budget.micro_batch_size}",
        "a GPU needs": _gib(memory.total),
        "  weights": _gib(memory.weights),
        "  gradients": _gib(memory.gradients),
        "  optimiser": _gib(memory.optimiser),
        "  teacher": _gib(memory.teacher),
        "  bf16 copies": _gib(memory.weight_copies),
        "  gathered": _gib(memory.gathered),
        "  activations": _gib(memory.activations),
        "largest micro-batch": str(budget.largest_micro_batch or none),
        "a GPU sends, GB a step": f"{moved.link_bytes / 1e9:.3g}",
        "a node sends, GB a step": f"{moved.network_bytes / 1e9:.3g}",
        "communication, s": f"{moved.seconds:.3g}",
        "  can be hidden": f"{moved.hidden_at_best:.0%}",
        "computing, s": f"{budget.compute_s:.3g}",
        "step, s": _range(budget.step_s),
        "GPU-hours": _range(budget.gpu_hours),
        "clips/s": f"{decode.clips_per_s:,.0f}",
        "cores per node": _number(decode.cores_per_node),
        "  with repeats": _number(decode.with_repeats),
        "  latents cached": "-" if cached is None else _number(cached),
    }


def _table(plans: Sequence[Sequence["Budget"]]) -> "Table":
    """Return a row for every run: memory and cores of its largest stage, hours of all together.

    What is sent, and the time of a step (at worst), are those of its last stage.
    """
    from rich.table import Table

    table = Table(
        title="by formula",
        title_justify="left",
    )
    names = ("ViT", "GPUs", "run", "GiB", "sent, GB", "step, s", "GPU-hours", "cores")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for plan in plans:
        for run in _runs(plan):
            last = run[-1]
            hours = tuple(sum(budget.gpu_hours[end] for budget in run) for end in (0, 1))
            table.add_row(
                last.stage.size,
                str(last.num_gpus),
                "salt" if last.stage.method == "salt" else last.stage.title,
                _needed(run),
                f"{last.exchange.link_bytes / 1e9:.3g}",
                f"{last.step_s[1]:.3g}",
                _range((hours[0], hours[1])),
                _number(max(budget.decode.cores_per_node for budget in run)),
            )
    return table


def _needed(run: Sequence["Budget"]) -> str:
    """Return the GiB of the stage that needs most, with a mark if that is too much."""
    needed = max(budget.memory.total for budget in run)
    return f"{needed / 2**30:.1f}" + ("" if all(budget.fits for budget in run) else "!")


def _runs(plan: Sequence["Budget"]) -> list[Sequence["Budget"]]:
    """Return the stages of SALT, and V-JEPA beside them."""
    if len(plan) == 1:
        return [plan]
    return [plan[:-1], plan[-1:]]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.1f} GiB"


def _range(values: tuple[float, float]) -> str:
    best, worst = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values)
    return best if best == worst else f"{best} to {worst}"
