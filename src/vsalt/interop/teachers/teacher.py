"""A model of transformers that gives tokens of the student's grid.

    clip -> frames it takes, its resolution, its standardisation -> model up to the chosen block
         -> without class and register tokens -> its own grid -> resampled to the student's

Shapes: B clips of T frames, f frames of a tubelet that are encoded, n images, D channels.
"""

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vsalt import durable
from vsalt.compute.types import ClipFlops, ClipShapes
from vsalt.errors import ConfigError, InteropError
from vsalt.interop.extras import quiet_transformers
from vsalt.interop.teachers.adapters import Adapter
from vsalt.interop.teachers.grids import resample_tokens
from vsalt.interop.teachers.pixels import PROCESSORS, Preparation
from vsalt.masking.types import Grid
from vsalt.models.config import grid_of
from vsalt.models.weights import obey_umask, weights_hash
from vsalt.targets.outside import OutsideTeacher


class HfTeacher(OutsideTeacher):
    """A model of transformers as the frozen teacher of one student.

    The last block's output goes through the model's final norm, if it has one; that of any other
    block does not, and the blocks after it are not computed.

    Args:
        model: as `read_hf_teacher` loads it.
        adapter: how it is called.
        preparation: of its pixels.
        source: where it comes from.
        processor: the file of its preprocessing, which is kept with it.
        layer: number of the block that gives the tokens, from 0.
        tubelet: the student's.
        frames: of a model that sees single frames, which of a tubelet are encoded.
    """

    def __init__(
        self,
        model: Any,
        adapter: Adapter,
        preparation: Preparation,
        *,
        source: str,
        processor: dict[str, Any],
        layer: int,
        tubelet: tuple[int, int, int],
        frames: Literal["first", "mean"],
    ) -> None:
        super().__init__()
        config = model.config
        self.width = int(config.hidden_size)
        self.sha256 = _hash(model, preparation)
        self.num_params = sum(param.numel() for param in model.parameters())
        self.model = model
        self.adapter = adapter
        self.preparation = preparation
        self.source = source
        self.layer = layer
        self.tubelet = tubelet
        self.frames = frames
        self._processor = processor
        self._num_extra = adapter.num_extra(config)
        # A clip-wise model's own tubelet has another number of frames than the student's, perhaps.
        self._own_frames = int(config.tubelet_size) if adapter.sees == "clips" else 1
        self._num_frames = getattr(config, adapter.num_frames) if adapter.num_frames else None
        self._is_last = layer == config.num_hidden_layers - 1
        # Kept for `save`, in a dict and a list, which no device move or parameter count sees.
        self._unused = {name: getattr(model, name) for name in adapter.unused}
        for name in self._unused:
            delattr(model, name)
        self._blocks = _blocks(model, config.num_hidden_layers)
        self._later_blocks = [*self._blocks[layer + 1 :]]
        del self._blocks[layer + 1 :]
        self.eval()

    def forward(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        """Return its tokens on the student's grid, in raster order.

        Raises:
            ConfigError: if it cannot see clips of this length.
        """
        grid = grid_of(clips.shape[2], (clips.shape[3], clips.shape[4]), self.tubelet)
        tokens = self._of_clips(clips) if self.adapter.sees == "clips" else self._of_frames(clips)
        return resample_tokens(tokens, grid).flatten(1, 3)

    def flops(self, shapes: ClipShapes) -> ClipFlops:
        """Return the operations of one forward pass over a clip.

        Exact: patches, and all linear maps and the attention of every block, at its own numbers of
        images and tokens; resampling is not counted. 6 N D convention: 2 N per token of its own.
        """
        num_times, height, width = self._own_grid(shapes.grid[0] * self.tubelet[0])
        # Of a model that sees frames, every time step of the grid is one image.
        num_images, times = (1, num_times) if self.adapter.sees == "clips" else (num_times, 1)
        if self.adapter.sees == "frames" and self.frames == "mean":
            num_images *= self.tubelet[0]
        patches = times * height * width
        tokens = patches + self._num_extra
        patch_values = 3 * self._own_frames * self.preparation.patch**2
        exact = 2 * patches * patch_values * self.width
        exact += sum(_block_flops(block, tokens, self.width) for block in self._blocks)
        num_params = sum(param.numel() for param in self.model.parameters())
        return ClipFlops(exact=num_images * exact, six_nd=2.0 * num_params * num_images * tokens)

    def origin(self) -> dict[str, Any]:
        """Return where it comes from and how it is used, as plain values for meta.json."""
        is_folder = Path(self.source).is_dir()
        return {
            "format": "transformers",
            "source": Path(os.path.abspath(self.source)).name if is_folder else self.source,
            "model": self.adapter.model,
            "layer": self.layer,
            "frames": self.frames if self.adapter.sees == "frames" else None,
            "size": list(self.preparation.size),
        }

    def describe(self) -> str:
        """Return the same in one line."""
        height, width = self.preparation.size
        if self.adapter.sees == "frames":
            which = "the first frame" if self.frames == "first" else "all frames"
            seen = f"{which} of each tubelet"
        elif self._num_frames is None:
            seen = "whole clips"
        else:
            seen = f"{self._num_frames} frames of each clip"
        rows, columns = self.preparation.grid
        last = "the last, as the model gives it" if self._is_last else "before the final norm"
        return (
            f"{self.adapter.model} of {self.source} sees {seen} at {height} x {width} pixels; its "
            f"{rows} x {columns} tokens of {self.width} channels are resampled to the student's "
            f"grid; block {self.layer}, {last}"
        )

    def save(self, folder: Path) -> None:
        """Write the whole network and the file of its preprocessing into a folder that is there."""
        self._blocks.extend(self._later_blocks)
        for name, part in self._unused.items():
            setattr(self.model, name, part)
        try:
            with quiet_transformers():
                self.model.save_pretrained(folder)
        finally:
            del self._blocks[self.layer + 1 :]
            for name in self._unused:
                delattr(self.model, name)
        for path in folder.glob("*.safetensors"):
            obey_umask(path)
        durable.write_json(folder / PROCESSORS[0][0], self._processor)

    def _of_clips(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B t h w D"]:
        grid = self._own_grid(clips.shape[2])
        if self._num_frames is not None:
            clips = clips[:, :, _spread(clips.shape[2], self._num_frames)]
        frames = self.preparation.apply(clips.transpose(1, 2).flatten(0, 1))
        tokens = self._tokens(frames.unflatten(0, (clips.shape[0], -1)))
        on_grid: Tensor = tokens.unflatten(1, grid)
        return on_grid

    def _of_frames(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B t h w D"]:
        num_times, height, width = self._own_grid(clips.shape[2])
        tubelets = clips.unflatten(2, (num_times, self.tubelet[0])).permute(0, 2, 3, 1, 4, 5)
        if self.frames == "first":
            tubelets = tubelets[:, :, :1]
        frames = self.preparation.apply(tubelets.flatten(0, 2))
        tokens = self._tokens(frames).unflatten(0, tubelets.shape[:3]).mean(dim=2)
        on_grid: Tensor = tokens.unflatten(2, (height, width))
        return on_grid

    def _own_grid(self, num_frames: int) -> Grid:
        """Return the grid of its own tokens for clips of so many frames.

        Raises:
            ConfigError: if its tubelets do not divide them.
        """
        height, width = self.preparation.grid
        if self.adapter.sees == "frames":
            return num_frames // self.tubelet[0], height, width
        seen = self._num_frames or num_frames
        if seen % self._own_frames:
            raise ConfigError(
                [
                    f"a clip has {num_frames} frames, which the teacher's tubelets of "
                    f"{self._own_frames} frames do not divide; change --clip.num-frames or, for "
                    "images, --encoder.tubelet"
                ]
            )
        return seen // self._own_frames, height, width

    def _tokens(self, pixels: Float[Tensor, "n *_"]) -> Float[Tensor, "n N D"]:
        """Run the model up to its block, and leave out class and register tokens."""
        outputs: list[Any] = []
        hook = self._blocks[-1].register_forward_hook(lambda *called: outputs.append(called[-1]))
        try:
            found = self.adapter.call(self.model, pixels).last_hidden_state
        finally:
            hook.remove()
        if not self._is_last:
            (found,) = outputs
            found = found[0] if isinstance(found, tuple) else found
        tokens: Tensor = found[:, self._num_extra :]
        return tokens


def _hash(model: nn.Module, preparation: Preparation) -> str:
    """Return the SHA-256 (hex) of all weights and of how pixels are prepared for them."""
    prepared = repr(sorted(asdict(preparation).items()))
    return hashlib.sha256(f"{weights_hash(model.state_dict())} {prepared}".encode()).hexdigest()


def _spread(given: int, wanted: int) -> list[int]:
    """Return which frames of a clip are shown to a model that takes another number of them.

    Example:
        >>> _spread(4, 8), _spread(8, 4)
        ([0, 0, 1, 1, 2, 2, 3, 3], [1, 3, 5, 7])
    """
    return [int((index + 0.5) * given / wanted) for index in range(wanted)]


def _blocks(model: nn.Module, depth: int) -> nn.ModuleList:
    """Return the blocks of a model's encoder, wherever this version of transformers keeps them."""
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if len(found) != 1:
        raise InteropError(
            f"the blocks of {type(model).__name__} cannot be told in this version of transformers: "
            f"{len(found)} lists of {depth} modules"
        )
    return found[0]


def _block_flops(block: nn.Module, num_tokens: int, width: int) -> int:
    """Return the operations of a block: 2 n a b of every linear map a -> b, attention 4 n^2 d."""
    linear = sum(
        2 * num_tokens * part.in_features * part.out_features
        for part in block.modules()
        if isinstance(part, nn.Linear)
    )
    return linear + 4 * num_tokens**2 * width
