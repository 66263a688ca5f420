"""V-JEPA 2 of transformers and ours compute the same, and what one cannot hold of the other."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support.fill import chirp, fill_parameters, swapped_pairs
from support.tiny import make_encoder
from vsalt.errors import InteropError, WeightsError
from vsalt.interop.hf_folder import read_hf_folder, write_networks
from vsalt.interop.limits import mlp_ratio
from vsalt.interop.networks import Networks
from vsalt.interop.self_test import their_model
from vsalt.interop.vjepa2_hf import from_hf, left_out, to_hf
from vsalt.models.config import PredictorConfig
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.models.predictor import Predictor

TOLERANCE = 1e-5
NOTICED = 1e-3
SIZE, GRID = (32, 32), (2, 4, 4)
CONTEXT = torch.tensor([[0, 3, 8, 9, 14, 21, 30], [1, 2, 5, 17, 19, 26, 31]])
TARGETS = torch.tensor([[1, 7, 12, 18, 29], [0, 4, 16, 24, 30]])
CLIPS = 1.7 * chirp(2, 3, 4, *SIZE, rate=0.0137).float()


def our_networks(blocks: int | None = None, **predictor: Any) -> Networks:
    encoder = make_encoder(width=24, heads=2)
    numbers = PredictorConfig(width=40, depth=2, heads=2, mlp_width=80)
    settings = {"out_width": 24, **predictor}
    head = Predictor(numbers, in_width=24, positions="vjepa2", **settings)
    classifier = None
    if blocks is not None:
        classifier = AttentiveClassifier(AttentivePooler(24, 2, blocks, eps=1e-6), 3)
    for module in (encoder, head, classifier):
        if module is not None:
            fill_parameters(module)
            module.requires_grad_(False).eval()
    return Networks(encoder=encoder, num_frames=4, size=SIZE, predictor=head, classifier=classifier)


def theirs(blocks: int | None = None) -> Any:
    model = their_model(blocks=blocks)
    fill_parameters(model)
    return model.requires_grad_(False)


def our_outputs(networks: Networks) -> dict[str, Tensor]:
    tokens = networks.encoder(CLIPS)
    found = {"encoder": tokens}
    if networks.predictor is not None:
        context = torch.stack([own[ids] for own, ids in zip(tokens, CONTEXT, strict=True)])
        found["predictor"] = networks.predictor(context, CONTEXT, TARGETS, GRID)
    if networks.classifier is not None:
        found["classifier"] = networks.classifier(tokens)
    return found


def their_outputs(model: nn.Module) -> dict[str, Tensor]:
    pixels = CLIPS.permute(0, 2, 1, 3, 4)
    base = getattr(model, "vjepa2", model)
    with torch.no_grad():
        given = base(pixels, context_mask=[CONTEXT], target_mask=[TARGETS])
        found = {
            "encoder": given.last_hidden_state,
            "predictor": given.predictor_output.last_hidden_state,
        }
        if base is not model:
            found["classifier"] = model(pixels).logits
    return found


def off_by(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


BLOCKS = [None, 4, 1]


@pytest.mark.parametrize("blocks", BLOCKS)
def test_theirs_become_ours(blocks: int | None) -> None:
    model = theirs(blocks)
    expected = their_outputs(model)
    assert min(value.square().mean() for value in expected.values()) > 0.3
    assert off_by(our_outputs(from_hf(model)), expected) < TOLERANCE


@pytest.mark.parametrize("blocks", BLOCKS)
def test_ours_become_theirs(blocks: int | None) -> None:
    networks = our_networks(blocks)
    expected = our_outputs(networks)
    assert min(value.square().mean() for value in expected.values()) > 0.3
    assert off_by(their_outputs(to_hf(networks)), expected) < TOLERANCE


@pytest.mark.parametrize("blocks", BLOCKS)
def test_no_bit_changes_on_the_way_there_and_back(blocks: int | None) -> None:
    networks = our_networks(blocks)
    back = from_hf(to_hf(networks))
    assert (back.num_frames, back.size) == (4, SIZE)
    assert back.encoder.config.architecture == networks.encoder.config.architecture
    for name in ("encoder", "predictor", "classifier"):
        one, two = getattr(networks, name), getattr(back, name)
        assert (one is None) == (two is None)
        if one is not None:
            state = two.state_dict()
            assert state.keys() == one.state_dict().keys()
            assert all(torch.equal(state[key], value) for key, value in one.state_dict().items())


def test_any_two_swapped_parameters_of_ours_are_noticed() -> None:
    model = theirs(2)
    expected, networks = their_outputs(model), from_hf(model)
    pairs = []
    for name, module in (
        ("encoder", networks.encoder),
        ("predictor", networks.predictor),
        ("classifier", networks.classifier),
    ):
        assert module is not None
        for pair in swapped_pairs(module):
            alone = replace(networks, predictor=None, classifier=None)
            found = our_outputs(alone if name == "encoder" else replace(alone, **{name: module}))
            pairs.append((pair, off_by({name: found[name]}, {name: expected[name]})))
    assert len(pairs) > 300
    assert [pair for pair, off in pairs if off < NOTICED] == []
    assert off_by(our_outputs(networks), expected) < TOLERANCE  # every swap was undone


def test_any_two_swapped_parameters_of_theirs_are_noticed() -> None:
    networks = our_networks()
    expected, model = our_outputs(networks), to_hf(networks).requires_grad_(False)
    pairs = [(pair, off_by(their_outputs(model), expected)) for pair in swapped_pairs(model)]
    assert len(pairs) > 400
    assert [pair for pair, off in pairs if off < NOTICED] == []


def test_queries_keys_and_values_of_the_pooler_are_told_apart() -> None:
    """Biases of keys change nothing where there are no positions, so matrices only."""
    networks = our_networks(2)
    expected, model = our_outputs(networks), to_hf(networks).requires_grad_(False)
    pairs = [
        (pair, off_by(their_outputs(model), expected))
        for pair in swapped_pairs(model.pooler)
        if pair[0].endswith("weight") and "norm" not in pair[0]
    ]
    assert len(pairs) > 15
    assert [pair for pair, off in pairs if off < NOTICED] == []


def test_the_mask_token_is_the_one_that_transformers_uses() -> None:
    model = theirs()
    tokens = model.predictor.embeddings.mask_tokens
    assert len(tokens) == 3
    predictor = from_hf(model).predictor
    assert predictor is not None
    assert torch.equal(predictor.mask_token, tokens[1, 0, 0])


@pytest.mark.parametrize("out_width", [192, None])
def test_a_predictor_that_cannot_be_held_is_left_out_and_answers_nan(
    out_width: int | None,
) -> None:
    networks = our_networks(out_width=out_width) if out_width else our_networks()
    if out_width is None:
        networks = replace(networks, predictor=None)
    (reason,) = left_out(networks)
    assert ("it predicts 192 values per token" if out_width else "there is none") in reason
    model = to_hf(networks)
    found = their_outputs(model)
    assert found["predictor"].isnan().all()
    assert torch.allclose(found["encoder"], networks.encoder(CLIPS), atol=TOLERANCE)
    assert from_hf(model).predictor is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"positions": "sincos"}, "positions are sincos"),
        ({"positions": "interleaved"}, "positions are interleaved"),
        ({"tubelet": (2, 8, 16)}, "square patches"),
        ({"size": (32, 48)}, "32 x 48 pixels"),
    ],
)
def test_encoders_that_transformers_cannot_hold_are_refused(
    changes: dict[str, Any], reason: str
) -> None:
    size = changes.pop("size", SIZE)
    networks = Networks(encoder=make_encoder(**changes), num_frames=4, size=size)
    with pytest.raises(InteropError, match=reason):
        to_hf(networks)


@pytest.mark.parametrize(
    ("heads", "eps", "reasons"),
    [
        (4, 1e-6, ["4 attention heads, the encoder 2"]),
        (2, 1e-5, ["eps 1e-05"]),
        (4, 1e-5, ["4 attention heads", "eps 1e-05"]),
    ],
)
def test_probes_that_transformers_cannot_hold_are_refused(
    heads: int, eps: float, reasons: list[str]
) -> None:
    classifier = AttentiveClassifier(AttentivePooler(24, heads, 1, eps=eps), 3)
    with pytest.raises(InteropError, match="mode hf") as caught:
        to_hf(replace(our_networks(), classifier=classifier))
    assert all(reason in str(caught.value) for reason in reasons)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer_norm_eps", 1e-5),
        ("hidden_act", "relu"),
        ("in_chans", 1),
        ("qkv_bias", False),
        ("patch_size", [8, 8]),
    ],
)
def test_models_that_vsalt_cannot_hold_are_refused(name: str, value: object) -> None:
    model = their_model()
    setattr(model.config, name, value)
    with pytest.raises(InteropError, match=re.escape(f"its {name} is {value!r}")):
        from_hf(model)


@pytest.mark.parametrize("width", [56, 384, 1408])
def test_hidden_widths_come_out_of_their_ratio(width: int) -> None:
    """Of 56 channels, 488 / 56 is rounded to a ratio that would give 487."""
    hidden = range(8, 8 * width, 8)
    assert [int(width * mlp_ratio(width, one)) for one in hidden] == list(hidden)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What transformers says, from warnings on."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.mark.parametrize("has_predictor", [True, False])
def test_automodel_loads_a_folder_without_a_warning(
    has_predictor: bool, tmp_path: Path, logged: list[str]
) -> None:
    from transformers import AutoModel

    networks = our_networks()
    if not has_predictor:
        networks = replace(networks, predictor=None)
    write_networks(tmp_path, networks)
    model = AutoModel.from_pretrained(tmp_path)
    assert logged == []
    assert not model.training
    tokens = model(CLIPS.transpose(1, 2), skip_predictor=True).last_hidden_state
    assert torch.allclose(tokens, networks.encoder(CLIPS), atol=TOLERANCE)


def test_a_classifier_keeps_its_classes(tmp_path: Path, logged: list[str]) -> None:
    from transformers import AutoModelForVideoClassification

    networks = replace(our_networks(2), classes=("up", "down", "still"))
    write_networks(tmp_path, networks)
    model = AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert logged == []
    assert model.config.id2label == {0: "up", 1: "down", 2: "still"}
    assert off_by(their_outputs(model), our_outputs(networks)) < TOLERANCE
    back = read_hf_folder(tmp_path)
    assert back.classes == ("up", "down", "still")
    assert off_by(our_outputs(back), our_outputs(networks)) < TOLERANCE


def test_folders_of_several_files_and_in_bfloat16_are_read(tmp_path: Path) -> None:
    model = theirs(2).to(torch.bfloat16)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    found = read_hf_folder(tmp_path)
    for one in (found.encoder, found.predictor, found.classifier):
        assert one is not None
        assert {param.dtype for param in one.parameters()} == {torch.float32}
    assert off_by(our_outputs(found), their_outputs(model.float())) < TOLERANCE


def test_weights_as_pickles_are_not_read(tmp_path: Path) -> None:
    model = theirs()
    model.config.architectures = ["VJEPA2Model"]
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"no file named model\.safetensors"):
        read_hf_folder(tmp_path)


def test_their_folders_are_read_strictly(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = theirs(4)
    model.save_pretrained(tmp_path)
    assert off_by(our_outputs(read_hf_folder(tmp_path)), their_outputs(model)) < TOLERANCE
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = "vjepa2.encoder.layer.1.attention.key.bias"
    missing = {key: value for key, value in tensors.items() if key != name}
    save_file(missing, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=f"missing    {name}"):
        read_hf_folder(tmp_path)
    save_file({**tensors, "more": torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="unexpected more"):
        read_hf_folder(tmp_path)
    save_file({**tensors, name: torch.zeros(2)}, path, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=rf"mismatched {name} \[2\], needed \[24\]"):
        read_hf_folder(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"model_type": "vit", "architectures": ["ViTModel"]}', "ViTModel of type 'vit'"),
    ],
)
def test_other_folders_are_refused(config: str | None, message: str, tmp_path: Path) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InteropError, match=message):
        read_hf_folder(tmp_path)
