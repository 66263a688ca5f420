"""Whether converted networks still compute the same, on small models with random weights.

Every parameter is filled with random values of its own, norms and biases too, so that two that are
mistaken for each other show. transformers' forward is what ours is compared with, in both
directions; the original checkpoints' names are read from a state that is built from a transformers
model by hand.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vsalt.interop.extras import quiet_transformers
from vsalt.interop.hf_folder import read_hf_folder, write_networks
from vsalt.interop.networks import Networks, encoder_config
from vsalt.interop.original import OriginalSettings, read_original
from vsalt.interop.vjepa2_hf import from_hf, to_hf
from vsalt.models.config import Architecture, PredictorConfig
from vsalt.models.pooler import AttentiveClassifier, AttentivePooler
from vsalt.models.predictor import Predictor
from vsalt.models.vit import NORM_EPS, Encoder

TOLERANCE = 1e-5
GRID = (2, 4, 4)
NUM_FRAMES, SIZE, TUBELET = 4, 32, (2, 8, 8)
ENCODER = Architecture(24, 2, 2, 72)
PREDICTOR = Architecture(40, 2, 2, 80)
NUM_CLASSES = 5
NUM_CLIPS = 3
FROM, TO = "transformers to vsalt", "vsalt to transformers"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison.

    Attributes:
        model: what was compared.
        direction: of the conversion.
        max_error: largest absolute difference over all outputs, whose mean square is about 1.
    """

    model: str
    direction: str
    max_error: float


def self_test() -> list[Row]:
    """Convert small models in every direction and compare what they compute.

    Raises:
        MissingExtraError: if transformers is not installed.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        return [*_model_rows(), *_folder_rows(), *_original_rows()]


def fill(module: nn.Module) -> nn.Module:
    """Give every parameter random values large enough to matter; norms stay near 1."""
    with torch.no_grad():
        for name, param in module.named_parameters():
            deviation = 1.2 / param[0].numel() ** 0.5 if param.ndim == 2 else 0.3
            values = deviation * torch.randn(param.shape)
            is_norm = "norm" in name and name.endswith("weight")
            param.copy_(values + 1 if is_norm else values)
    return module.eval()


def their_model(*, blocks: int | None = None) -> Any:
    """Return a small transformers model with random weights.

    Args:
        blocks: of the classifier's pooler, the query's included; None: no classifier.
    """
    with quiet_transformers() as package:
        config = package.VJEPA2Config(
            patch_size=TUBELET[1],
            crop_size=SIZE,
            frames_per_clip=NUM_FRAMES,
            tubelet_size=TUBELET[0],
            hidden_size=ENCODER.width,
            num_attention_heads=ENCODER.heads,
            num_hidden_layers=ENCODER.depth,
            mlp_ratio=ENCODER.mlp_width / ENCODER.width,
            pred_hidden_size=PREDICTOR.width,
            pred_num_attention_heads=PREDICTOR.heads,
            pred_num_hidden_layers=PREDICTOR.depth,
            pred_mlp_ratio=PREDICTOR.mlp_width / PREDICTOR.width,
            pred_num_mask_tokens=3,
            num_pooler_layers=(blocks or 4) - 1,
            num_labels=NUM_CLASSES,
        )
        if blocks is None:
            return fill(package.VJEPA2Model(config))
        return fill(package.VJEPA2ForVideoClassification(config))


def our_networks(*, blocks: int | None = None) -> Networks:
    """Return the same of ours, with other random weights."""
    config = encoder_config(ENCODER, TUBELET)
    predictor = PredictorConfig(**PREDICTOR._asdict())
    width = ENCODER.width
    classifier = None
    if blocks is not None:
        pooler = AttentivePooler(width, ENCODER.heads, blocks, eps=NORM_EPS)
        classifier = AttentiveClassifier(pooler, NUM_CLASSES)
        fill(classifier)
    encoder = Encoder(config)
    head = Predictor(predictor, in_width=width, out_width=width, positions=config.positions)
    fill(encoder)
    fill(head)
    return Networks(
        encoder=encoder,
        num_frames=NUM_FRAMES,
        size=(SIZE, SIZE),
        predictor=head,
        classifier=classifier,
    )


Outputs = dict[str, Tensor]


def clips_and_ids() -> tuple[Tensor, Tensor, Tensor]:
    """Return standardised clips, and ids of context and target tokens."""
    clips = torch.randn(NUM_CLIPS, 3, NUM_FRAMES, SIZE, SIZE)
    num_tokens = GRID[0] * GRID[1] * GRID[2]
    order = torch.stack([torch.randperm(num_tokens) for _ in range(NUM_CLIPS)])
    return clips, order[:, :9], order[:, 9:20]


def our_outputs(networks: Networks, clips: Tensor, context: Tensor, targets: Tensor) -> Outputs:
    """Return what ours compute: tokens, predictions from some of them, scores of classes."""
    tokens = networks.encoder(clips)
    found = {"encoder": tokens}
    if networks.predictor is not None:
        seen = tokens.gather(1, context[..., None].expand(-1, -1, tokens.shape[-1]))
        found["predictor"] = networks.predictor(seen, context, targets, GRID)
    if networks.classifier is not None:
        found["classifier"] = networks.classifier(tokens)
    return found


def their_outputs(model: Any, clips: Tensor, context: Tensor, targets: Tensor) -> Outputs:
    """Return the same of a transformers model, which takes frames before colours."""
    pixels = clips.transpose(1, 2)
    base = getattr(model, "vjepa2", model)
    given = base(pixel_values_videos=pixels, context_mask=[context], target_mask=[targets])
    found = {
        "encoder": given.last_hidden_state,
        "predictor": given.predictor_output.last_hidden_state,
    }
    if base is not model:
        found["classifier"] = model(pixel_values_videos=pixels).logits
    return found


def _model_rows() -> Iterator[Row]:
    for blocks in (None, 4, 1):
        name = "VJEPA2Model" if blocks is None else "VJEPA2ForVideoClassification"
        note = "" if blocks is None else f", {blocks} block{'s' if blocks > 1 else ''}"
        parts = ("encoder", "predictor") if blocks is None else ("classifier",)
        theirs, ours = their_model(blocks=blocks), our_networks(blocks=blocks)
        for direction, (model, networks) in {
            FROM: (theirs, from_hf(theirs)),
            TO: (to_hf(ours), ours),
        }.items():
            errors = _errors(model, networks)
            for part in parts:
                yield Row(
                    model=f"{name}, {part}{note}", direction=direction, max_error=errors[part]
                )


def _folder_rows() -> Iterator[Row]:
    """Through `save_pretrained` folders."""
    with tempfile.TemporaryDirectory() as name, quiet_transformers() as package:
        folder = Path(name)
        theirs = their_model(blocks=4)
        theirs.save_pretrained(folder / "theirs")
        errors = _errors(theirs, read_hf_folder(folder / "theirs"))
        yield _worst("VJEPA2ForVideoClassification, folder", FROM, errors)
        ours = our_networks()
        write_networks(folder / "ours", ours)
        loaded = package.AutoModel.from_pretrained(folder / "ours", local_files_only=True)
        yield _worst("AutoModel, folder", TO, _errors(loaded.eval(), ours))


def _original_rows() -> Iterator[Row]:
    """From an original checkpoint, whose network is a transformers model under other names."""
    theirs = their_model()
    settings = OriginalSettings(
        role="target_encoder",
        num_frames=NUM_FRAMES,
        size=SIZE,
        heads=ENCODER.heads,
        predictor_heads=PREDICTOR.heads,
    )
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "latest.pt"
        torch.save(original_state(theirs), path)
        errors = _errors(theirs, read_original(path, settings).networks)
    for part in ("encoder", "predictor"):
        yield Row(
            model=f"original checkpoint, {part}",
            direction="original to vsalt",
            max_error=errors[part],
        )


def original_state(model: Any) -> dict[str, Any]:
    """Return an original checkpoint with the weights of a `VJEPA2Model`, as V-JEPA 2 saves one."""
    state = model.state_dict()
    encoder = {
        "patch_embed.proj": "encoder.embeddings.patch_embeddings.proj",
        "norm": "encoder.layernorm",
    }
    predictor = {
        "predictor_embed": "predictor.embeddings.predictor_embeddings",
        "predictor_norm": "predictor.layernorm",
        "predictor_proj": "predictor.proj",
    }
    parts = {
        "target_encoder": _original_part(state, encoder, "blocks", "encoder.layer"),
        "predictor": _original_part(state, predictor, "predictor_blocks", "predictor.layer"),
    }
    for index, token in enumerate(state["predictor.embeddings.mask_tokens"]):
        parts["predictor"][f"mask_tokens.{index}"] = token
    parts["encoder"] = {name: value / 2 for name, value in parts["target_encoder"].items()}
    return {
        name: {f"module.backbone.{key}": value for key, value in part.items()}
        for name, part in parts.items()
    } | {"epoch": 3, "loss": 0.5}


def _original_part(
    state: dict[str, Tensor], names: dict[str, str], blocks: str, their_blocks: str
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        found |= {f"{own}.{kind}": state[f"{name}.{kind}"] for own, name in names.items()}
        for index in range(ENCODER.depth):
            own, name = f"{blocks}.{index}", f"{their_blocks}.{index}"
            for module in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                found[f"{own}.{module}.{kind}"] = state[f"{name}.{module}.{kind}"]
            found[f"{own}.attn.proj.{kind}"] = state[f"{name}.attention.proj.{kind}"]
            query, key, value = (
                state[f"{name}.attention.{one}.{kind}"] for one in ("query", "key", "value")
            )
            found[f"{own}.attn.qkv.{kind}"] = torch.cat([query, key, value])
    return found


def _errors(model: Any, networks: Networks) -> dict[str, float]:
    inputs = clips_and_ids()
    theirs, ours = their_outputs(model, *inputs), our_outputs(networks, *inputs)
    return {name: float((theirs[name] - ours[name]).abs().max()) for name in ours}


def _worst(model: str, direction: str, errors: dict[str, float]) -> Row:
    worst = float(torch.tensor([*errors.values()]).max())  # NaN if one of them is
    return Row(model=model, direction=direction, max_error=worst)
