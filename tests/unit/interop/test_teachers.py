"""Teachers of transformers: their tokens against transformers itself, and what can go wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor
from torch.utils.flop_counter import FlopCounterMode

from support.outside import DEPTH, FRAMES, KINDS, PATCH, SIZE, build, layer_tokens, processor, write
from support.trainers import make_salt
from vsalt.compute.types import ClipShapes
from vsalt.config import StageConfig
from vsalt.errors import ConfigError, InteropError, WeightsError
from vsalt.interop.extras import quiet_transformers
from vsalt.interop.teachers.adapters import ADAPTERS
from vsalt.interop.teachers.grids import resample_tokens
from vsalt.interop.teachers.pixels import read_preparation
from vsalt.interop.teachers.read import read_hf_teacher
from vsalt.interop.teachers.teacher import HfTeacher
from vsalt.models.config import EncoderConfig
from vsalt.objectives.config import PixelConfig, SaltConfig
from vsalt.presets import stage_preset
from vsalt.targets.frozen import FrozenTeacher
from vsalt.training.build import resolve
from vsalt.training.distributed import Ranks
from vsalt.training.plan import plan_stage
from vsalt.training.shards import shard_target
from vsalt.training.teachers import open_teacher

TUBELET = (2, PATCH, PATCH)
PLACES = (SIZE // PATCH) ** 2


def stage(**method: Any) -> StageConfig:
    return StageConfig(
        method=SaltConfig(**method), encoder=EncoderConfig(size="Ti", tubelet=TUBELET)
    )


def clips_of(size: int = SIZE, frames: int = FRAMES, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (2, 3, frames, size, size), dtype=torch.uint8, generator=generator)


def their_pixels(name: str, frames: Tensor, **settings: Any) -> Tensor:
    """Frames (n, 3, H, W) as their own processor prepares them."""
    images = [frame.permute(1, 2, 0).numpy() for frame in frames]
    pixels: Tensor = processor(name, **settings)(images=images, return_tensors="pt")["pixel_values"]
    return pixels


def expected(model: Any, name: str, clips: Tensor) -> list[Tensor]:
    """Tokens (B, N, D) by block; of a model of frames, those of the first frame of a tubelet."""
    if KINDS[name].clips:
        pixels = their_pixels(name, clips.transpose(1, 2).flatten(0, 1))
        return layer_tokens(model, name, pixels.unflatten(0, (2, FRAMES)))
    pixels = their_pixels(name, clips[:, :, ::2].transpose(1, 2).flatten(0, 1))
    return [
        tokens.unflatten(0, (2, -1)).flatten(1, 2) for tokens in layer_tokens(model, name, pixels)
    ]


@pytest.fixture(scope="module", params=KINDS)
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name, folder and model of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, write(folder, request.param)


def test_tokens_are_those_of_transformers(released: tuple[str, Path, Any]) -> None:
    name, folder, model = released
    clips = clips_of()
    by_layer = expected(model, name, clips)
    wanted = [by_layer[0], by_layer[1], by_layer[3]]
    for layer, tokens in zip((0, -2, DEPTH - 1), wanted, strict=True):
        teacher = read_hf_teacher(folder, stage(teacher_layer=layer))
        with torch.no_grad():
            found = teacher(clips)
        assert found.shape == (2, FRAMES // 2 * PLACES, teacher.width)
        torch.testing.assert_close(found, tokens, atol=1e-5, rtol=1e-5)
    assert by_layer[2].std() > 0.1  # of all kinds: blocks change the tokens
    assert (by_layer[2] - by_layer[1]).abs().max() > 0.1


def test_operations_are_those_that_torch_counts(released: tuple[str, Path, Any]) -> None:
    name, folder, _ = released
    for method in ({}, {"teacher_layer": 0}):
        teacher = read_hf_teacher(folder, stage(**method))
        shapes = ClipShapes(grid=(FRAMES // 2, 4, 4), masks=())
        counted = teacher.flops(shapes)
        num_images = 1 if KINDS[name].clips else FRAMES // 2
        leading = (1, FRAMES) if KINDS[name].clips else (num_images,)
        pixels = torch.empty(*leading, 3, SIZE, SIZE, device="meta")
        teacher.to("meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            teacher._tokens(pixels)
        assert counted.exact == counter.get_total_flops()
        own_tokens = PLACES * (FRAMES // 2 if KINDS[name].clips else 1) + KINDS[name].num_extra
        num_params = sum(
            param.numel()
            for key, param in teacher.model.named_parameters()
            if not key.startswith("predictor")
        )
        assert counted.six_nd == 2 * num_params * own_tokens * num_images


def test_every_frame_of_a_tubelet_can_count(tmp_path: Path) -> None:
    model = write(tmp_path, "clip")
    clips = clips_of()
    pixels = their_pixels("clip", clips.transpose(1, 2).flatten(0, 1))
    tokens = layer_tokens(model, "clip", pixels)[-1].unflatten(0, (2, FRAMES // 2, 2))
    teacher = read_hf_teacher(tmp_path, stage(teacher_frames="mean"))
    with torch.no_grad():
        found = teacher(clips)
    torch.testing.assert_close(found, tokens.mean(dim=2).flatten(1, 2), atol=1e-5, rtol=1e-5)
    shapes = ClipShapes(grid=(3, 4, 4), masks=())
    first = read_hf_teacher(tmp_path, stage())
    assert teacher.flops(shapes).exact == 2 * first.flops(shapes).exact
    assert teacher.flops(shapes).six_nd == 2 * first.flops(shapes).six_nd


@pytest.mark.parametrize("name", ["videomae", "clip"])
def test_a_clip_that_is_not_square_is_stretched_and_its_places_kept(
    name: str, tmp_path: Path
) -> None:
    model = write(tmp_path, name)
    teacher = read_hf_teacher(tmp_path, stage())
    clips = clips_of()[..., :24, :]
    clips = torch.cat([clips, clips.flip(3)[..., :8]], dim=-1)
    assert clips.shape[-2:] == (24, 40)
    step = 1 if KINDS[name].clips else 2
    frames = clips[:, :, ::step].transpose(1, 2).flatten(0, 1)
    pixels = teacher.preparation.apply(frames)
    assert (pixels - their_pixels(name, frames)).abs().mean() < 0.02  # Pillow rounds
    own = layer_tokens(model, name, pixels.unflatten(0, (2, -1)) if step == 1 else pixels)[-1]
    on_grid = own.reshape(2 * FRAMES // 2, 4, 4, -1).movedim(-1, 1)
    wanted = torch.nn.functional.interpolate(
        on_grid, size=(3, 5), mode="bilinear", antialias=True, align_corners=False
    )
    with torch.no_grad():
        found = teacher(clips).unflatten(1, (FRAMES // 2, 3, 5)).flatten(0, 1).movedim(-1, 1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_patches_that_do_not_divide_the_frame_cover_the_whole_clip(tmp_path: Path) -> None:
    """As SigLIP's of 14 pixels in frames of 384."""
    model = write(tmp_path, "siglip", vision_config={"image_size": 36})
    teacher = read_hf_teacher(tmp_path, stage())
    assert teacher.preparation.size == (36, 36)
    frames = clips_of()[:, :, ::2].transpose(1, 2).flatten(0, 1)
    beyond = torch.randn(len(frames), 3, 36, 36)  # what no patch covers does not matter
    beyond[..., :32, :32] = their_pixels("siglip", frames)
    tokens = layer_tokens(model, "siglip", beyond)[-1]
    with torch.no_grad():
        found = teacher(clips_of())
    torch.testing.assert_close(
        found, tokens.unflatten(0, (2, -1)).flatten(1, 2), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_model_of_one_resolution_sees_that_one(name: str, tmp_path: Path) -> None:
    """Whatever its preprocessing says; V-JEPA 2 would take any, at wrong positions."""
    write(tmp_path, name, preprocessing={"size": {"height": 48, "width": 48}})
    size = read_hf_teacher(tmp_path, stage()).preparation.size
    assert size == ((48, 48) if name.startswith("dino") else (SIZE, SIZE))


def test_dinov2_sees_the_resolution_of_its_preprocessing(tmp_path: Path) -> None:
    """As it was released: positions for 518 pixels, pictures cropped to 224 after 256."""
    crop = {"size": {"shortest_edge": 64}, "crop_size": 48, "do_center_crop": True}
    model = write(tmp_path, "dinov2", preprocessing=crop)
    teacher = read_hf_teacher(tmp_path, stage())
    clips = clips_of(size=48)
    frames = clips[:, :, ::2].transpose(1, 2).flatten(0, 1)
    pixels = their_pixels("dinov2", frames, do_resize=False)
    tokens = layer_tokens(model, "dinov2", pixels)[-1]
    with torch.no_grad():
        found = teacher(clips)
    assert found.shape == (2, 2 * 36, 32)
    torch.testing.assert_close(
        found, tokens.unflatten(0, (2, -1)).flatten(1, 2), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("pooling", [False, True])
def test_the_last_layer_of_videomae_has_a_norm_only_where_the_model_has(
    pooling: bool, tmp_path: Path
) -> None:
    model = write(tmp_path, "videomae", use_mean_pooling=pooling)
    assert (model.videomae.layernorm is None) == pooling
    by_layer = expected(model, "videomae", clips_of())
    with torch.no_grad():
        found = read_hf_teacher(tmp_path, stage())(clips_of())
    torch.testing.assert_close(found, by_layer[-1], atol=1e-5, rtol=1e-5)
    assert torch.equal(by_layer[-1], by_layer[-2]) == pooling


def test_it_is_frozen_and_its_targets_are_float32_under_autocast(
    released: tuple[str, Path, Any],
) -> None:
    _, folder, _ = released
    teacher = FrozenTeacher(read_hf_teacher(folder, stage()), "layer_norm")
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(param.requires_grad for param in teacher.parameters())
    clips, ids = clips_of(frames=2), torch.arange(PLACES).expand(2, -1)
    exact = teacher.open(clips)(ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = teacher.open(clips)(ids)
    assert rounded.dtype == torch.float32
    assert not exact.requires_grad
    assert rounded.mean(dim=-1).abs().max() < 1e-6  # standardised after the cast
    assert 0 < (rounded - exact).abs().mean() < 0.02


def test_a_teacher_that_is_sharded_says_the_same(
    released: tuple[str, Path, Any], tmp_path: Path
) -> None:
    _, folder, _ = released
    teacher = FrozenTeacher(read_hf_teacher(folder, stage()), "layer_norm")
    objective = make_salt()
    objective.target, objective.target_units = teacher, teacher.shard_units
    clips, ids = clips_of(frames=2), torch.arange(PLACES).expand(2, -1)
    exact = teacher.open(clips)(ids)
    assert len(teacher.shard_units()) == DEPTH
    # A group of one process: all is gathered that would be missing in several.
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        shard_target(objective, Ranks(), "cpu")
        assert all(isinstance(param, DTensor) for param in teacher.parameters())
        for _ in range(2):
            assert torch.equal(teacher.open(clips)(ids), exact)
    finally:
        distributed.destroy_process_group()


def test_what_takes_no_part_is_not_moved_or_counted(tmp_path: Path) -> None:
    model = write(tmp_path, "vjepa2")
    teacher = read_hf_teacher(tmp_path, stage(teacher_layer=0))
    assert teacher.num_params == sum(param.numel() for param in model.parameters())
    names = {name.removeprefix("model.") for name, _ in teacher.named_parameters()}
    used = ("encoder.embeddings.", "encoder.layer.0.", "encoder.layernorm.")
    wanted = {name for name, _ in model.named_parameters() if name.startswith(used)}
    assert names == wanted
    config = resolve(stage_preset("tiny-cpu", "salt"))
    whole = read_hf_teacher(tmp_path, stage())
    plans = [plan_stage(config, each, "it") for each in (teacher, whole)]
    held = [sum(param.numel() for param in each.parameters()) for each in (teacher, whole)]
    assert held[0] < held[1] < teacher.num_params
    assert [plan.frozen_params for plan in plans] == held
    assert plans[1].memory_bytes - plans[0].memory_bytes == 4 * (held[1] - held[0])
    assert plans[1].disk_bytes == plans[0].disk_bytes > 4 * teacher.num_params
    teacher.to("meta")
    aside = [*teacher._later_blocks, *teacher._unused.values()]
    assert {param.device.type for part in aside for param in part.parameters()} == {"cpu"}


def test_a_model_of_fixed_length_sees_frames_spread_over_the_clip(tmp_path: Path) -> None:
    write(tmp_path, "videomae")
    teacher = read_hf_teacher(tmp_path, stage())
    clips = clips_of()
    longer = clips_of(frames=3 * FRAMES, seed=1)
    longer[:, :, 1::3] = clips  # frames 1, 4, 7 and 10 are seen
    with torch.no_grad():
        own, of_longer, of_image = (
            teacher(each) for each in (clips, longer, clips[:, :, :1].repeat(1, 1, 2, 1, 1))
        )
        still = teacher(clips[:, :, :1].repeat(1, 1, FRAMES, 1, 1))
    own, still = (each.unflatten(1, (2, PLACES)) for each in (own, still))
    # Six steps from two: linear between the middles of its own, and as they are beyond.
    weights = torch.tensor([0, 0, 1 / 3, 2 / 3, 1, 1])[None, :, None, None]
    mixed = own[:, :1] + (own[:, 1:] - own[:, :1]) * weights
    torch.testing.assert_close(of_longer.unflatten(1, (6, PLACES)), mixed, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(of_image, still.mean(dim=1), atol=1e-5, rtol=1e-5)


def test_frames_that_its_tubelets_do_not_divide_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "vjepa2")
    odd = replace(stage(), encoder=EncoderConfig(size="Ti", tubelet=(3, PATCH, PATCH)))
    with pytest.raises(ConfigError, match="a clip has 3 frames, which the teacher's tubelets of 2"):
        read_hf_teacher(tmp_path, odd)(clips_of(frames=3))


def test_frames_of_another_size_are_resized_as_pillow_does(tmp_path: Path) -> None:
    write(tmp_path, "clip")
    teacher = read_hf_teacher(tmp_path, stage())
    generator = np.random.default_rng(0)
    coarse = generator.integers(256, size=(2, 3, 6, 6), dtype=np.uint8)
    for size in (48, 20):
        zoomed = torch.nn.functional.interpolate(
            torch.from_numpy(coarse).float(), size=(size, size), mode="bilinear"
        )
        frames = zoomed.round().to(torch.uint8)
        ours = teacher.preparation.apply(frames)
        assert ours.shape == (2, 3, SIZE, SIZE)
        # Pillow rounds between its two passes, and after them.
        assert (ours - their_pixels("clip", frames)).abs().max() < 1.6 / 255 / 0.2


def test_other_weights_have_another_hash(tmp_path: Path) -> None:
    model = write(tmp_path, "clip")
    before = read_hf_teacher(tmp_path, stage()).sha256
    with torch.no_grad():
        model.text_model.final_layer_norm.bias.add_(1)
    with quiet_transformers():
        model.save_pretrained(tmp_path)
    assert read_hf_teacher(tmp_path, stage()).sha256 == before  # text is no part of the teacher
    with torch.no_grad():
        model.vision_model.pre_layrnorm.bias.add_(1)
    with quiet_transformers():
        model.save_pretrained(tmp_path)
    other = read_hf_teacher(tmp_path, stage()).sha256
    assert other != before
    with quiet_transformers():
        processor("clip", image_mean=[0.5, 0.4, 0.31]).save_pretrained(tmp_path)
    assert read_hf_teacher(tmp_path, stage()).sha256 not in (before, other)


@pytest.mark.parametrize("name", ["clip", "vjepa2", "vit-mae"])
def test_what_is_saved_is_whole_and_read_again(name: str, tmp_path: Path) -> None:
    write(tmp_path / "theirs", name)
    (tmp_path / "ours").mkdir()
    teacher = read_hf_teacher(tmp_path / "theirs", stage(teacher_layer=1))
    assert len(teacher._blocks) == 2
    teacher.save(tmp_path / "ours")
    assert len(teacher._blocks) == 2
    # safetensors lets nobody but the owner read its files.
    assert len({path.stat().st_mode for path in (tmp_path / "ours").iterdir()}) == 1
    again = read_hf_teacher(tmp_path / "ours", stage(teacher_layer=1))
    assert again.sha256 == teacher.sha256
    with torch.no_grad():
        assert torch.equal(again(clips_of()), teacher(clips_of()))
    last = read_hf_teacher(tmp_path / "ours", stage())
    assert len(last._blocks) == DEPTH
    whole = read_hf_teacher(tmp_path / "theirs", stage())
    with torch.no_grad():
        assert torch.equal(last(clips_of()), whole(clips_of()))
    assert again.origin() | {"source": ""} == teacher.origin() | {"source": ""}


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    model = write(tmp_path, "dinov2")
    with quiet_transformers():
        model.to(torch.bfloat16).save_pretrained(tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {
        torch.bfloat16
    }
    teacher = read_hf_teacher(tmp_path, stage())
    assert {param.dtype for param in teacher.parameters()} == {torch.float32}


class TestGrids:
    def test_a_finer_grid_is_linear_interpolation(self) -> None:
        tokens = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(1))
        found = resample_tokens(tokens, (6, 7, 5))
        wanted = torch.nn.functional.interpolate(
            tokens.movedim(-1, 1), size=(6, 7, 5), mode="trilinear", align_corners=False
        ).movedim(1, -1)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("axis", [1, 2, 3])
    def test_a_coarser_grid_is_a_triangle_filter(self, axis: int) -> None:
        old, new = 9, 4
        shape = [1, 2, 2, 2, 3]
        shape[axis] = old
        tokens = torch.randn(shape, generator=torch.Generator().manual_seed(axis))
        grid = [2, 2, 2]
        grid[axis - 1] = new
        found = resample_tokens(tokens, (grid[0], grid[1], grid[2]))
        scale = old / new
        middles = (np.arange(new) + 0.5) * scale
        distance = np.abs((np.arange(old) + 0.5)[None] - middles[:, None]) / scale
        weights = np.maximum(0, 1 - distance)
        weights /= weights.sum(axis=1, keepdims=True)
        wanted = np.moveaxis(np.tensordot(weights, tokens.numpy(), ([1], [axis])), 0, axis)
        np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)

    def test_the_same_grid_is_the_same_tokens(self) -> None:
        tokens = torch.randn(1, 2, 3, 4, 5)
        assert resample_tokens(tokens, (2, 3, 4)) is tokens


class TestPreparation:
    SETTINGS: ClassVar[dict[str, Any]] = {
        "image_mean": [0.5] * 3,
        "image_std": [0.2] * 3,
        "resample": 2,
    }

    @pytest.mark.parametrize(
        ("settings", "size"),
        [
            ({"size": 20}, (20, 20)),
            ({"size": {"height": 20, "width": 30}}, (20, 30)),
            ({"size": {"shortest_edge": 256}, "crop_size": {"height": 24, "width": 24}}, (24, 24)),
            ({"size": {"shortest_edge": 256}, "crop_size": 24}, (24, 24)),
            ({"size": {"shortest_edge": 32}, "crop_size": 24, "do_center_crop": False}, (32, 32)),
            # DINOv3's
            (
                {"size": {"height": 20, "width": 20}, "crop_size": None, "do_center_crop": None},
                (20, 20),
            ),
        ],
    )
    def test_its_size_is_what_is_left_of_a_picture(
        self, settings: dict[str, Any], size: tuple[int, int]
    ) -> None:
        assert read_preparation({**self.SETTINGS, **settings}, None, 4, "it").size == size
        assert read_preparation({**self.SETTINGS, **settings}, (8, 8), 4, "it").size == (8, 8)

    @pytest.mark.parametrize(
        ("settings", "problem"),
        [
            ({"do_normalize": False}, "its do_normalize is False, where True is needed"),
            ({"rescale_factor": 1 / 127.5}, "where 1/255 is needed"),
            ({"resample": None}, "its resample is None, where 2 (bilinear) or 3 (bicubic)"),
            ({"resample": 1}, "its resample is 1, where 2 (bilinear) or 3 (bicubic)"),
            ({"image_mean": None}, "its image_mean is None, where three numbers are needed"),
            ({"image_std": [0.5]}, "its image_std is [0.5], where three numbers are needed"),
        ],
    )
    def test_what_is_not_done_here_is_refused(self, settings: dict[str, Any], problem: str) -> None:
        with pytest.raises(InteropError) as caught:
            read_preparation({**self.SETTINGS, **settings}, (8, 8), 4, "it")
        assert problem in str(caught.value)

    def test_a_missing_size_is_told(self) -> None:
        with pytest.raises(InteropError, match="it does not say the size of its frames"):
            read_preparation(self.SETTINGS, None, 4, "it")

    @pytest.mark.parametrize("nested", ["image_processor", "video_processor"])
    def test_it_may_be_a_part_of_a_processors_file(self, nested: str, tmp_path: Path) -> None:
        """As newer versions write it."""
        write(tmp_path, "dinov2")
        path = tmp_path / "preprocessor_config.json"
        before = read_hf_teacher(tmp_path, stage()).preparation
        record = {"processor_class": "Processor", nested: json.loads(path.read_text())}
        (tmp_path / "processor_config.json").write_text(json.dumps(record))
        path.unlink()
        assert read_hf_teacher(tmp_path, stage()).preparation == before


class TestRefusals:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write(tmp_path, "dinov2")
        return tmp_path

    def test_a_layer_that_it_does_not_have(self, folder: Path) -> None:
        with pytest.raises(ConfigError, match="teacher-layer is 3, but the teacher has 3 blocks"):
            read_hf_teacher(folder, stage(teacher_layer=3))

    def test_frames_of_a_model_that_sees_clips(self, tmp_path: Path) -> None:
        write(tmp_path, "videomae")
        with pytest.raises(ConfigError, match="teacher-frames is mean, but the teacher sees whole"):
            read_hf_teacher(tmp_path, stage(teacher_frames="mean"))

    def test_a_method_without_a_teacher(self, folder: Path) -> None:
        with pytest.raises(ConfigError, match="method pixel takes no teacher"):
            read_hf_teacher(folder, StageConfig(method=PixelConfig()))

    def test_a_model_that_cannot_teach(self, folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
        with pytest.raises(
            InteropError, match="type bert, which cannot teach here; those that can"
        ):
            read_hf_teacher(folder, stage())

    def test_a_folder_without_a_config(self, tmp_path: Path) -> None:
        with pytest.raises(InteropError, match=r"has no config\.json, so it is no model of"):
            read_hf_teacher(tmp_path, stage())
        (tmp_path / "config.json").write_text(json.dumps({"kind": "stage"}))
        with pytest.raises(InteropError, match=r"has no model_type in its config\.json, so it is"):
            read_hf_teacher(tmp_path, stage())

    def test_a_folder_without_its_hf(self, folder: Path) -> None:
        with pytest.raises(WeightsError, match="as a teacher it is named hf:"):
            open_teacher(folder, stage(), read_hf_teacher)

    def test_a_folder_that_does_not_say_its_pixels(self, folder: Path) -> None:
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(InteropError, match="does not say how its pixels are standardised"):
            read_hf_teacher(folder, stage())

    def test_missing_weights_are_named(self, folder: Path) -> None:
        record = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**record, "num_hidden_layers": 4}))
        with pytest.raises(InteropError) as caught:
            read_hf_teacher(folder, stage())
        assert "lacks weights of a Dinov2Model" in str(caught.value)
        assert "layer.3.norm1.weight" in str(caught.value)

    def test_weights_of_another_shape_are_named(self, folder: Path) -> None:
        record = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**record, "mlp_ratio": 2}))
        with pytest.raises(InteropError) as caught:
            read_hf_teacher(folder, stage())
        assert "lacks weights of a Dinov2Model, or has them in another shape" in str(caught.value)
        assert "fc1.weight" in str(caught.value)

    def test_pickled_weights_are_not_read(self, folder: Path) -> None:
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(InteropError, match="must be in safetensors"):
            read_hf_teacher(folder, stage())

    def test_damaged_weights(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(InteropError, match="cannot be read as a Dinov2Model"):
            read_hf_teacher(folder, stage())

    @pytest.mark.parametrize("setting", [{"hidden_size": "x"}, {"patch_size": None}])
    def test_a_damaged_config(self, folder: Path, setting: dict[str, Any]) -> None:
        record = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**record, **setting}))
        with pytest.raises(InteropError, match=r"config\.json of .* cannot be read"):
            read_hf_teacher(folder, stage())

    def test_what_is_no_folder(self, folder: Path) -> None:
        for name in ("", folder / "model.safetensors"):
            with pytest.raises(InteropError, match="is no folder of transformers, and no name on"):
                read_hf_teacher(name, stage())

    def test_a_name_that_is_neither_here_nor_on_the_hub(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(InteropError, match=r"there is no folder no-one/nothing, and as a name"):
            read_hf_teacher("no-one/nothing", stage())


def test_every_adapter_is_tested() -> None:
    with quiet_transformers():
        types = {build(name).config.model_type for name in KINDS}
    assert {adapter.types[0] for adapter in ADAPTERS} == types


def test_a_teacher_says_how_it_is_used(tmp_path: Path) -> None:
    write(tmp_path / "clip", "clip")
    teacher = read_hf_teacher(tmp_path / "clip", stage(teacher_layer=1, teacher_frames="mean"))
    assert isinstance(teacher, HfTeacher)
    assert teacher.describe().endswith(
        "sees all frames of each tubelet at 32 x 32 pixels; its 4 x 4 tokens of 32 channels are "
        "resampled to the student's grid; block 1, before the final norm"
    )
    assert teacher.origin() == {
        "format": "transformers",
        "source": "clip",
        "model": "CLIPVisionModel",
        "layer": 1,
        "frames": "mean",
        "size": [32, 32],
    }
