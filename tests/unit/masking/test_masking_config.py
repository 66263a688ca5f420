"""Mask settings: what is refused, and all of it at once."""

import pytest

from vsalt.errors import ConfigError
from vsalt.masking.config import BlocksConfig, MultiblockConfig


def test_wrong_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        BlocksConfig(
            num_blocks=0,
            spatial_scale=1.01,
            temporal_scale=0.0,
            max_temporal_keep=1.5,
            num_context=0,
            num_targets=-1,
        )
    assert caught.value.problems == [
        "masks num-blocks is 0; it must be at least 1",
        "masks spatial-scale is 1.01; it must be in (0, 1]",
        "masks temporal-scale is 0.0; it must be in (0, 1]",
        "masks max-temporal-keep is 1.5; it must be in (0, 1]",
        "masks num-context is 0; it must be at least 1",
        "masks num-targets is -1; it must be at least 1",
    ]
    BlocksConfig(num_blocks=1, spatial_scale=1.0, temporal_scale=1.0, num_context=1)


@pytest.mark.parametrize("ratio", [(0.0, 1.0), (1.5, 0.75), (-1.0, 1.0), (float("nan"), 1.0)])
def test_an_aspect_ratio_is_a_range_above_zero(ratio: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"masks\.aspect-ratio is .*0 < low <= high"):
        MultiblockConfig(aspect_ratio=ratio)


def test_there_is_a_pair_of_masks() -> None:
    with pytest.raises(ConfigError, match=r"masks\.num-pairs is 0; it must be at least 1"):
        MultiblockConfig(num_pairs=0)


def test_the_defaults_are_vjepas() -> None:
    config = MultiblockConfig()
    assert list(config.kinds) == ["short", "long"]
    assert config.kind_names == ("short", "long")
    assert (config.policy, config.group_size) == ("budget", 24)
    assert config.kinds["short"] == BlocksConfig(num_blocks=8, spatial_scale=0.15)
    assert config.kinds["long"] == BlocksConfig(num_blocks=2, spatial_scale=0.7)
    assert config.aspect_ratio == (0.75, 1.5)
