"""What a student's teachers have cost, down the whole chain, or that it is not known."""

import json
from pathlib import Path

import pytest

from vsalt.training.teachers import teacher_flops


@pytest.mark.parametrize(
    ("method", "meta", "exact", "six_nd"),
    [
        ("pixel", {"flops_exact": 70, "flops_six_nd": 60.5}, 70, 60.5),
        ("vjepa", {"flops_exact": 70, "flops_six_nd": 60.5}, 70, 60.5),
        ("pixel", {"flops_exact": 0, "flops_six_nd": 0.0}, 0, 0.0),  # untrained
        (  # the assistant of three stages, which had a teacher itself
            "salt",
            {
                "flops_exact": 70,
                "flops_six_nd": 60.5,
                "teacher_flops_exact": 30,
                "teacher_flops_six_nd": 20.25,
            },
            100,
            80.75,
        ),
        ("salt", {"flops_exact": 70, "flops_six_nd": 60.5}, None, None),  # an earlier version
        (
            "salt",
            {"flops_exact": 7, "flops_six_nd": 6.5, "teacher_flops_exact": None},
            None,
            None,
        ),
    ],
)
def test_teachers_of_teachers_are_counted(
    method: str,
    meta: dict[str, float | None],
    exact: int | None,
    six_nd: float | None,
    tmp_path: Path,
) -> None:
    assert teacher_flops(tmp_path) == {"teacher_flops_exact": 0, "teacher_flops_six_nd": 0}
    config = {"stage": {"method": {"name": method}}}
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "meta.json").write_text(json.dumps({"config": config, **meta}))
    found = teacher_flops(tmp_path)
    assert found == {"teacher_flops_exact": exact, "teacher_flops_six_nd": six_nd}
