"""Original V-JEPA 2 checkpoints: the right network, read strictly and without running anything."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vsalt.errors import ConfigError, InteropError, WeightsError
from vsalt.interop.original import HEADS, OriginalSettings, read_original
from vsalt.interop.self_test import ENCODER, PREDICTOR, original_state, their_model

SETTINGS = OriginalSettings(
    num_frames=4, size=32, heads=ENCODER.heads, predictor_heads=PREDICTOR.heads
)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    torch.manual_seed(1)
    found: dict[str, Any] = original_state(their_model())
    return found


def read(state: object, tmp_path: Path, settings: OriginalSettings = SETTINGS) -> Any:
    torch.save(state, tmp_path / "x.pt")
    return read_original(tmp_path / "x.pt", settings)


def test_the_role_chooses_the_encoder(state: dict[str, Any], tmp_path: Path) -> None:
    name = "module.backbone.blocks.1.mlp.fc1.weight"
    for role in ("target_encoder", "encoder"):
        found = read(state, tmp_path, replace(SETTINGS, role=role)).networks
        weight = found.encoder.get_parameter("blocks.1.mlp.fc1.weight")
        assert torch.equal(weight, state[role][name])
        assert (found.num_frames, found.size) == (4, (32, 32))
        assert found.encoder.config.tubelet == (2, 8, 8)
        assert not found.encoder.training


def test_names_may_have_no_wrappers_and_weights_another_type(
    state: dict[str, Any], tmp_path: Path
) -> None:
    plain = {
        name: {
            key.removeprefix("module.backbone."): value.to(torch.bfloat16)
            for key, value in state[name].items()
        }
        for name in ("encoder", "target_encoder", "predictor")
    }
    found = read(plain, tmp_path).networks
    wanted = plain["target_encoder"]["norm.weight"].float()
    assert torch.equal(found.encoder.norm.weight, wanted)
    assert found.encoder.norm.weight.dtype == torch.float32


def test_a_file_need_not_have_a_predictor(state: dict[str, Any], tmp_path: Path) -> None:
    found = read({"encoder": state["encoder"]}, tmp_path, replace(SETTINGS, role="encoder"))
    assert found.networks.predictor is None
    assert found.assumed == ()


def test_its_mask_token_is_number_one(state: dict[str, Any], tmp_path: Path) -> None:
    found = read(state, tmp_path)
    token = state["predictor"]["module.backbone.mask_tokens.1"]
    assert torch.equal(found.networks.predictor.mask_token, token.flatten())
    assert found.assumed == ("its predictor has 2 attention heads",)


def test_a_table_that_rotary_positions_leave_unread_is_left_out(
    state: dict[str, Any], tmp_path: Path
) -> None:
    tables = {"target_encoder": "pos_embed", "predictor": "predictor_pos_embed"}
    more = {
        name: state[name] | {f"module.backbone.{table}": torch.ones(1, 32, 24)}
        for name, table in tables.items()
    }
    found = read(state | more, tmp_path, replace(SETTINGS, rotary=True))
    plain = read(state, tmp_path, replace(SETTINGS, rotary=True))
    clips = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(found.networks.encoder(clips), plain.networks.encoder(clips))
    assert [text.partition(",")[0] for text in found.left_out] == [
        "its pos_embed",
        "its predictor_pos_embed",
    ]
    assert plain.left_out == ()


def test_a_predictor_of_actions_is_left_out_and_its_encoder_read(
    state: dict[str, Any], tmp_path: Path
) -> None:
    actions = {f"module.action_encoder.{kind}": torch.ones(2) for kind in ("weight", "bias")}
    predictor = {
        key.replace("module.backbone.", "module."): value
        for key, value in state["predictor"].items()
        if "mask_tokens" not in key
    }
    found = read(state | {"predictor": predictor | actions}, tmp_path)
    assert found.networks.predictor is None
    assert found.assumed == ()
    assert "V-JEPA 2-AC" in found.left_out[0]
    weight = state["target_encoder"]["module.backbone.norm.weight"]
    assert torch.equal(found.networks.encoder.norm.weight, weight)


def test_heads_are_those_of_vjepa2_where_nobody_says_so(
    state: dict[str, Any], tmp_path: Path
) -> None:
    # Of each encoder in vision_transformer.py of facebookresearch/vjepa2; of giant, that of
    # `vit_giant_xformers`, which hubconf.py takes for the released weights.
    assert HEADS == {
        (192, 12): 3,  # tiny
        (384, 12): 6,  # small
        (768, 12): 12,  # base
        (1024, 24): 16,  # large
        (1280, 32): 16,  # huge
        (1408, 40): 22,  # giant_xformers
        (1664, 48): 16,  # gigantic
    }
    assert OriginalSettings().predictor_heads == 12  # `vit_predictor` of the released weights
    with pytest.raises(InteropError, match=r"width 24 and 2 blocks.*give --heads"):
        read(state, tmp_path, replace(SETTINGS, heads=None))


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: {"predictor": s["predictor"]}, InteropError, "has no weights 'target_encoder'"),
        (lambda s: {"target_encoder": [1]}, InteropError, "has no weights"),
        (lambda s: [s], InteropError, "holds no dictionary but a list"),
        (
            lambda s: {
                "target_encoder": s["target_encoder"] | {"module.backbone.x": torch.ones(2)}
            },
            WeightsError,
            r"tensors that vsalt's networks have not:\n  x \[2\]",
        ),
        (
            lambda s: {
                "target_encoder": {
                    key: value
                    for key, value in s["target_encoder"].items()
                    if not key.endswith("blocks.0.norm2.bias")
                }
            },
            WeightsError,
            "lack\n  blocks.0.norm2.bias",
        ),
        (
            lambda s: {
                "target_encoder": s["target_encoder"]
                | {"module.backbone.pos_embed": torch.ones(1, 4, 24)}
            },
            InteropError,
            r"target_encoder has pos_embed.*such weights are not read.*give --rotary",
        ),
        (
            lambda s: s | {"predictor": s["predictor"] | {"predictor_pos_embed": torch.ones(1)}},
            InteropError,
            "predictor has predictor_pos_embed",
        ),
        (
            lambda s: {"classifiers": [s["target_encoder"]], "epoch": 1},
            InteropError,
            "its entries are classifiers, epoch",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    change: Change, error: type[Exception], message: str, state: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        read(change(state), tmp_path)


def test_heads_that_do_not_fit_are_refused(state: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be divided among 5 heads"):
        read(state, tmp_path, replace(SETTINGS, heads=5))


class Opened(Exception):  # noqa: N818
    """Code of the file has run."""


class Code:
    def __reduce__(self) -> tuple[type, tuple[str]]:
        return Opened, ("it ran",)


def test_what_is_no_tensor_is_named(state: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        InteropError, match=r"it holds numpy\S+scalar, which is no tensor"
    ) as caught:
        read(state | {"loss": np.float64(0.5)}, tmp_path)
    assert "\x1b" not in str(caught.value)
    assert "Re-running" not in str(caught.value)


@pytest.mark.parametrize("how", ["zip", "pickle", "nonsense", "missing"])
def test_nothing_in_a_file_is_run(how: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    if how == "zip":
        torch.save({"encoder": Code()}, path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"encoder": Code()}))
    elif how == "nonsense":
        path.write_bytes(b"nonsense")
    message = "there is no file" if how == "missing" else "cannot be read as a checkpoint"
    with pytest.raises(InteropError, match=message):
        read_original(path, SETTINGS)
