"""The networks and targets once more: one clip at a time, in float64 numpy, from the formulas.

Nothing here calls vsalt. Formulas: docs of V-JEPA 2 (arXiv 2506.09985) for the networks, VideoMAE
(arXiv 2203.12602) and MAE (arXiv 2111.06377) for pixel targets.
"""

import math

import numpy as np
from torch import nn

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1, 1)
IMAGENET_STD = np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1, 1)

Params = dict[str, np.ndarray]


def params_of(module: nn.Module, prefix: str = "") -> Params:
    """A module's parameters as float64 arrays, by name."""
    return {
        prefix + name: param.detach().double().numpy() for name, param in module.named_parameters()
    }


def position(token: int, grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """(time, row, column) of a token id."""
    frame, rest = divmod(token, grid[1] * grid[2])
    row, column = divmod(rest, grid[2])
    return frame, row, column


def cube(
    clip: np.ndarray, token: int, tubelet: tuple[int, int, int], grid: tuple[int, int, int]
) -> np.ndarray:
    """The pixels (3, t, h, w) of one token."""
    starts = [place * size for place, size in zip(position(token, grid), tubelet, strict=True)]
    t, h, w = (slice(start, start + size) for start, size in zip(starts, tubelet, strict=True))
    return clip[:, t, h, w]


def pixel_target(pixels: np.ndarray, normalise: str) -> np.ndarray:
    """Standardised pixels of one cube (3, t, h, w) with values in [0, 1], colour fastest."""
    colours, *extent = pixels.shape
    flat = pixels.reshape(colours, -1)
    if normalise == "per_channel":
        rows = []
        for channel in flat:
            mean = sum(channel) / len(channel)
            variance = sum((channel - mean) ** 2) / (len(channel) - 1)
            rows.append((channel - mean) / (math.sqrt(variance) + 1e-6))
        flat = np.array(rows)
    elif normalise == "joint":
        mean = flat.sum() / flat.size
        variance = ((flat - mean) ** 2).sum() / (flat.size - 1)
        flat = (flat - mean) / math.sqrt(variance + 1e-6)
    return np.array([flat[c, i] for i in range(math.prod(extent)) for c in range(colours)])


def turn(x: np.ndarray, place: tuple[int, int, int], mode: str) -> np.ndarray:
    """Rotary positions on one head's channels of one token, channel by channel."""
    axis_dim = 2 * ((len(x) // 3) // 2)
    half = axis_dim // 2
    out = x.copy()
    for axis, p in enumerate(place):
        for i in range(axis_dim):
            j = i % half if mode == "vjepa2" else i // 2
            angle = p * 10000.0 ** (-j / half)
            here = axis * axis_dim + i
            partner = -x[here + 1] if i % 2 == 0 else x[here - 1]
            out[here] = x[here] * math.cos(angle) + partner * math.sin(angle)
    return out


def sincos(width: int, place: tuple[int, int, int]) -> np.ndarray:
    """V-JEPA's fixed positions of one token, channel by channel."""
    half = math.ceil(width / 6)
    channels = []
    for p in place:
        angles = [p * 10000.0 ** (-j / half) for j in range(half)]
        channels += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
    return np.array(channels[:width])


def layer_norm(x: np.ndarray, eps: float) -> np.ndarray:
    """Standardise one token."""
    mean = x.mean()
    return (x - mean) / math.sqrt(((x - mean) ** 2).mean() + eps)


def _norm(params: Params, name: str, x: np.ndarray) -> np.ndarray:
    rows = [layer_norm(row, 1e-6) for row in x]
    return np.array(rows) * params[f"{name}.weight"] + params[f"{name}.bias"]


def _linear(params: Params, name: str, x: np.ndarray) -> np.ndarray:
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def _attention(
    params: Params, name: str, x: np.ndarray, places: list, heads: int, mode: str
) -> np.ndarray:
    width = x.shape[1]
    d = width // heads
    qkv = _linear(params, f"{name}.qkv", x)
    mixed = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        q, k, v = (qkv[:, i * width : (i + 1) * width][:, part] for i in range(3))
        if mode != "sincos":
            q = [turn(row, place, mode) for row, place in zip(q, places, strict=True)]
            k = [turn(row, place, mode) for row, place in zip(k, places, strict=True)]
        for n in range(len(x)):
            logits = np.array([q[n] @ key for key in k]) / math.sqrt(d)
            weights = np.exp(logits - logits.max())
            mixed[n, part] = (weights / weights.sum()) @ v
    return _linear(params, f"{name}.proj", mixed)


def _mlp(params: Params, name: str, x: np.ndarray) -> np.ndarray:
    hidden = _linear(params, f"{name}.fc1", x)
    gelu = np.vectorize(lambda value: value * (1 + math.erf(value / math.sqrt(2))) / 2)
    return _linear(params, f"{name}.fc2", gelu(hidden))


def _blocks(params: Params, x: np.ndarray, places: list, heads: int, mode: str) -> np.ndarray:
    if mode == "sincos":
        x = x + np.array([sincos(x.shape[1], place) for place in places])
    depth = len({name.split(".")[1] for name in params if name.startswith("blocks.")})
    for i in range(depth):
        block = f"blocks.{i}"
        normed = _norm(params, f"{block}.norm1", x)
        x = x + _attention(params, f"{block}.attn", normed, places, heads, mode)
        x = x + _mlp(params, f"{block}.mlp", _norm(params, f"{block}.norm2", x))
    return x


def encode(
    params: Params,
    clip: np.ndarray,
    ids: list[int],
    *,
    tubelet: tuple[int, int, int],
    heads: int,
    mode: str = "vjepa2",
) -> np.ndarray:
    """Encode the tokens `ids` of one uint8 clip (3, T, H, W)."""
    grid = tuple(size // part for size, part in zip(clip.shape[1:], tubelet, strict=True))
    frames = (clip.astype(np.float64) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    weight = params["tokenizer.projection.weight"].reshape(-1, 3 * math.prod(tubelet))
    cubes = np.array([cube(frames, token, tubelet, grid).ravel() for token in ids])
    x = cubes @ weight.T + params["tokenizer.projection.bias"]
    places = [position(token, grid) for token in ids]
    return _norm(params, "norm", _blocks(params, x, places, heads, mode))


def predict(
    params: Params,
    latents: np.ndarray,
    context: list[int],
    targets: list[int],
    grid: tuple[int, int, int],
    *,
    heads: int,
    mode: str = "vjepa2",
) -> np.ndarray:
    """Predict what stands at `targets` of one clip."""
    hidden = [params["mask_token"]] * len(targets)
    x = np.concatenate([_linear(params, "embed", latents), np.array(hidden)])
    places = [position(token, grid) for token in [*context, *targets]]
    x = _norm(params, "norm", _blocks(params, x, places, heads, mode))
    return _linear(params, "out", x[len(context) :])
