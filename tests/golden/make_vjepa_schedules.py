"""Writes vjepa_schedules.json: learning rates, weight decays and momenta of V-JEPA's own classes.

Run by hand, with a checkout of facebookresearch/vjepa2 at c2963a4:

    python tests/golden/make_vjepa_schedules.py CHECKOUT

Their classes are asked before every optimiser step and count from 1; number k of a list is what
step k = 0, 1, … gets. The momentum is an expression of their training loop, not a class; it is
written out here, for steps that count from 0.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch

OUT = Path(__file__).with_name("vjepa_schedules.json")
STEPS, WARMUP, COOLDOWN = 40, 6, 10
START, PEAK, FINAL = 2e-4, 6.25e-4, 1e-6
DECAYS, MOMENTA = (0.04, 0.4), (0.998, 1.0)


def load(checkout: Path) -> Any:
    """Return their module of schedules."""
    spec = importlib.util.spec_from_file_location("s", checkout / "src/utils/schedulers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Write the file."""
    theirs = load(Path(sys.argv[1]))
    found: dict[str, Any] = {}
    for stretch in (1.0, 1.25):
        length = int(stretch * STEPS)
        optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        given = {"warmup_steps": WARMUP, "start_lr": START, "ref_lr": PEAK, "T_max": length}
        cosine = theirs.WarmupCosineSchedule(optimiser, final_lr=FINAL, **given)
        decay = theirs.CosineWDSchedule(optimiser, DECAYS[0], length, DECAYS[1])
        found[f"stretch {stretch}"] = {
            "lr": [cosine.step() for _ in range(STEPS)],
            "weight_decay": [decay.step() for _ in range(STEPS)],
            "momentum": [
                MOMENTA[0] + k * (MOMENTA[1] - MOMENTA[0]) / (STEPS * stretch) for k in range(STEPS)
            ],
        }
    for cooldown in (0, COOLDOWN):
        optimiser = torch.optim.SGD([torch.zeros(1)], lr=0.1)
        constant = theirs.WSDSchedule(optimiser, WARMUP, cooldown, STEPS, START, PEAK, FINAL)
        found[f"cooldown {cooldown}"] = {"lr": [constant.step() for _ in range(STEPS)]}
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
