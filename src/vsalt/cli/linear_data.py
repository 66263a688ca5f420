"""`vsalt linear data`: lambda and rho of a set of videos, and what methods would learn of it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsalt.cli.extract_args import ReadArgs
from vsalt.cli.parse import parse
from vsalt.data.config import ClipConfig
from vsalt.errors import DataError, VsaltError, report_problems

if TYPE_CHECKING:
    from rich.console import Console

    from vsalt.data.manifest import Row
    from vsalt.evaluation.time_pairs import PairGrid
    from vsalt.linear.moments import Moments
    from vsalt.training.extract import ClipFeatures, ExtractConfig
    from vsalt.training.locate import LoadedEncoder

PIXELS = "pixels"
NUM_BLOCKS = 10
"""Groups of videos, left out in turn for the standard errors."""
_TUBELET = (2, 16, 16)


@dataclass(frozen=True, kw_only=True)
class LinearDataArgs:
    """Estimate which features of videos can be predicted, and what methods would learn first.

    The first half of a clip is context, the second half is hidden. Of every place, x is the tubelet
    (or token) some time steps before y. One orthogonal basis is sought in which features have a
    covariance lambda = cov(y, x) and a regression coefficient rho = lambda / var(x) each; how badly
    it fits is told. The theory of deep linear networks then says in which order a pixel teacher
    (MAE), JEPA and SALT learn the features, and what a stopped teacher passes on.
    """

    encoder: str
    """pixels, or a trained encoder: a `vsalt salt` or `vsalt pretrain` run, or a checkpoint. Its
    tokens of the first half alone are x, those of the whole clip are y."""
    data: str
    """A folder of videos, a manifest or packed shards. Rows of the split test are left out."""
    out: Path | None = None
    """Folder for linear_data.json and, with matplotlib, linear_data.png; must not exist or be
    empty."""
    json: bool = False
    """Print the JSON instead of tables."""
    lag: int = 1
    """Time steps (tubelets) from x to y; those pairs are taken that lie across the middle."""
    features: int = 192
    """At most so many leading principal components of x are looked at."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """What a clip is, for pixels; an encoder's clips are those it was trained with."""
    tubelet: tuple[int, int, int] = _TUBELET
    """Frames, height and width of a tubelet, for pixels."""
    max_side: int = 8
    """For pixels: tubelets are averaged to at most so many pixels per side."""
    layer: int = -1
    """For an encoder: the block whose tokens are taken; -1 is the last."""
    segments: int = 1
    """Clips per row, spread evenly. 1: the middle of the row."""
    max_rows: int | None = None
    """Use only so many rows, spread evenly over the source."""
    use_test: bool = False
    """Use rows of the split test, too."""
    skip_bad: bool = False
    """Leave out videos that cannot be read; by default they are listed and nothing is estimated."""
    depth: int = 3
    """Layers of the linear encoders whose learning is computed."""
    eps: float = 1e-3
    """Gain of these encoders when training begins."""
    teacher_stop: tuple[float, ...] = (0.2, 0.5, 0.8, 1.0)
    """Stop the teacher when it has learned these shares of its features. In the tables
    salt@0.5 is the student of one stopped at 0.5; plain salt has a teacher that converged."""
    top: int = 16
    """Features to show in the table."""
    read: ReadArgs = field(default_factory=ReadArgs)

    def __post_init__(self) -> None:
        """Check the settings."""
        problems = [
            f"{flag} is {value}; it must be at least 1"
            for flag, value in (
                ("--features", self.features),
                ("--max-side", self.max_side),
                ("--max-rows", self.max_rows),
                ("--top", self.top),
                ("--depth", self.depth),
            )
            if value is not None and value < 1
        ]
        if not 0 < self.eps < 1:
            problems.append(f"--eps is {self.eps}; it must be between 0 and 1")
        if not all(0 < share <= 1 for share in self.teacher_stop):
            given = " ".join(f"{share:g}" for share in self.teacher_stop)
            problems.append(f"--teacher-stop is {given}; shares are above 0 and at most 1")
        if self.encoder != PIXELS:
            defaults = {"clip": ClipConfig(), "tubelet": _TUBELET, "max-side": 8}
            problems += [
                f"--{flag} is for --encoder pixels; an encoder has clips of its own"
                for flag, default in defaults.items()
                if getattr(self, flag.replace("-", "_")) != default
            ]
        elif self.layer != -1:
            problems.append("--layer is for a trained encoder; leave it out with --encoder pixels")
        report_problems(problems)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Reader:
    """What pairs are made of.

    Attributes:
        clip: what clips are read.
        antialias: how their frames are shrunk.
        pairs: where pairs lie in a clip.
        function: makes them.
        num_dimensions: d of x and of y.
        shrunk: (t, h, w) of a tubelet in pixels; None for tokens.
        origin: what the JSON says of it.
    """

    clip: ClipConfig
    antialias: bool
    pairs: "PairGrid"
    function: "ClipFeatures"
    num_dimensions: int
    shrunk: tuple[int, int, int] | None
    origin: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """What the videos gave."""

    blocks: "list[Moments]"
    errors: list[str]
    counts: dict[str, int]


def linear_data(words: Sequence[str], prog: str) -> int:
    """Run the verb `linear data`."""
    return run(parse(LinearDataArgs, words, prog))


def run(args: LinearDataArgs) -> int:
    """Estimate, print and write; return the exit code."""
    require_scipy()
    from rich.console import Console

    from vsalt.cli.linear_data_output import print_tables
    from vsalt.cli.linear_data_result import as_json
    from vsalt.evaluation.probe import claim, list_unreadable
    from vsalt.linear.estimate import estimate
    from vsalt.linear.forecast import forecasts
    from vsalt.linear.methods import Network

    if args.out is not None:
        claim(args.out)
    console = Console(markup=False, highlight=False, stderr=args.json)
    reader = _reader(args)
    rows = _rows(args)
    found = _read(args, reader, rows, console)
    if found.errors and not args.skip_bad:
        raise DataError(list_unreadable(found.errors, len(rows)))
    estimated = estimate(found.blocks, max_features=args.features)
    forecast = forecasts(
        estimated.problem(), Network(depth=args.depth, eps=args.eps), args.teacher_stop
    )
    settings = {
        **reader.origin,
        "data": args.data,
        "lag": args.lag,
        "depth": args.depth,
        "eps": args.eps,
        **found.counts,
    }
    result = as_json(settings, estimated, forecast, shrunk=reader.shrunk)
    if args.json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        print_tables(result, console, top=args.top)
    if args.out is not None:
        _write(result, args.out, console)
    return 0


def _write(result: dict[str, Any], out: Path, console: "Console") -> None:
    from vsalt.cli.linear_data_output import write_figure
    from vsalt.durable import write_file

    text = json.dumps(result, indent=2, allow_nan=False)
    write_file(out / "linear_data.json", text + "\n")
    has_figure = write_figure(result, out / "linear_data.png")
    why = "" if has_figure else "; no figure, which needs matplotlib: pip install 'vsalt[linear]'"
    console.print(f"Written to {out}{why}", soft_wrap=True)


def require_scipy() -> None:
    """Say what to install.

    Raises:
        VsaltError: scipy is missing.
    """
    if find_spec("scipy") is None:
        raise VsaltError("the linear lab needs scipy: pip install 'vsalt[linear]'")


def _rows(args: LinearDataArgs) -> "list[Row]":
    from vsalt.data.manifest import read_source

    rows = [row for row in read_source(args.data).rows if args.use_test or row.split != "test"]
    if not rows:
        raise DataError(f"{args.data} has rows of the split test only; to use them: --use-test")
    pictures = [row.relative_path for row in rows if row.is_image]
    if pictures:
        raise DataError(
            f"{args.data}: {len(pictures)} rows are pictures, such as {pictures[0]}; in a picture "
            "nothing comes later, so give a source of videos only"
        )
    if args.max_rows is None or len(rows) <= args.max_rows:
        return rows
    return [rows[index * len(rows) // args.max_rows] for index in range(args.max_rows)]


def _reader(args: LinearDataArgs) -> _Reader:
    if args.encoder == PIXELS:
        return _pixel_reader(args)
    from vsalt.evaluation.time_pairs import PairGrid, token_pairs
    from vsalt.training.device import choose_device
    from vsalt.training.locate import load_encoder

    loaded: LoadedEncoder = load_encoder(Path(args.encoder))
    clip, tubelet = loaded.config.clip, loaded.encoder.config.tubelet
    pairs = PairGrid.of(clip.num_frames, clip.size, tubelet, lag=args.lag)
    device = choose_device(args.read.device)
    return _Reader(
        clip=clip,
        antialias=loaded.config.data.antialias,
        pairs=pairs,
        function=token_pairs(pairs, loaded.encoder, layer=args.layer, device=device),
        num_dimensions=loaded.encoder.width,
        shrunk=None,
        origin={
            "space": "tokens",
            "encoder": str(loaded.checkpoint.path),
            "encoder_sha256": loaded.sha256,
            "layer": args.layer,
            **_clip_facts(clip, tubelet),
        },
    )


def _pixel_reader(args: LinearDataArgs) -> _Reader:
    from vsalt.evaluation.time_pairs import PairGrid, pixel_pairs, shrunk_tubelet

    pairs = PairGrid.of(args.clip.num_frames, args.clip.size, args.tubelet, lag=args.lag)
    shrunk = shrunk_tubelet(args.tubelet, args.max_side)
    return _Reader(
        clip=args.clip,
        antialias=True,
        pairs=pairs,
        function=pixel_pairs(pairs, args.tubelet, args.max_side),
        num_dimensions=3 * shrunk[0] * shrunk[1] * shrunk[2],
        shrunk=shrunk,
        origin={
            "space": PIXELS,
            "shrunk_tubelet": list(shrunk),
            **_clip_facts(args.clip, args.tubelet),
        },
    )


def _clip_facts(clip: ClipConfig, tubelet: tuple[int, int, int]) -> dict[str, Any]:
    from vsalt.config import to_dict

    return {"clip": to_dict(clip), "tubelet": list(tubelet)}


def _extract_config(args: LinearDataArgs) -> "ExtractConfig":
    from vsalt.training.extract import ExtractConfig, WindowConfig

    return ExtractConfig(
        windows=WindowConfig(per_row=args.segments),
        batch_size=args.read.batch_size,
        workers=args.read.workers,
        device=args.read.device,
        limits=args.read.limits,
    )


def _read(
    args: LinearDataArgs, reader: _Reader, rows: "Sequence[Row]", console: "Console"
) -> _Found:
    """Sum up the pairs of all rows; whole groups of rows go into one block."""
    from vsalt.cli.row_progress import row_progress
    from vsalt.linear.moments import Moments
    from vsalt.training.extract import extract_features, plan_windows

    config = _extract_config(args)
    plan = plan_windows(rows, reader.clip, config.windows, limits=config.limits)
    blocks = [Moments(reader.num_dimensions) for _ in range(NUM_BLOCKS)]
    block_of = _blocks_of(rows)
    errors: list[str] = []
    counts = dict.fromkeys(("num_rows", "num_unreadable", "num_clips", "num_pairs"), 0)
    counts["num_ending_in_equal_frames"] = 0
    with row_progress(console, "rows") as show:
        for row in extract_features(
            [reader.function],
            rows,
            plan,
            clip=reader.clip,
            config=config,
            antialias=reader.antialias,
            on_progress=show,
        ):
            if row.error is not None:
                errors.append(row.error)
                continue
            x, y, repeats = reader.pairs.unpack(row.features[0])
            blocks[block_of(row.index)].add(x.double().numpy(), y.double().numpy())
            counts["num_rows"] += 1
            counts["num_clips"] += len(repeats)
            counts["num_pairs"] += len(x)
            counts["num_ending_in_equal_frames"] += int(repeats.sum())
    counts["num_unreadable"] = len(errors)
    return _Found(blocks=blocks, errors=errors, counts=counts)


def _blocks_of(rows: "Sequence[Row]") -> Callable[[int], int]:
    """Return the block of each row: groups, and without them files, are dealt out in turn."""
    names = [row.group or row.relative_path for row in rows]
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return lambda index: number[names[index]] % NUM_BLOCKS
