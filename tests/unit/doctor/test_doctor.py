"""`vsalt doctor` finds what is wrong, names what mends it, and says so by its exit code."""

import json
import tempfile
import tomllib
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from packaging.requirements import Requirement as Oracle

from vsalt.cli import doctor as command
from vsalt.data.decode import Video
from vsalt.doctor import codecs, machine
from vsalt.doctor.codecs import DECODERS, examine_codecs, has_codec
from vsalt.doctor.examine import examine
from vsalt.doctor.finding import Finding, is_well
from vsalt.doctor.packages import examine_extras, examine_packages, find_problem
from vsalt.doctor.requirements import Requirement, read_requirements
from vsalt.errors import ConfigError

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
VERSIONS = ("0.9", "2", "1.0", "2.0", "2.11", "2.11.0", "2.13.0+cpu", "13.7", "16.9.9", "17",
            "18.1", "18.1.0", "19", "19.0.1", "2024.5", "2024.6.0")  # fmt: skip


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with three packages: one is fine, one old, one cannot be loaded."""
    for name, version, text in (
        ("fine_one", "1.5", ""),
        ("old_one", "0.9", ""),
        ("broken_one", "1.5", "raise OSError('libodd.so.3:\\n cannot open')"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def need(name: str, extra: str | None = None) -> Requirement:
    return Requirement(name, ">=1.0", extra)


def of(findings: list[Finding], name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def test_what_the_doctor_knows_by_heart_is_what_the_project_says() -> None:
    (wanted,) = (Oracle(line) for line in PROJECT["dependencies"] if line.startswith("av"))
    install, _, given = codecs._REINSTALL.rpartition(" ")
    assert install == "pip install --force-reinstall"
    assert Oracle(given.strip("'")) == wanted
    assert PROJECT["requires-python"] == f">={machine.PYTHON[0]}.{machine.PYTHON[1]}"


def test_requirements_are_read_as_pip_reads_them() -> None:
    lines = list(PROJECT["dependencies"])
    for extra, own in PROJECT["optional-dependencies"].items():
        lines += [f"{line} ; extra == '{extra}'" for line in own]
    found = read_requirements(lines)
    oracles = [one for line in lines if (one := Oracle(line)) and "'dev'" not in line]
    assert len(found) == len(oracles) > 15
    for one, oracle in zip(found, oracles, strict=True):
        assert one.name == oracle.name
        assert one.extra is None if oracle.marker is None else str(one.extra) in str(oracle.marker)
        for version in VERSIONS:
            allowed = oracle.specifier.contains(version.partition("+")[0])
            assert one.allows(version) == allowed, (oracle, version)


def test_the_installed_metadata_name_every_extra() -> None:
    extras = {one.extra for one in read_requirements() if one.extra}
    assert extras == set(PROJECT["optional-dependencies"]) - {"dev"}


@pytest.mark.usefixtures("packages")
def test_problems_of_packages_are_told_apart() -> None:
    assert find_problem(need("fine_one")) == ""
    assert find_problem(need("absent_one")) == "not installed"
    assert find_problem(need("old_one")) == "old_one 0.9 is installed, and vsalt needs >=1.0"
    assert find_problem(need("broken_one")) == (
        "broken_one 1.5 cannot be loaded: OSError: libodd.so.3: cannot open"
    )
    findings = examine_packages([need("fine_one"), need("old_one"), need("fine_one", "extra")])
    assert [(one.name, one.state, one.mend) for one in findings] == [
        ("fine_one", "ok", ""),
        ("old_one", "bad", "pip install --upgrade 'old_one>=1.0'"),
    ]


@pytest.mark.usefixtures("packages")
def test_an_extra_is_missing_or_broken() -> None:
    needs = [
        need("fine_one", "one"),
        need("absent_one", "two"),
        need("fine_one", "three"),
        need("broken_one", "three"),
        need("absent_one", "three_b"),
        need("other_one", "three_b"),
    ]
    found = examine_extras(needs)
    assert of(found, "one") == Finding(section="extras", name="one", value="fine_one 1.5")
    assert (of(found, "two").state, of(found, "two").value) == (
        "missing",
        "absent_one is not installed",
    )
    assert of(found, "two").mend == "pip install 'vsalt[two]'"
    assert of(found, "three").state == "bad"
    assert of(found, "three").mend == "pip install --upgrade 'vsalt[three]'"
    assert of(found, "three_b").value == "absent_one and other_one are not installed"
    assert not is_well(found)
    without = [one for one in needs if one.extra != "three"]
    assert is_well(examine_extras(without))
    assert of(examine_extras(without, {"two"}), "two").state == "bad"


def test_devices_by_driver_and_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def found(*, driver: bool, cuda: str | None, needs_cuda: bool = False) -> Finding:
        monkeypatch.setattr(machine, "has_driver", lambda: driver)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        return of(machine.examine_devices(needs_cuda=needs_cuda), "cuda")

    assert found(driver=False, cuda=None).state == "note"
    assert found(driver=False, cuda="12.8", needs_cuda=True).state == "bad"
    built_without = found(driver=True, cuda=None)
    assert (built_without.state, built_without.mend) == (
        "note",
        "pip install --force-reinstall torch",
    )
    assert found(driver=True, cuda=None, needs_cuda=True).state == "bad"
    too_old = found(driver=True, cuda="12.8")
    assert too_old.state == "bad"
    assert "update the driver" in too_old.mend


@pytest.mark.cuda
def test_a_gpu_is_used_once() -> None:
    (_, first, *_) = machine.examine_devices(needs_cuda=True)
    assert (first.name, first.state) == ("cuda:0", "ok")
    assert torch.cuda.get_device_name(0) in first.value


@pytest.mark.parametrize(("major", "says"), [(7, True), (8, False)])
def test_a_gpu_without_bf16_is_told_of(
    major: int, says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones = torch.ones
    made_up = SimpleNamespace(name="GPU", major=major, minor=0, total_memory=16e9)
    monkeypatch.setattr(torch, "ones", lambda *sizes, device: ones(*sizes))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: made_up)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (8e9, 16e9))
    finding = of(machine.examine_devices(), "cuda:0")
    assert finding.state == "ok"
    assert finding.value.startswith("GPU, 8.0 GB free of 16.0, compute capability ")
    assert ("use --device.precision fp32" in finding.value) == says
    monkeypatch.setattr(torch, "ones", lambda *sizes, device: 2 * ones(*sizes))
    assert "a sum that is 512 became 2048.0" in of(machine.examine_devices(), "cuda:0").value


def test_a_gpu_that_fails_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(number: int) -> None:
        raise RuntimeError("CUDA error: out of\n order")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", broken)
    finding = of(machine.examine_devices(), "cuda:0")
    assert (finding.state, finding.value) == ("bad", "cannot be used: CUDA error: out of order")


WRITTEN = {
    "H.265": "libx265",
    "AV1": "libsvtav1",
    "VP9": "libvpx-vp9",
    "VP8": "libvpx",
    "MPEG-4": "mpeg4",
    "MPEG-2": "mpeg2video",
    "MPEG-1": "mpeg1video",
    "JPEG, Motion JPEG": "mjpeg",
    "Theora": "libtheora",
    "WMV": "wmv2",
    "Flash video": "flv",
    "ProRes": "prores_ks",
}

CONTAINERS = {"WMV": "wmv", "Flash video": "flv"}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_it_says_is_read_can_be_read(kind: str, tmp_path: Path) -> None:
    """Wherever the same FFmpeg can write it."""
    names = of(examine_codecs(), "reads").value
    assert f"{kind} (" in names
    if not has_codec(WRITTEN[kind], "w"):
        return
    path = tmp_path / f"video.{CONTAINERS.get(kind, 'mkv')}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(WRITTEN[kind], rate=25)
        stream.width, stream.height = 64, 64
        stream.pix_fmt = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}.get(
            WRITTEN[kind], "yuv420p"
        )
        for shade in (40, 120, 200):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), shade, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with Video(path) as video:
        frames = video.read([0.02, 0.1])
    assert np.abs(frames.mean(axis=(1, 2, 3)) - [40, 200]).max() < 8


def test_codecs_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_codec("no_such_codec")
    monkeypatch.setattr(codecs, "has_codec", lambda name, mode="r": name not in ("wmv3", "wmv2"))
    found = examine_codecs()
    assert (of(found, "cannot read").value, of(found, "cannot read").state) == ("WMV", "note")
    assert is_well(found)
    monkeypatch.setattr(codecs, "has_codec", lambda name, mode="r": not name.endswith("264"))
    found = examine_codecs()
    assert of(found, "cannot read").state == of(found, "writes").state == "bad"
    assert "pip install --force-reinstall 'av" in of(found, "writes").mend


def test_a_round_trip_that_fails_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    finding = of(examine_codecs(), "round trip")
    assert finding.state == "bad"
    assert "look whether /proc/none can be written to" in finding.mend


def test_decoders_are_named_once() -> None:
    names = [name for own in DECODERS.values() for name in own]
    assert len(names) == len(set(names))


def test_the_command_prints_and_exits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vsalt.doctor.examine.examine_extras", lambda needs, needed: [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine, "has_driver", lambda: False)
    assert command.doctor([], "vsalt doctor") == 0
    text = capsys.readouterr().out
    assert f"torch        {torch.__version__}" in text
    assert text.splitlines()[-1] == "all is well"
    assert command.doctor(["--need", "cuda", "--json"], "vsalt doctor") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    bad = [finding for finding in found["findings"] if finding["state"] == "bad"]
    assert [(one["section"], one["name"]) for one in bad] == [("devices", "cuda")]
    with pytest.raises(ConfigError, match=r"need names 'parkett'; it can be hf, .* or cuda"):
        command.doctor(["--need", "parkett"], "vsalt doctor")


def test_lines_say_what_to_do() -> None:
    made = [
        Finding(section="extras", name="one", value="it is"),
        Finding(section="extras", name="three", value="it is not", state="missing", mend="pip"),
    ]
    assert command.describe(made) == [
        "extras",
        "           one    it is",
        "  missing  three  it is not",
        "                  → pip",
        "all is well; extras that are not installed: three",
    ]
    bad = Finding(section="codecs", name="two", value="broken", state="bad", mend="mend it")
    assert command.describe([bad, *made])[-1] == "to be mended: two"


def test_without_metadata_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    finding = of(examine(), "vsalt")
    assert finding.state == "bad"
    assert finding.mend.startswith("pip install -e .")
