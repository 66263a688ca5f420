"""The machines of a plan: numbers that were given, and numbers that are assumed, told apart."""

from collections.abc import Mapping
from dataclasses import dataclass

from vsalt.errors import ConfigError
from vsalt.scale.memory import Precision

A100 = "NVIDIA's data sheet of the A100 80 GB"
DGX = "data sheet of the DGX A100"
CLIPS_PER_CORE = 20.0
"""Clips per second of one core: `docs/explanation/at-scale.md` says how it was measured."""
GIB = 2**30


@dataclass(frozen=True)
class Assumption:
    """A number that nobody gave.

    Attributes:
        flag: that gives another.
        value: in the flag's unit.
        source: where it comes from.
    """

    flag: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Machines of one kind.

    Attributes:
        gpus_per_node: GPUs of a machine.
        gpu_memory_gib: of a GPU.
        spare_gib: of it that is not planned with.
        gpu_tflops: 10^12 operations per second of a GPU in the run's precision, at most.
        mfu: share of them that a step reaches.
        link_gb_s: 10^9 bytes per second that a GPU sends to others of its node, one direction.
        network_gb_s: 10^9 bytes per second that a node sends to others, all its cards together.
        cores_per_node: cores that read clips.
        clips_per_core_s: clips per second that one of them reads.
    """

    gpus_per_node: int
    gpu_memory_gib: float
    spare_gib: float
    gpu_tflops: float
    mfu: float
    link_gb_s: float
    network_gb_s: float
    cores_per_node: float
    clips_per_core_s: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        wrong = [
            f"--{name.replace('_', '-')} is {value}; it must be above 0, and finite"
            for name, value in vars(self).items()
            if name != "spare_gib" and not 0 < value < float("inf")
        ]
        if self.mfu > 1:
            wrong.append(f"--mfu is {self.mfu}; it must be at most 1")
        if not 0 <= self.spare_gib < self.gpu_memory_gib:
            wrong.append(
                f"--spare-gib is {self.spare_gib}; it must be at least 0 and below "
                f"--gpu-memory-gib ({self.gpu_memory_gib})"
            )
        if wrong:
            raise ConfigError(wrong)

    @property
    def flops_per_s(self) -> float:
        """Operations per second that a GPU keeps up."""
        return self.gpu_tflops * 1e12 * self.mfu

    @property
    def usable_bytes(self) -> int:
        """Memory of a GPU that is planned with."""
        return int((self.gpu_memory_gib - self.spare_gib) * GIB)

    def num_nodes(self, num_gpus: int) -> int:
        """Return the machines that so many GPUs are in."""
        return -(-num_gpus // self.gpus_per_node)


def build_cluster(
    given: Mapping[str, float | int | None], precision: Precision
) -> tuple[Cluster, list[Assumption]]:
    """Return the machines, and what of them is assumed.

    Args:
        given: numbers by the names of `Cluster`; None and what is missing are assumed.
        precision: of the products.

    Raises:
        ConfigError: if a number is out of range.
    """
    assumed = {
        name: each for name, each in _assumptions(precision).items() if given.get(name) is None
    }
    numbers = {name: float(value) for name, value in given.items() if value is not None}
    numbers |= {name: each.value for name, each in assumed.items()}
    gpus = int(numbers.pop("gpus_per_node"))
    return Cluster(gpus_per_node=gpus, **numbers), list(assumed.values())


def _assumptions(precision: Precision) -> dict[str, Assumption]:
    peak = {
        "bf16": Assumption("--gpu-tflops", 312.0, f"dense bf16, {A100}"),
        "fp32": Assumption("--gpu-tflops", 19.5, f"fp32 without TF32, {A100}"),
    }[precision]
    return {
        "gpus_per_node": Assumption("--gpus-per-node", 8.0, DGX),
        "gpu_memory_gib": Assumption("--gpu-memory-gib", 80.0, A100),
        "spare_gib": Assumption(
            "--spare-gib", 6.0, "a guess: CUDA, libraries, buffers of collectives, fragments"
        ),
        "gpu_tflops": peak,
        "mfu": Assumption("--mfu", 0.4, "a guess; vsalt bench step measures it on your GPU"),
        "link_gb_s": Assumption("--link-gb-s", 300.0, f"NVLink, one direction, {A100}"),
        "network_gb_s": Assumption("--network-gb-s", 200.0, f"8 cards of 200 Gbit/s, {DGX}"),
        "cores_per_node": Assumption("--cores-per-node", 128.0, DGX),
        "clips_per_core_s": Assumption(
            "--decode-clips-per-core-s",
            CLIPS_PER_CORE,
            "measured on one core of an AMD EPYC, one video of 640 x 272 (80 at 170 x 128, 2 at "
            "1280 x 720); vsalt bench loader --processor-time measures it on yours",
        ),
    }
