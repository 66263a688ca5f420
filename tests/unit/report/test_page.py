"""The whole page: well-formed, alone in the world, honest about what is missing."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.markup import Page
from support.report_runs import (
    train_records,
    val_records,
    write_lines,
    write_probe,
    write_salt,
    write_stage,
)
from vsalt.errors import DataError
from vsalt.report import picture_section
from vsalt.report.picture import Picture
from vsalt.report.write import write_report

HOSTILE = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>\x1b[31m"
PNG = b"\x89PNG\r\n\x1a\n"

Draw = Callable[..., Sequence[Picture]]


def picture(**changes: Any) -> Picture:
    values = {"title": "Masks", "caption": "Of a clip.", "alt": "Squares.", "png": PNG}
    return Picture(
        **{**values, "width": 400, "height": 100, "rows": ("clip",), "num_columns": 4, **changes}
    )


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[[Draw], None]:
    """Puts other pictures in the place of those that need videos and a network."""
    return lambda function: monkeypatch.setattr(picture_section, "draw", function)


def report(tmp_path: Path, *runs: Path, probes: Sequence[Path] = (), **options: Any) -> Page:
    out = tmp_path / "page" / "report.html"
    write_report(runs, probes, out, **{"num_clips": 0, **options})
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    return Page(out.read_text(encoding="utf-8"))


def section(page: Page, anchor: str) -> str:
    (found,) = [one for one in page.all("section") if one.attributes["id"] == anchor]
    return found.text


def test_a_finished_run_has_all_sections(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    page = report(tmp_path, run, probes=[write_probe(tmp_path / "probe")])
    assert [one.text for one in page.all("h1")] == ["run"]
    assert [one.attributes["id"] for one in page.all("section")] == [
        *("overview", "probes", "curves", "pictures", "cost", "warnings", "quarantine"),
        *("environment", "settings"),
    ]
    assert "0.2500" in section(page, "overview")
    assert "1 min 20 s" in section(page, "cost")
    assert "4.00" in section(page, "cost")
    assert "25.0 %" in section(page, "cost")
    assert "70.0 %" in section(page, "probes")
    assert "61.0 to 79.0 %" in section(page, "probes")
    assert "Weights of student: /runs/student/checkpoints/step-40, of step 40." in section(
        page, "probes"
    )
    assert "2.13" in section(page, "environment")
    assert '"frame_step": 1' in section(page, "settings")


def test_the_page_loads_nothing_and_runs_nothing(
    tmp_path: Path, draw: Callable[[Draw], None]
) -> None:
    draw(lambda *_, **__: [picture()])
    run = write_salt(tmp_path / "run", source="https://example.org/videos.csv")
    page = report(tmp_path, run, probes=[write_probe(tmp_path / "probe")], num_clips=1)
    assert not page.all("script", "link", "iframe", "object", "embed", "base", "form")
    for one in page.elements:
        assert not [name for name in one.attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data", "poster", "style"):
            value = one.attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
    (policy,) = [one for one in page.all("meta") if "http-equiv" in one.attributes]
    assert policy.attributes["content"].startswith("default-src 'none'")
    (css,) = page.all("style")
    assert "://" not in css.text
    assert "url(" not in css.text


def test_it_can_be_read_by_everyone(tmp_path: Path, draw: Callable[[Draw], None]) -> None:
    draw(lambda *_, **__: [picture()])
    runs = [write_salt(tmp_path / name) for name in ("one", "two")]
    page = report(tmp_path, *runs, probes=[write_probe(tmp_path / "probe")], num_clips=1)
    (html,) = page.all("html")
    assert html.attributes["lang"] == "en"
    assert any(one.attributes.get("name") == "viewport" for one in page.all("meta"))
    assert [len(page.all(name)) for name in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    levels = [int(one.tag[1]) for one in page.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = {one.attributes["id"] for one in page.elements if "id" in one.attributes}
    first = page.all("a")[0]
    assert first.attributes == {"href": "#content", "class": "skip"}
    assert {one.attributes["href"][1:] for one in page.all("a")} <= ids
    for one in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert one.attributes.get(name, "content") in ids
    for one in page.all("svg"):
        assert one.attributes.get("role") == "img" or one.attributes["aria-hidden"] == "true"
    assert all(one.attributes["alt"] for one in page.all("img"))
    scrolling = [one for one in page.all("div") if one.attributes.get("class") == "scroll"]
    assert len(scrolling) == len(page.all("table", "img", "pre"))
    for one in scrolling:
        assert (one.attributes["tabindex"], one.attributes["role"]) == ("0", "region")
        assert one.attributes["aria-label"]


def test_hostile_names_are_shown_and_do_nothing(
    tmp_path: Path, draw: Callable[[Draw], None]
) -> None:
    def refuse(folder: Path, **_: object) -> list[Picture]:
        if folder.name == "teacher":
            raise DataError(HOSTILE)
        return [picture(title=HOSTILE, caption=HOSTILE, alt=HOSTILE)]

    draw(refuse)
    run = write_salt(tmp_path / "run<script>'\"", source=HOSTILE, teacher_sha256=HOSTILE)
    bad = {"step": 3, "position": 0, "attempt": 0, "path": HOSTILE, "error": HOSTILE}
    write_lines(run / "teacher" / "quarantine.jsonl", [bad])
    warning = {"step": 5, "kind": HOSTILE, "message": HOSTILE, "cause": HOSTILE}
    write_lines(run / "teacher" / "warnings.jsonl", [{**warning, "clips": [HOSTILE]}])
    probe = write_probe(tmp_path / "probe", names=[HOSTILE], classes=[HOSTILE, "b"], source=HOSTILE)
    page = report(tmp_path, run, probes=[probe], num_clips=1, title=HOSTILE)
    shown = HOSTILE.replace("\x1b", "\\x1b")
    assert not page.all("script")
    assert all(one.attributes["src"].startswith("data:") for one in page.all("img"))
    assert [one.text for one in page.all("h1")] == [shown]
    for anchor, times in (("quarantine", 2), ("warnings", 4), ("probes", 5), ("pictures", 3)):
        assert section(page, anchor).count(shown) >= times, anchor
    assert "\x1b" not in page.text


def test_what_is_missing_is_said(tmp_path: Path, draw: Callable[[Draw], None]) -> None:
    def refuse(*_: object, **__: object) -> list[Picture]:
        raise DataError("there is no checkpoint yet")

    draw(refuse)
    run = write_stage(tmp_path / "run", metrics=train_records(range(1, 6)))
    (run / "environment.json").unlink()
    page = report(tmp_path, run, num_clips=1)
    assert "unfinished: 5 of 40 steps" in section(page, "overview")
    assert f"vsalt resume {run}" in section(page, "overview")
    assert "there is no val_loss: none has been measured yet" in section(page, "curves")
    assert "Nothing has been measured yet; it is every 10 steps" in section(page, "curves")
    assert "No pictures: there is no checkpoint yet" in section(page, "pictures")
    assert "there are no timings" in section(page, "cost")
    assert "No start has been recorded" in section(page, "environment")
    assert "No probe was given" in section(page, "probes")
    assert "No warning was raised" in section(page, "warnings")


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    for path in (run / "teacher").iterdir():
        if path.name != "config.json":
            path.unlink()
    (run / "student" / "config.json").unlink()
    page = report(tmp_path, run)
    assert "no step of 40 is logged yet; student not begun" in section(page, "overview")
    assert "No step has been logged" in section(page, "curves")


def test_a_run_without_any_stage(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    for name in ("teacher", "student"):
        (run / name / "config.json").unlink()
    page = report(tmp_path, run)
    assert "teacher not begun; student not begun" in section(page, "overview")
    assert "nothing to draw" in section(page, "curves")


def test_losses_that_are_not_finite_leave_gaps_and_no_number(tmp_path: Path) -> None:
    metrics = train_records(range(1, 41), loss=lambda step: None if step > 20 else 1.0)
    metrics += val_records({20: 0.5, 40: None})
    page = report(tmp_path, write_stage(tmp_path / "run", metrics=metrics))
    assert "no finite value at step 40" in section(page, "curves")
    overview = section(page, "overview")
    assert "val_loss, teacher–lowest 0.5000, at step 20" in overview


def test_a_log_without_a_single_finite_loss(tmp_path: Path) -> None:
    metrics = train_records(range(1, 5), loss=None, lr=None)
    page = report(tmp_path, write_stage(tmp_path / "run", metrics=metrics))
    assert not page.all("polyline")


def test_images_and_videos_have_curves_of_their_own(tmp_path: Path) -> None:
    shapes = train_records(
        range(1, 41), shape=lambda step: "image" if step % 2 else "video", loss=lambda s: s % 2 + 1
    )
    page = report(tmp_path, write_stage(tmp_path / "run", metrics=shapes))
    assert "training, videos 1 at step 40" in section(page, "curves")
    assert "training, images 2 at step 39" in section(page, "curves")


def test_runs_side_by_side(tmp_path: Path) -> None:
    one = write_salt(tmp_path / "one")
    two = write_salt(tmp_path / "two", lr=0.002, teacher_sha256="other", steps=20)
    alone = write_stage(tmp_path / "alone", method="salt", metrics=train_records([1, 20, 40]))
    page = report(tmp_path, one, two, alone)
    assert [run.text for run in page.all("h1")] == ["one and two and alone"]
    curves = section(page, "curves")
    assert re.findall(r"[ABC] (?:one|two|alone) 0\.0\d+ at step \d+", curves)[:2] == [
        "A one 0.025 at step 40",
        "B two 0.05 at step 20",
    ]
    assert "C alone 0.025 at step 40" in curves
    assert "alone: there is no val_loss" in curves
    assert "learn from different teachers: their losses cannot be compared" in curves
    settings = section(page, "settings")
    assert "student.optim.lr0.0010.0020.001" in settings
    assert "teacher.optim.lr0.0010.002no such setting" in settings
    assert "student.encoder.width" not in settings.partition("All settings")[0]


def test_runs_that_predict_something_else_are_not_to_be_compared(tmp_path: Path) -> None:
    one = write_stage(tmp_path / "one", metrics=train_records([40]))
    for name, changes, what in (
        ("masks", {"masks": "tube"}, "masks"),
        ("data", {"source": "/other.csv"}, "data"),
        ("both", {"masks": "tube", "source": "/other.csv"}, "masks and data"),
        ("rate", {"lr": 0.5, "steps": 80}, None),
    ):
        other = write_stage(tmp_path / name, metrics=train_records([40]), **changes)
        curves = section(report(tmp_path, one, other), "curves")
        said = f"These runs differ in {what}: their losses cannot be compared"
        assert (said in curves) is (what is not None)
        assert ("cannot be compared" in curves) is (what is not None)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("stage", "method", "normalise"), "target"),
        (("stage", "encoder", "tubelet"), "target"),
        (("clip", "frame_step"), "clips"),
        (("data", "holdout"), "data"),
        (("data", "workers"), None),
    ],
)
def test_settings_that_decide_what_a_loss_means(
    names: tuple[str, ...], what: str | None, tmp_path: Path
) -> None:
    runs = [write_stage(tmp_path / name, metrics=train_records([40])) for name in ("one", "two")]
    record = json.loads((runs[1] / "config.json").read_text())
    inner = record["config"]
    for name in names[:-1]:
        inner = inner[name]
    inner[names[-1]] = 7
    (runs[1] / "config.json").write_text(json.dumps(record))
    curves = section(report(tmp_path, *runs), "curves")
    assert (f"These runs differ in {what}: " in curves) is (what is not None)


def test_encoders_of_a_probe_are_named_by_what_they_are(tmp_path: Path) -> None:
    paths = {"demo/run": "student", "demo/run/student/teacher": "teacher"}
    probe = write_probe(tmp_path / "probe", names=paths, stages=paths)
    page = report(tmp_path, write_salt(tmp_path / "run"), probes=[probe])
    (probes,) = [one for one in page.all("section") if one.attributes["id"] == "probes"]
    shown = [one.text for one in page.all("text") if one.attributes.get("class") == "name"]
    assert [name for name in shown if "%" not in name] == [
        *("student (demo/run)", "teacher (demo/run)", "random init"),
    ]
    assert "student demo/run" in probes.text
    assert "teacher demo/run" in probes.text
    assert "Weights of teacher (demo/run): /runs/demo/run/student/teacher/" in probes.text


def test_too_few_groups_make_no_interval(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    for num_groups, shown in ((2, False), (5, True)):
        probe = write_probe(tmp_path / f"probe-{num_groups}", num_test_groups=num_groups)
        page = report(tmp_path, run, probes=[probe])
        text = section(page, "probes")
        assert ("61.0 to 79.0 %" in text) is shown
        assert (f"{num_groups} groups only, too few for an interval" in text) is not shown
        whiskers = [one for one in page.all("line") if one.attributes.get("class") == "whisker"]
        assert len(whiskers) == (6 if shown else 0)


def test_equal_runs_differ_in_nothing(tmp_path: Path) -> None:
    page = report(tmp_path, write_salt(tmp_path / "one"), write_salt(tmp_path / "two"))
    assert "cannot be compared" not in section(page, "curves")
    assert "The runs do not differ in any setting" in section(page, "settings")


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    metrics = train_records(range(1, 20_001), loss_short=0.5, loss_long=lambda step: 1 / step)
    run = write_stage(tmp_path / "run", metrics=metrics, steps=20_000)
    page = report(tmp_path, run)
    assert (tmp_path / "page" / "report.html").stat().st_size < 200_000
    assert "of 20,000 records are drawn" in section(page, "curves")


def test_a_file_that_both_stages_could_not_read_is_one_file(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    bad = {"step": 3, "position": 0, "attempt": 0, "path": "/a.mp4", "error": "broken"}
    for stage in ("teacher", "student"):
        write_lines(run / stage / "quarantine.jsonl", [bad])
    assert "1 unreadable file" in section(report(tmp_path, run), "overview")


def test_reads_that_failed_are_not_denied(tmp_path: Path) -> None:
    metrics = train_records(range(1, 41), bad_reads=3)
    # The log that names them is gone.
    text = section(report(tmp_path, write_stage(tmp_path / "run", metrics=metrics)), "quarantine")
    assert "3 reads failed" in text
    assert "could be read" not in text


def test_long_lists_of_broken_files_end(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    bad = [
        {"step": step, "position": 0, "attempt": 0, "path": f"/{step}.mp4", "error": "broken"}
        for step in range(250)
    ]
    write_lines(run / "teacher" / "quarantine.jsonl", bad)
    text = section(report(tmp_path, run), "quarantine")
    assert "/199.mp4" in text
    assert "/200.mp4" not in text
    assert "50 more are in quarantine.jsonl" in text


def test_pictures_are_enlarged_by_whole_factors(
    tmp_path: Path, draw: Callable[[Draw], None]
) -> None:
    asked = []

    def pictures(folder: Path, **options: object) -> list[Picture]:
        asked.append((folder, options))
        return [picture(width=width) for width in (100, 500, 3000)]

    draw(pictures)
    run = write_stage(tmp_path / "run")
    page = report(tmp_path, run, num_clips=3, data="elsewhere")
    assert [one.attributes["width"] for one in page.all("img")] == ["400", "500", "3000"]
    assert [one.attributes["height"] for one in page.all("img")] == ["400", "100", "100"]
    assert asked == [(run, {"num_clips": 3, "data": "elsewhere", "read_outside": None})]


def test_pictures_of_many_columns_say_that_they_scroll(
    tmp_path: Path, draw: Callable[[Draw], None]
) -> None:
    draw(lambda *_, **__: [picture(num_columns=number) for number in (1, 4, 8)])
    page = report(tmp_path, write_stage(tmp_path / "run"), num_clips=1)
    figures = [one for one in page.all("figure") if "picture" in one.attributes["class"]]
    assert [one.attributes["class"] for one in figures] == ["picture", "picture", "picture many"]
    assert ["scroll the picture sideways" in one.text for one in figures] == [False, False, True]
    assert "8 columns" in figures[2].text


def test_the_rows_of_a_picture_are_named_beside_it(
    tmp_path: Path, draw: Callable[[Draw], None]
) -> None:
    draw(lambda *_, **__: [picture(rows=("clip", HOSTILE))])
    page = report(tmp_path, write_stage(tmp_path / "run"), num_clips=1)
    names = [one.text for one in page.all("li")]
    assert "clip" in names
    assert any("<script>" in name for name in names)


def test_a_page_is_replaced_and_one_that_fails_leaves_the_old_one(
    tmp_path: Path, draw: Callable[[Draw], None]
) -> None:
    run = write_salt(tmp_path / "run")
    report(tmp_path, run, title="first")
    report(tmp_path, run, title="second")

    def fail(*_: object, **__: object) -> list[Picture]:
        raise RuntimeError

    draw(fail)
    with pytest.raises(RuntimeError):
        report(tmp_path, run, title="third", num_clips=1)
    (left,) = (tmp_path / "page").iterdir()
    assert "second" in left.read_text()


def test_without_pictures_no_torch_is_loaded(tmp_path: Path) -> None:
    run = write_salt(tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from vsalt.report.write import write_report\n"
        f"write_report([Path({str(run)!r})], [], Path({str(tmp_path / 'x.html')!r}), num_clips=0)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_size_with_numbers_of_its_own_loses_its_name(tmp_path: Path) -> None:
    shown = {}
    for name, numbers in (
        ("as named", {"width": 192, "depth": 12, "heads": 3, "mlp_width": 768}),
        ("smaller", {"width": 96, "depth": 2, "heads": 4, "mlp_width": 384}),
        ("of a later version", {"size": "XXL", "width": 192}),
    ):
        run = write_stage(tmp_path / name, metrics=train_records([1]))
        record = json.loads((run / "config.json").read_text())
        record["config"]["stage"]["encoder"].update(numbers)
        (run / "config.json").write_text(json.dumps(record))
        shown[name] = section(report(tmp_path / f"page of {name}", run), "overview")
    assert "ViT-Ti192 wide, 12 deep" in shown["as named"]
    assert "ViT96 wide, 2 deep" in shown["smaller"]
    assert "ViT192 wide, 6 deep" in shown["of a later version"]
