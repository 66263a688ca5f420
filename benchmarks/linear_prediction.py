"""Do trained networks do what the linear theory says: stopped teachers lose weak factors first?

usage: python benchmarks/linear_prediction.py [--noise 0 30] [--stops 0.1 0.25 1] [--seeds 0]
           [--steps 1200:1600] [--work FOLDER] [--out FILE] [--smoke]

Theory: a pixel teacher learns features by lambda. Stopped early, it has not what is predictable but
weak (small lambda, large rho), and its student cannot get that back; noise in the videos makes the
same factor weaker still. The factors are shape, texture and motion of the one object that moves;
which of them a teacher learns early, and which late, is seen from its own checkpoints.

For every level of noise: a synthetic set, `vsalt linear data` of its pixels, one teacher of preset
demo, students of its checkpoints at the given shares of its steps (all train alike), V-JEPA for as
many steps as teacher and student together, linear probes of all of them. Kept is (accuracy -
chance) / (accuracy of the last stop - chance). The theory is wrong if students of an early stop
keep as much of what the teacher learns late as of what it learns early. Whatever has run is not run
again: folders in --work, numbers in --out (benchmarks/results/linear_prediction.json).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from demo_seeds import machine, write

RESULTS = Path(__file__).parent / "results"
TASKS = ("shape", "texture", "motion")
SHOWS = (
    *("--size", "32", "--num-frames", "16", "--background-contrast", "0", "--colours", "grey"),
    *("--textures", "plain", "stripes", "checks"),
)
CLIPS = (
    *("--clip.num-frames", "8", "--clip.size", "32", "32", "--clip.frame-step", "2"),
    *("--tubelet", "2", "8", "8"),
)
SMOKE = {"noise": [30.0], "stops": [0.5, 1.0], "steps": "8:8", "clips": 384}


def main() -> None:
    args = parse()
    asked = {"steps": args.steps, "clips": args.clips, "stops": args.stops}
    found = read(args.out, asked)
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        for noise in args.noise:
            for seed in args.seeds:
                key = f"noise {noise:g}, seed {seed}"
                if key in found["arms"]:
                    print(f"{key}: {args.out} has it")
                    continue
                numbers = arm(work / f"noise{noise:g}-seed{seed}", noise, seed, args)
                found["arms"][key] = {"machine": machine(), **numbers}
                write(args.out, found)
    show(found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 30.0])
    parser.add_argument("--stops", type=float, nargs="+", default=[0.1, 0.25, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", default="1200:1600", help="of teacher and student")
    parser.add_argument("--clips", type=int, default=4096)
    parser.add_argument("--work", type=Path, help="where runs lie; a temporary folder")
    parser.add_argument("--out", type=Path, default=RESULTS / "linear_prediction.json")
    parser.add_argument("--smoke", action="store_true", help="a minute, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        vars(args).update(SMOKE)
        if args.out == RESULTS / "linear_prediction.json":
            parser.error("--smoke needs an --out of its own")
    if args.stops != sorted(args.stops) or args.stops[-1] != 1 or args.stops[0] <= 0:
        parser.error("--stops rise and end in 1")
    return args


def read(out: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what earlier calls have found."""
    if not out.exists():
        return {"asked": asked, "arms": {}}
    found: dict[str, Any] = json.loads(out.read_text())
    if found["asked"] != asked:
        sys.exit(f"{out} is of {found['asked']}, not of {asked}; give another --out")
    return found


def arm(folder: Path, noise: float, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Run all of one level of noise, and return its numbers."""
    videos, data = folder / "videos", folder / "videos" / "labels.csv"
    if not data.exists():
        count = ("--num-clips", str(args.clips), "--test-every", "4", "--seed", str(seed))
        vsalt("data", "synth", str(videos), *count, "--noise", f"{noise:g}", *SHOWS)
    theory = folder / "theory"
    if not (theory / "linear_data.json").exists():
        vsalt(
            *("linear", "data", "--encoder", "pixels", "--data", str(data)),
            *("--out", str(theory), *CLIPS),
        )
    stops = train(folder, data, seed, args)
    encoders = {f"{kind}@{share:g}": path for share in stops for kind, path in stops[share].items()}
    scores = {task: probe(folder / f"probe-{task}", data, encoders, task, seed) for task in TASKS}
    moving = {"vjepa": folder / "vjepa"}
    steps = sum(int(number) for number in args.steps.split(":"))
    run(
        moving["vjepa"],
        *("--method", "vjepa", "--steps", str(steps), "--save-every", str(steps)),
        *stage_words(data, seed),
    )
    for task in TASKS:
        found = probe(folder / f"probe-vjepa-{task}", data, moving, task, seed)
        scores[task]["accuracy"]["vjepa"] = found["accuracy"]["vjepa"]
    result = json.loads((theory / "linear_data.json").read_text())
    return {"theory": {"agreement": result["agreement"], "counts": result["counts"]}, **scores}


def train(
    folder: Path, data: Path, seed: int, args: argparse.Namespace
) -> dict[float, dict[str, Path]]:
    """Return the teacher's checkpoint and the student of every stop."""
    teacher_steps, student_steps = (int(steps) for steps in args.steps.split(":"))
    # Checkpoints are taken every so many steps, of which all stops are multiples.
    at = {share: max(1, round(share * teacher_steps)) for share in args.stops}
    every = math.gcd(*at.values(), teacher_steps)
    teacher = folder / "teacher"
    stage = stage_words(data, seed)
    run(
        teacher,
        *("--method", "pixel", "--steps", str(teacher_steps), "--save-every", str(every), *stage),
        *("--loop.keep-last", str(teacher_steps // every)),
    )
    found = {}
    for share, step in at.items():
        checkpoint = teacher / "checkpoints" / f"step-{step}"
        student = folder / f"student-{step}"
        run(
            student,
            *("--method", "salt", "--teacher", str(checkpoint), "--steps", str(student_steps)),
            *("--save-every", str(student_steps), *stage),
        )
        found[share] = {"teacher": checkpoint, "student": student}
    return found


def stage_words(data: Path, seed: int) -> tuple[str, ...]:
    return ("--preset", "demo", "--data", str(data), "--seed", str(seed))


def run(folder: Path, *words: str) -> None:
    """Train a stage, or go on with it."""
    if (folder / "finished").exists():
        return
    if (folder / "checkpoints").exists():
        vsalt("resume", str(folder))
    else:
        vsalt("pretrain", "--out", str(folder), *words)
    (folder / "finished").touch()


def probe(out: Path, data: Path, encoders: dict[str, Path], task: str, seed: int) -> dict[str, Any]:
    """Return the accuracy of linear probes of all encoders, and chance."""
    if not (out / "probe.json").exists():
        given = [word for path in encoders.values() for word in ("--encoder", str(path))]
        vsalt(
            *("probe", "fit", *given, "--data", str(data), "--label-column", task),
            *("--out", str(out), "--seed", str(seed)),
        )
    result = json.loads((out / "probe.json").read_text())
    names = {str(path): name for name, path in encoders.items()}
    accuracy = {
        names.get(own["name"], own["name"]): own["metrics"]["accuracy"]
        for own in result["encoders"]
    }
    return {"chance": result["chance"]["uniform"], "accuracy": accuracy}


def vsalt(*words: str) -> None:
    print(f"vsalt {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "vsalt", *words], check=True)


def show(found: dict[str, Any]) -> None:
    """Print the accuracies, and what is kept of the last stop's."""
    stops = [f"{share:g}" for share in found["asked"]["stops"]]
    for key, numbers in found["arms"].items():
        print(f"\n{key}: accuracy (share kept of the last stop's, above chance)")
        print(f"{'':<14}" + "".join(f"{task:>20}" for task in TASKS))
        for kind in ("teacher", "student"):
            for stop in stops:
                cells = [kept(numbers[task], f"{kind}@{stop}", f"{kind}@1") for task in TASKS]
                print(f"{f'{kind}@{stop}':<14}" + "".join(f"{cell:>20}" for cell in cells))
        vjepa = [f"{numbers[task]['accuracy']['vjepa']:.1%}" for task in TASKS]
        print(f"{'vjepa':<14}" + "".join(f"{cell:>20}" for cell in vjepa))
        chance = "".join(f"{numbers[task]['chance']:>20.1%}" for task in TASKS)
        print(f"{'chance':<14}{chance}")


def kept(numbers: dict[str, Any], name: str, last: str) -> str:
    own, full = (numbers["accuracy"][which] - numbers["chance"] for which in (name, last))
    share = f"{own / full:.2f}" if full > 0 else "-"
    return f"{numbers['accuracy'][name]:.1%} ({share})"


if __name__ == "__main__":
    main()
