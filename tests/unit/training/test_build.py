"""From a configuration to networks: seeds, resolved numbers, and the plan of a run."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from support.tiny import make_encoder
from vsalt.config import PretrainConfig, SaltRunConfig, StageConfig
from vsalt.data.config import ClipConfig
from vsalt.errors import ConfigError
from vsalt.masking.config import BlocksConfig, MultiblockConfig
from vsalt.models.config import EncoderConfig, PredictorConfig
from vsalt.models.weights import weights_hash
from vsalt.objectives.config import SaltConfig
from vsalt.training.build import build_objective, resolve, resolve_salt
from vsalt.training.checkpoint import CheckpointFolder
from vsalt.training.config import DeviceConfig, LoopConfig, OptimConfig
from vsalt.training.device import autocast, choose_device, choose_precision, set_up
from vsalt.training.optim import build_optimiser
from vsalt.training.plan import clip_shapes, plan_stage, print_plans
from vsalt.training.saver import Saver

ENCODER = EncoderConfig(size="Ti", width=24, depth=2, heads=2, mlp_width=48, tubelet=(2, 8, 8))
MASKS = MultiblockConfig(
    short=BlocksConfig(num_blocks=2, spatial_scale=0.2, num_context=6, num_targets=6),
    long=BlocksConfig(num_blocks=1, spatial_scale=0.4, num_context=5, num_targets=8),
)
STAGE = StageConfig(
    encoder=ENCODER,
    predictor=PredictorConfig(width=24, depth=1, heads=2),
    masks=MASKS,
    optim=OptimConfig(lr_scaling="none"),
    loop=LoopConfig(steps=50, batch_size=4, save_every=10),
)
PIXEL = PretrainConfig(clip=ClipConfig(num_frames=4, size=(32, 32)), stage=STAGE)
SALT = replace(PIXEL, stage=replace(STAGE, method=SaltConfig()))


def weights(config: PretrainConfig) -> str:
    teacher = make_encoder() if config.stage.method.name == "salt" else None
    return weights_hash(build_objective(resolve(config), teacher).trainable.state_dict())


def test_initial_weights_are_a_function_of_the_seed_and_the_method() -> None:
    first = weights(PIXEL)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert weights(PIXEL) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert weights(replace(PIXEL, seed=1)) != first
    pixel = build_objective(resolve(PIXEL), None)
    salt = build_objective(resolve(SALT), make_encoder())
    # A student does not begin as its teacher began.
    one, two = (each.encoder.blocks[0].mlp.fc1.weight for each in (pixel, salt))
    assert not torch.equal(one, two)


def test_an_assistant_does_not_begin_as_the_student_begins() -> None:
    run = SaltRunConfig(clip=PIXEL.clip, teacher=STAGE, student=SALT.stage, seed=5)
    three = replace(run, assistant=SALT.stage)
    student = weights(three.stage("student"))
    assert weights(run.stage("student")) == student
    assert weights(three.stage("assistant")) != student
    assert weights(three.stage("assistant")) != weights(replace(three, seed=6).stage("assistant"))


def test_salt_without_a_teacher_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method salt needs a frozen teacher; give --teacher"):
        build_objective(resolve(SALT), None)


def test_resolving_writes_every_number_out() -> None:
    given = replace(PIXEL, stage=replace(STAGE, masks=MultiblockConfig()))
    stage = resolve(given).stage
    numbers = [
        *(vars(stage.encoder).values()),
        *(vars(stage.predictor).values()),
        *(vars(stage.masks.short).values()),
        *(vars(stage.masks.long).values()),
        *(vars(stage.optim).values()),
        *(vars(stage.loop).values()),
    ]
    assert stage.loop.stop_at is None  # which is no number: all steps are done
    assert numbers.count(None) == 1
    assert stage.predictor.mlp_width == 96
    assert stage.optim.warmup_steps == 4
    assert (stage.loop.micro_batch_size, stage.loop.val_every) == (4, 10)
    assert resolve(resolve(given)) == resolve(given)
    assert stage.encoder.resolved() == ENCODER.resolved()


def test_mask_problems_of_both_stages_are_reported_together() -> None:
    hard = replace(MASKS, short=replace(MASKS.short, num_context=31))
    harder = replace(MASKS, long=replace(MASKS.long, num_targets=31))
    config = SaltRunConfig(
        clip=PIXEL.clip,
        teacher=replace(STAGE, masks=hard),
        student=replace(STAGE, masks=harder, method=SaltConfig()),
    )
    with pytest.raises(ConfigError) as caught:
        resolve_salt(config)
    teacher, student = caught.value.problems
    assert teacher.startswith("teacher.masks.short: only ")
    assert student.startswith("student.masks.long: only ")


def test_a_plan_counts_what_the_run_will_do(tmp_path: Path) -> None:
    wide = replace(ENCODER, width=192, heads=3, mlp_width=768)
    config = resolve(replace(SALT, stage=replace(SALT.stage, encoder=wide)))
    teacher = EncoderConfig(size="Ti", width=36, depth=1, heads=3, mlp_width=72, tubelet=(2, 8, 8))
    plan = plan_stage(config, teacher, "student")
    objective = build_objective(config, make_encoder(width=36, depth=1, heads=3))
    sizes = {
        name: sum(param.numel() for param in module.parameters())
        for name, module in [*objective.trainable.items(), ("teacher", objective.target)]
    }
    assert plan.encoder_params == sizes["encoder"]
    assert plan.other_params == sizes["predictor"]
    assert plan.frozen_params == sizes["teacher"]
    assert (plan.steps, plan.clips) == (50, 200)
    assert plan.flops.exact == 200 * objective.flops(clip_shapes(config)).exact
    assert clip_shapes(config).masks == ((6, 6), (5, 8))
    # Weights, gradients and two moments, in float32, and the teacher; activations come on top.
    trained = 4 * 4 * (sizes["encoder"] + sizes["predictor"])
    assert plan.memory_bytes > trained + 4 * sizes["teacher"]

    optimiser = build_optimiser(objective.param_groups(), config.stage.optim)
    folder = CheckpointFolder(tmp_path, keep_last=2)
    folder.path.mkdir()
    Saver(folder).save(objective, optimiser, 10, {"step": 10, "best_step": None})
    on_disk = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    # Up to four at one time: two kept, the best, and one being written.
    assert plan.disk_bytes == pytest.approx(4 * on_disk + 4 * sizes["teacher"], rel=0.1)
    tensors = 4 * 3 * (sizes["encoder"] + sizes["predictor"])
    assert plan.disk_bytes == 4 * tensors + 4 * sizes["teacher"]


def test_plans_are_printed_side_by_side_with_their_sum() -> None:
    teacher = plan_stage(resolve(PIXEL), None, "teacher")
    student = plan_stage(resolve(SALT), ENCODER, "student")
    out = io.StringIO()
    print_plans([teacher, student], Console(file=out, width=120))
    lines = [line.split("│")[1:-1] for line in out.getvalue().splitlines() if "│" in line]
    cells = {name.strip(): [cell.strip() for cell in rest] for name, *rest in lines}
    assert cells["steps"] == ["50", "50", "100"]
    assert cells["clips"] == ["200", "200", "400"]
    exact = [teacher.flops.exact, student.flops.exact]
    assert cells["FLOPs, exact"] == [f"{flops:.2e}" for flops in [*exact, sum(exact)]]
    millions = f"{student.encoder_params / 1e6:.2f} M"
    assert cells["parameters, encoder"] == [millions, millions, ""]
    assert cells["parameters, frozen"] == ["-", millions, ""]
    memory = f"memory, about ({teacher.precision})"
    assert {"FLOPs, 6ND", "parameters, predictor", memory, "disk"} < cells.keys()


def test_devices_and_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="torch finds none; take cpu or auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert choose_device("cpu") == "cpu"
    assert choose_precision(DeviceConfig(), "cuda") == "bf16"
    assert choose_precision(DeviceConfig(), "cpu") == "fp32"
    assert choose_precision(DeviceConfig(precision="fp32"), "cuda") == "fp32"
    x = torch.ones(2, 2)
    with autocast("cpu", "bf16"):
        assert (x @ x).dtype == torch.bfloat16
    with autocast("cpu", "fp32"):
        assert (x @ x).dtype == torch.float32


def test_threads_are_set_where_given() -> None:
    before = torch.get_num_threads()
    try:
        assert set_up(DeviceConfig(), "cpu") == before
        assert set_up(DeviceConfig(threads=2), "cpu") == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


FAULTS = """
import json, resource, sys, torch
from vsalt.training.config import DeviceConfig
from vsalt.training.device import set_up
if sys.argv[1] == "set up":
    set_up(DeviceConfig(), "cpu")
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
found = []
for count, millions in ((12, 12), (40, 16), (2, 300)):  # 0.6, 2.5 and 2.4 GB
    for part in range(2):
        begin = faults()
        for _ in range(3):
            held = [torch.empty(millions * 2**20) for _ in range(count)]
            for each in held:
                each[::2**18] = 1  # of every 256 pages one is used
            del each, held
    found.append(faults() - begin)
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the GNU C library is Linux's")
def test_memory_that_tensors_free_is_used_again() -> None:
    def faults(how: str) -> list[int]:
        command = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return list(json.loads(done.stdout))

    assert max(faults("set up")) < 100 < min(faults("as it is"))
