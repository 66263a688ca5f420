"""The frozen teacher: what it returns, and that nothing trains or un-freezes it."""

import numpy as np
import pytest
import torch

from support import slow
from support.tiny import TUBELET, make_clips, make_encoder, make_masks
from vsalt.targets.frozen import FrozenTeacher, TargetNorm


@pytest.mark.parametrize("norm", ["layer_norm", "none"])
def test_targets_are_the_teachers_latents_of_the_whole_clip(norm: TargetNorm) -> None:
    encoder, clips = make_encoder(), make_clips(2)
    ids = make_masks(2, (2, 2, 3), 4, 1).context[:, [2, 0, 3, 1]]
    target = FrozenTeacher(encoder, norm)
    ours = target.open(clips)(ids)
    assert ours.shape == (2, 4, target.width) == (2, 4, 24)
    params = slow.params_of(encoder)
    for clip in range(2):
        everything = slow.encode(
            params, clips[clip].numpy(), list(range(12)), tubelet=TUBELET, heads=2
        )
        for place, token in enumerate(ids[clip].tolist()):
            expected = everything[token]
            if norm == "layer_norm":
                expected = slow.layer_norm(expected, 1e-5)
            np.testing.assert_allclose(ours[clip, place], expected, atol=3e-5)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_a_chosen_layer_gives_its_output_without_the_final_norm_of_the_last(layer: int) -> None:
    encoder, clips = make_encoder(depth=3), make_clips(2)
    outputs: list[torch.Tensor] = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda *called: outputs.append(called[-1]))
    with torch.no_grad():
        last = encoder(clips)
    wanted = [outputs[0], outputs[1], last][layer]
    outputs.clear()
    found = FrozenTeacher(encoder, "none", layer=layer).open(clips)(torch.arange(12).expand(2, 12))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert len(outputs) == layer % 3 + 1  # blocks after it are not computed
    assert not torch.allclose(outputs[-1], last)


def test_a_layer_that_is_not_there_is_refused() -> None:
    for layer in (2, -3):
        with pytest.raises(ValueError, match="the encoder has 2 blocks"):
            FrozenTeacher(make_encoder(), "none", layer=layer)


def test_one_opening_serves_all_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, clips = FrozenTeacher(make_encoder(), "layer_norm"), make_clips(2)
    calls = []
    forward = teacher.encoder.forward
    monkeypatch.setattr(
        teacher.encoder, "forward", lambda *args: calls.append(len(args)) or forward(*args)
    )
    target_at = teacher.open(clips)
    everything = target_at(torch.arange(12).expand(2, 12))
    assert torch.equal(target_at(torch.tensor([[3, 5], [7, 0]]))[1, 0], everything[1, 7])
    assert calls == [1]  # the clips only: no ids, hence the whole clip


def test_a_teacher_is_frozen_for_good() -> None:
    encoder = make_encoder()
    encoder.train()
    teacher = FrozenTeacher(encoder, "layer_norm")
    assert not any(module.training for module in teacher.modules())
    assert not any(param.requires_grad for param in teacher.parameters())
    assert teacher.train() is teacher
    torch.nn.ModuleDict({"teacher": teacher}).train()
    assert not any(module.training for module in teacher.modules())

    before = {name: param.clone() for name, param in teacher.named_parameters()}
    with torch.enable_grad():
        target = teacher.open(make_clips(1))(torch.tensor([[0, 5]]))
    assert not target.requires_grad
    prediction = torch.zeros_like(target, requires_grad=True)
    (prediction - target).square().sum().backward()
    for name, param in teacher.named_parameters():
        assert param.grad is None
        assert torch.equal(param, before[name])


def test_targets_are_float32_under_autocast() -> None:
    teacher = FrozenTeacher(make_encoder(), "layer_norm")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        target = teacher.open(make_clips(1))(torch.tensor([[0, 5]]))
    assert target.dtype == torch.float32
    # Standardised after the cast: rounding to bfloat16 would leave means of about 1e-3.
    assert target.mean(dim=-1).abs().max() < 1e-6
