"""What vsalt does on lung ultrasound, beside floors, by patient; and what a confounded label does.

usage: python benchmarks/lung_ultrasound.py FOLDER [--work FOLDER] [--out FILE]

FOLDER holds labels.csv and the videos of the lung ultrasound set (Born et al. 2021). Two parts:

1. `vsalt compare lung_ultrasound.toml`: bacterial pneumonia against healthy among the clips of one
   hospital. Accuracies come from the comparison, areas under the ROC curve (AUC) from its
   predictions, with intervals from a bootstrap over patients.
2. `vsalt salt` once and for longer on the clips of all other sources, then `vsalt probe fit` by
   patient for the same task, for labels that hang together with the hospital, and for folds that
   tear patients apart.

Work that is there in --work is not done again. The numbers go into --out
(benchmarks/results/lung_ultrasound.json): scores alone, no names of files or patients.
"""

import argparse
import csv
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from demo_seeds import machine, write

HERE = Path(__file__).parent
SPEC = HERE / "lung_ultrasound.toml"
SOURCES = {"18": "Northumbria", "14": "Neuruppin", "2": "POCUS Atlas"}
HOSPITAL = "18"
POSITIVE = "bacterial_pneumonia"
COLUMNS = ("path", "patient", "fold", "clip_fold", "split", "source", "diagnosis", "pneumonia")
SETTINGS = (
    *("--preset", "demo", "--clip.fps", "5", "--clip.size", "64", "64"),
    *("--data.crop-scale", "0.8", "1", "--data.group-column", "patient", "--data.workers", "0"),
    *("--teacher.encoder.tubelet", "2", "16", "16", "--student.encoder.tubelet", "2", "16", "16"),
    *("--teacher.masks", "multiblock", "--student.masks", "multiblock"),
    *("--teacher.method.normalise", "per_channel", "--budget-flops", "5e12"),
)
PROBES = {
    "pneumonia": ("pneumonia", "fold"),
    "source": ("source", "fold"),
    "diagnosis": ("diagnosis", "fold"),
    "diagnosis, folds by clip": ("diagnosis", "clip_fold"),
}
"""Name: columns of the label and of the folds."""
RESAMPLES = 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, help="where runs lie; a temporary folder")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "lung_ultrasound.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        write_manifests(args.folder, work)
        shutil.copy(SPEC, work)
        vsalt("compare", SPEC.name, "--out", "compare", "--workers", "2", work=work)
        found = {
            "command": "python benchmarks/lung_ultrasound.py FOLDER",
            "machine": machine(),
            "counts": counts(work / "clips.csv"),
            "one hospital": one_hospital(work / "compare"),
            "auc of shares": auc_of_shares(work / "clips.csv"),
            "probes": probes(work),
            "auc": {name: auc_interval([scores]) for name, scores in probe_scores(work).items()},
        }
        write(args.out, found)
    show(found)


def write_manifests(folder: Path, work: Path) -> None:
    """Write what vsalt is to know of every clip. An empty label is none.

    In elsewhere.csv the clips of the one hospital are the test split.
    """
    given = read_table(folder / "labels.csv")
    clip_folds = [number % 5 for number in range(len(given))]
    random.Random(0).shuffle(clip_folds)
    with (
        (work / "clips.csv").open("w", newline="") as clips,
        (work / "elsewhere.csv").open("w", newline="") as elsewhere,
    ):
        tables = [csv.DictWriter(file, COLUMNS) for file in (clips, elsewhere)]
        for table in tables:
            table.writeheader()
        for row, clip_fold in zip(given, clip_folds, strict=True):
            is_own = row["source_id"] == HOSPITAL
            shown = {
                "path": str((folder / row["path"]).resolve()),
                "patient": row["group"],
                "fold": row["fold"],
                "clip_fold": clip_fold,
                "split": row["split"],
                "source": SOURCES.get(row["source_id"], ""),
                "diagnosis": "" if row["label"] == "viral_pneumonia" else row["label"],
                "pneumonia": row["label"] if is_own else "",
            }
            tables[0].writerow(shown)
            tables[1].writerow(shown | {"split": "test" if is_own else "train"})


def vsalt(*words: str, work: Path) -> None:
    print("vsalt", *words, flush=True)
    subprocess.run([sys.executable, "-m", "vsalt", *words], cwd=work, check=True)


def counts(manifest: Path) -> dict[str, dict[str, int]]:
    """Return how many clips every source has of every diagnosis, but for those that have none."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in read_table(manifest):
        if row["diagnosis"]:
            found[row["source"] or "others"][row["diagnosis"]] += 1
    return found


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def one_hospital(compare: Path) -> dict[str, Any]:
    """Return accuracies and differences of the comparison, and the AUC of every arm."""
    results = json.loads((compare / "results.json").read_text())
    numbers = ("value", "low", "high")
    accuracies = {one["arm"]: {n: one[n] for n in numbers} for one in results["accuracies"]}
    differences = {
        f"{one['arm']} - {one['against']}": {n: one[n] for n in (*numbers, "detectable")}
        for one in results["differences"]
    }
    scores = collect_scores(compare)
    areas = {arm: auc_interval(list(by_seed.values())) for arm, by_seed in scores.items()}
    return {"accuracies": accuracies, "differences": differences, "auc": areas}


Score = tuple[str, bool, float]
"""Patient of a clip, whether it is positive, and how likely the probe takes it to be."""


def collect_scores(compare: Path) -> dict[str, dict[str, list[Score]]]:
    """Return by arm and seed the scores of all test clips, of all folds together."""
    scores: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for cell in sorted((compare / "cells").iterdir()):
        key = json.loads((cell / "result.json").read_text())["cell"]
        patients = {one["row"]: one["group"] for one in read_lines(cell / "predictions.jsonl")}
        for one in read_lines(cell / "probe" / "predictions.jsonl"):
            scores[key["arm"]][str(key["seed"])].append(score_of(one, patients))
    return scores


def score_of(prediction: dict[str, Any], patients: dict[str, str]) -> Score:
    likely = prediction["probability"]  # of the predicted one of two classes
    likely = likely if prediction["predicted"] == POSITIVE else 1 - likely
    return patients[prediction["path"]], prediction["label"] == POSITIVE, likely


def probe_scores(work: Path) -> dict[str, list[Score]]:
    """Return the scores of the first probe, by what its features are."""
    patients = {row["path"]: row["patient"] for row in read_table(work / "clips.csv")}
    probe = work / "probe-0"
    encoders = json.loads((probe / "probe.json").read_text())["encoders"]
    titles = {one["name"]: one["stage"] or one["name"] for one in encoders}
    scores: dict[str, list[Score]] = defaultdict(list)
    for one in read_lines(probe / "predictions.jsonl"):
        scores[titles[one["encoder"]]].append(score_of(one, patients))
    return scores


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def auc_interval(by_seed: list[list[Score]]) -> dict[str, float]:
    """Return the mean AUC over seeds, and its 95 % interval from a bootstrap over patients.

    The interval holds for these seeds. Scores of different folds are compared as they are.
    """
    names = sorted({patient for patient, _, _ in by_seed[0]})
    parts = [
        (
            np.array([names.index(patient) for patient, _, _ in scores]),
            np.array([positive for _, positive, _ in scores]),
            np.array([score for _, _, score in scores]),
        )
        for scores in by_seed
    ]
    value = float(np.mean([auc(p, s, np.ones(len(s))) for _, p, s in parts]))
    draws = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        counts = np.bincount(draws.integers(len(names), size=len(names)), minlength=len(names))
        resampled.append(np.mean([auc(p, s, counts[g].astype(float)) for g, p, s in parts]))
    low, high = np.quantile(resampled, (0.025, 0.975))
    return {"value": value, "low": float(low), "high": float(high), "seeds": len(parts)}


def auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    """Return the chance that a positive clip has a higher score than a negative one; ties half."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    pairs = weights[positive][:, None] * weights[~positive][None, :]
    return float((pairs * ((above > 0) + 0.5 * (above == 0))).sum() / pairs.sum())


def auc_of_shares(manifest: Path) -> float:
    """Return the AUC of a score that is the share of positives in the training rows of a fold."""
    rows = [row for row in read_table(manifest) if row["pneumonia"]]
    positive = np.array([row["pneumonia"] == POSITIVE for row in rows])
    folds = np.array([row["fold"] for row in rows])
    scores = np.array([positive[folds != fold].mean() for fold in folds])
    return auc(positive, scores, np.ones(len(rows)))


def probes(work: Path) -> dict[str, Any]:
    """Train once, and probe for labels that hang together with the hospital."""
    if not (work / "run" / "student" / "checkpoints" / "latest").exists():
        vsalt("salt", "--data", "elsewhere.csv", "--out", "run", *SETTINGS, work=work)
    found = {}
    for number, (name, (label, folds)) in enumerate(PROBES.items()):
        out = f"probe-{number}"
        if not (work / out / "probe.json").exists():
            flags = ("--label-column", label, "--folds", folds, "--group-column", "patient")
            encoders = ("--encoder", "run", "--encoder", "run/student/teacher")
            given = (*encoders, "--data", "elsewhere.csv", "--workers", "0", "--floors")
            vsalt("probe", "fit", *given, *flags, "--out", out, work=work)
        found[name] = summary(json.loads((work / out / "probe.json").read_text()))
    return found


def summary(probe: dict[str, Any]) -> dict[str, Any]:
    """Return what of a probe's file goes into the results."""
    return {
        "classes": probe["classes"],
        "num_rows": probe["num_rows"],
        "num_groups": probe["num_groups"],
        "num_shared_test_rows": probe["num_shared_test_rows"],
        "majority": probe["chance"]["majority"],
        "accuracies": {
            one["stage"] or one["name"]: {
                "accuracy": one["metrics"]["accuracy"],
                "balanced": one["metrics"]["balanced_accuracy"],
                "low": one["metrics"]["interval"]["low"],
                "high": one["metrics"]["interval"]["high"],
            }
            for one in probe["encoders"]
        },
    }


def show(found: dict[str, Any]) -> None:
    """Print the tables of docs/how-to/other-domains.md."""
    hospital = found["one hospital"]
    for arm, accuracy in hospital["accuracies"].items():
        area = hospital["auc"][arm]
        print(f"| {arm} | {interval(accuracy, 100, 1)} | {interval(area, 1, 2)} |")
    for name, difference in hospital["differences"].items():
        print(f"{name}: {interval(difference, 100, 1)}; told: {100 * difference['detectable']:.1f}")
    print(f"AUC of the shares alone: {found['auc of shares']:.2f}")
    for name, area in found["auc"].items():
        print(f"AUC of {name}, trained elsewhere: {interval(area, 1, 2)}")
    for name, probe in found["probes"].items():
        print(f"{name}: {probe['num_rows']} rows, {probe['num_groups']} patients, ", end="")
        print(f"{probe['num_shared_test_rows']} shared, majority {100 * probe['majority']:.1f}")
        for subject, one in probe["accuracies"].items():
            print(f"| {subject} | {interval(one | {'value': one['accuracy']}, 100, 1)} |")


def interval(one: dict[str, float], factor: float, digits: int) -> str:
    value, low, high = (f"{factor * one[part]:.{digits}f}" for part in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
