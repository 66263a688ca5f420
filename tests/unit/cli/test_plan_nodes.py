"""`vsalt plan --nodes`: what it prints, and what it refuses."""

import json

import pytest

from vsalt.cli.main import main

NODES = ["plan", "--nodes", "2", "--preset", "tiny-cpu", "--batch-size", "64"]


def test_json_has_every_budget(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--micro-batch-size", "4", "--mfu", "0.3", "--decode-clips-per-core-s", "1e5"]
    assert main([*NODES, *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured"] is False
    assert [each["stage"] for each in found["budgets"]] == ["teacher", "student", "vjepa"]
    assert found["cluster"]["mfu"] == 0.3
    assert "--mfu" not in [each["flag"] for each in found["assumed"]]
    for each in found["budgets"]:
        memory = each["memory_bytes"]
        assert memory.pop("total") == sum(memory.values())
        assert (each["gpus"], each["clips_per_gpu"], each["micro_batches"]) == (16, 4, 1)
        sent = sum(part["sent_bytes_per_gpu"] for part in each["collectives"])
        assert each["communication"]["bytes_a_gpu_sends"] == pytest.approx(sent)
        assert each["step_s"]["best"] <= each["step_s"]["worst"]
        assert each["fits"]
        assert each["warnings"] == []


def test_people_are_told_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*NODES, "--sharding", "shard", "--gpus-per-node", "6"]) == 0
    shown = capsys.readouterr().out
    assert "nothing here is measured on a GPU; assumed, not given:" in shown
    assert "--gpu-tflops 312" in shown
    assert "--gpus-per-node 8" not in shown
    words = " ".join(shown.split())
    assert "64 clips cannot be divided among 12 GPUs; take --batch-size 60" in words
    # Of 5 1/3 clips no number fits and divides; that is no lack of memory.
    assert "largest micro-batch │ - │ - │ - │" in words


def test_a_table_has_a_row_for_every_size_and_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--table", "--preset", "tiny-cpu", "--batch-size", "512"]) == 0
    shown = capsys.readouterr().out
    for run in ("salt", "vjepa"):
        rows = [line for line in shown.splitlines() if f"{run} │" in line]
        assert len(rows) == 28
    assert "…" not in shown
    assert "if no communication is hidden: of the last stage" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--budget-flops and --data-clips: needed for a proposal"),
        (["--data-clips", "10"], "--budget-flops: needed for a proposal"),
        (["--mfu", "0.3", "--size", "B"], "--size and --mfu: only with --nodes or --table"),
        (["--nodes", "1", "--data-clips", "9"], "--data-clips: leave out with --nodes or --table"),
        (["--nodes", "0"], "--nodes is 0; it must be at least 1"),
        (["--table", "--mfu", "2"], "--mfu is 2.0; it must be at most 1"),
    ],
)
def test_what_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *words]) == 1
    assert message in capsys.readouterr().err
