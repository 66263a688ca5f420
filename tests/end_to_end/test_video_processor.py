"""A process without vsalt prepares the same pixels from the same mp4, and gets the same features.

transformers' video processor needs torchvision, which vsalt does not. Its wheel is put into a
folder of its own, without what it depends on. Built for another torch, its operators may be
missing: the two that it registers on import are declared by the process, and nothing calls them.
"""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from safetensors.numpy import load_file

from support.encoders import CLIP, FPS, write_checkpoint
from vsalt.cli.main import main
from vsalt.data.transforms import centre_view
from vsalt.interop.export_hf import HfExport, export_hf
from vsalt.models.tokenizer import IMAGENET_MEAN, IMAGENET_STD
from vsalt.training.locate import load_encoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
TORCHVISION = "torchvision==0.29.1"
SIZES = [(40, 48), (74, 100), (182, 74), (36, 36), (20, 26)]
"""Height and width; of the second and the third the long side is resized to a number above .5;
the last is enlarged."""

PROGRAM = """
import json, sys
sys.modules["vsalt"] = None  # an import of it fails
site, folder, videos = sys.argv[1:4]
sys.path.append(site)
import av, numpy as np, torch
try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
from transformers import AutoModel, AutoVideoProcessor
processor = AutoVideoProcessor.from_pretrained(folder)
model = AutoModel.from_pretrained(folder)
sampling = json.load(open(folder + "/vsalt.json"))["clip"]
found = {}
for path, start in json.loads(videos):
    with av.open(path) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    step = sampling["frame_step"]
    chosen = np.stack(frames[start : start + step * sampling["num_frames"] : step])
    inputs = processor(chosen, return_tensors="pt")
    with torch.no_grad():
        tokens = model(**inputs, skip_predictor=True).last_hidden_state
    found[path] = [inputs["pixel_values_videos"][0].tolist(), tokens.mean(dim=1)[0].tolist()]
print(json.dumps(found))
"""


def write_video(path: Path, size: tuple[int, int], seed: int) -> Path:
    """Write 21 frames of blotches."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (21, 9, 9, 3), dtype=np.uint8)
    rows, columns = (np.arange(side) * 9 // side for side in size)
    frames = coarse[:, rows][:, :, columns]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def torchvision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), TORCHVISION]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"torchvision cannot be installed: {done.stderr[-300:]}")
    return site


def test_pixels_and_features_agree(torchvision: Path, tmp_path: Path) -> None:
    run = write_checkpoint(tmp_path / "step-7")
    loaded = load_encoder(run)
    export_hf(loaded, tmp_path / "folder", HfExport())
    (tmp_path / "videos").mkdir()
    for number, size in enumerate(SIZES):
        write_video(tmp_path / "videos" / f"{number}.mp4", size, number)
    line = ["--encoder", str(run), "--data", str(tmp_path / "videos"), "--workers", "0"]
    assert main(["embed", *line, "--out", str(tmp_path / "out")]) == 0
    index = [json.loads(one) for one in (tmp_path / "out/index.jsonl").read_text().splitlines()]
    vectors = load_file(tmp_path / "out" / "embeddings-00000.safetensors")["embeddings"]
    starts = {str(tmp_path / "videos" / row["path"]): round(row["start_s"] * FPS) for row in index}
    given = json.dumps(list(starts.items()))
    words = ["-c", PROGRAM, str(torchvision), str(tmp_path / "folder"), given]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(SIZES)
    for row, vector in zip(index, vectors, strict=True):
        path = str(tmp_path / "videos" / row["path"])
        pixels, feature = map(np.array, found[path])
        np.testing.assert_allclose(pixels, own_pixels(path, starts[path]), atol=1e-5)
        np.testing.assert_allclose(feature, vector, atol=1e-4)
        assert np.abs(vector).max() > 0.01


def own_pixels(path: str, start: int) -> np.ndarray:
    """What vsalt makes of the same frames, standardised; frames before colours."""
    with av.open(path) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    stop = start + CLIP.frame_step * CLIP.num_frames
    clip = centre_view(np.stack(frames[start : stop : CLIP.frame_step]), size=CLIP.size).numpy()
    mean, std = (np.array(one).reshape(3, 1, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    return ((clip / 255 - mean) / std).swapaxes(0, 1)
