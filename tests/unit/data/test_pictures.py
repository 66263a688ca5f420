"""Images equal what Pillow reads; regions equal slices of whole frames."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, ImageSequence

from vsalt.data import pictures
from vsalt.data.crop_box import CropBox
from vsalt.data.decode import Video, read_frames
from vsalt.data.pictures import Orientation, RgbConverter
from vsalt.data.video_info import probe
from vsalt.errors import DecodeError

HEIGHT, WIDTH = 47, 61


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """Smooth colours, different in all corners, so that no two orientations look alike."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    channels = (5 * rows, 4 * columns, 255 - 2 * (rows + columns))
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def read(path: Path) -> np.ndarray:
    return read_frames(path, [0.02])[0]


def pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I;16":  # which Pillow would clip, not scale
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.mode == "P":  # without a word about its transparency
            upright.info.pop("transparency", None)
        return np.asarray(upright.convert("RGB"))


def assert_close(path: Path, levels: float, *, mean: float | None = None) -> None:
    """Compare with Pillow, by the largest and the mean difference in grey levels."""
    found, expected = read(path), pillow(path)
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= levels
    if mean is not None:
        assert difference.mean() <= mean


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(tmp_path, colours, orientation, suffix):
    path = tmp_path / f"image{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(colours).save(path, exif=exif, quality=95, subsampling=0)
    assert_close(path, 0 if suffix == ".png" else 5)
    if orientation > 1:  # or the orientation would not have been tested
        found = read(path)
        assert found.shape != colours.shape or np.abs(found.astype(int) - colours).max() > 100


@pytest.mark.parametrize("order", ["II", "MM"])
def test_exif_of_a_camera(tmp_path, colours, order):
    """Both byte orders, other entries before the orientation, and another JPEG in the header."""
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0132] = "maker", "model", 6, "2020:01:01"
    path = tmp_path / "camera.jpg"
    image = Image.fromarray(colours)
    image.save(path, quality=95)
    inner = path.read_bytes()
    image.save(path, exif=exif.tobytes(), quality=95, subsampling=0, icc_profile=40 * inner)
    assert order.encode() in path.read_bytes()[:200_000]
    assert read(path).shape == (WIDTH, HEIGHT, 3)
    assert_close(path, 5)


def test_jpegs(tmp_path, colours):
    image = Image.fromarray(colours)
    for name, options in {
        "plain": {"subsampling": 0},
        "progressive": {"subsampling": 0, "progressive": True},
        "restarts": {"subsampling": 0, "restart_marker_blocks": 2},
    }.items():
        image.save(tmp_path / f"{name}.jpg", quality=95, **options)
        assert_close(tmp_path / f"{name}.jpg", 5)
    for subsampling in (1, 2):
        # Pillow smooths the colours that two or four pixels share, the decoder repeats them.
        image.save(tmp_path / "shared.jpg", quality=95, subsampling=subsampling)
        assert_close(tmp_path / "shared.jpg", 16, mean=2)
    image.convert("L").save(tmp_path / "grey.jpg", quality=95)
    assert_close(tmp_path / "grey.jpg", 2)


def test_jpegs_of_four_colours(tmp_path, colours):
    """CMYK as Adobe writes it, inverted, and the same after a transform to YCC."""
    cmyk, ycck = tmp_path / "cmyk.jpg", tmp_path / "ycck.jpg"
    cyan, magenta, yellow = Image.fromarray(255 - colours).split()
    black = Image.fromarray(colours[::-1, ::-1, 0] // 2)
    Image.merge("CMYK", (cyan, magenta, yellow, black)).save(cmyk, quality=95)
    assert_close(cmyk, 6, mean=2)

    luma = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    inverted = [channel.point(lambda value: 255 - value) for channel in luma.split()]
    Image.merge("CMYK", (*inverted, black)).save(ycck, quality=95)
    content = bytearray(ycck.read_bytes())
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    content[transform] = 2
    # The names of the channels in the headers of the frame and of the scan, from CMYK to 1234.
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        names = slice(content.index(marker) + first, None, step)
        assert content[names][:4] == b"CMYK"
        for number in range(4):
            content[content.index(marker) + first + step * number] = 1 + number
    ycck.write_bytes(content)
    assert_close(ycck, 6, mean=2)
    assert np.abs(read(ycck).astype(int) - read(cmyk)).mean() < 2


def test_pngs(tmp_path, colours):
    image = Image.fromarray(colours)
    grey = image.convert("L")
    alpha = Image.fromarray(np.broadcast_to(np.arange(WIDTH, dtype=np.uint8) * 4, (HEIGHT, WIDTH)))
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    for name, picture, options in [
        ("rgb", image, {}),
        ("grey", grey, {}),
        ("bilevel", image.convert("1"), {}),
        # Alpha is dropped: the stored colours show, as with Pillow's convert("RGB").
        ("rgba", Image.merge("RGBA", (*image.split(), alpha)), {}),
        ("grey_alpha", Image.merge("LA", (grey, alpha)), {}),
        ("palette", palette, {}),
        ("palette_transparent", palette, {"transparency": 3}),
        ("palette_alpha", palette, {"transparency": bytes(range(256))}),
        ("rgb_transparent", image, {"transparency": tuple(colours[3, 4].tolist())}),
        ("grey_transparent", grey, {"transparency": int(np.asarray(grey)[3, 4])}),
        ("palette_4_bits", image.quantize(16), {"bits": 4}),
    ]:
        path = tmp_path / f"{name}.png"
        picture.save(path, **options)
        assert_close(path, 0)


@pytest.mark.parametrize("pix_fmt", ["gray16be", "rgb48be", "rgba64be", "ya16be"])
def test_pngs_of_16_bits(tmp_path, colours, pix_fmt):
    path = tmp_path / "deep.png"
    encode_png(path, colours, pix_fmt)
    assert_close(path, 1)


def test_interlaced_pngs(tmp_path, colours):
    path = tmp_path / "interlaced.png"
    encode_png(path, colours, "rgb24", interlaced=True)
    assert path.read_bytes()[28] == 1, "the method of interlacing in the header"
    assert_close(path, 0)


def encode_png(path: Path, picture: np.ndarray, pix_fmt: str, *, interlaced: bool = False) -> None:
    height, width = picture.shape[:2]
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, pix_fmt
    codec.time_base = Fraction(1, 25)
    if interlaced:
        codec.flags |= av.codec.context.Flags.interlaced_dct
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode())))


def test_an_image_is_one_frame_and_what_follows_is_not_read(tmp_path, colours):
    """Cameras append previews and maps to a JPEG, which are images of their own."""
    path = tmp_path / "image.jpg"
    Image.fromarray(colours).save(path, quality=95)
    alone = read(path)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:-500] + b"garbage")
    info = probe(path)
    assert (info.num_frames, info.is_image, info.timed) == (1, True, False)
    np.testing.assert_array_equal(read(path), alone)
    with Video(path) as video:
        video.read([0.0])
        np.testing.assert_array_equal(video.read([0.0, 0.0, 0.01]), np.stack([alone] * 3))


@pytest.mark.parametrize("name", ["plain.jpg", "progressive.jpg", "image.png"])
def test_a_cut_image_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path, progressive=name.startswith("progressive"))
    whole = path.read_bytes()
    for share in (0.01, 0.1, 0.5, 0.9, 0.97, 0.999):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DecodeError):
            read(path)


def flipped(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Move every pixel where (x, y) -> (a x + c y, b x + d y) sends it; slow and plain."""
    a, b, c, d = matrix
    places = {
        (b * x + d * y, a * x + c * y): picture[y, x]
        for y in range(picture.shape[0])
        for x in range(picture.shape[1])
    }
    rows, columns = sorted({row for row, _ in places}), sorted({column for _, column in places})
    return np.array([[places[row, column] for column in columns] for row in rows])


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", [None, "hflip", "vflip"])
def test_videos_are_rotated_and_mirrored(tmp_path, colours, degrees, mirror):
    """By the definition of the display matrix, pixel by pixel."""
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 60, 46, "yuv444p"
        stream.set_display_rotation(degrees, **({mirror: True} if mirror else {}))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(colours[:46, :60]))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        (stored,) = container.decode(video=0)
        found = [data for data in stored.side_data if data.type.name == "DISPLAYMATRIX"]
        assert bool(found) == bool(degrees or mirror)
        values = np.frombuffer(found[0], np.int32) if found else (1, 0, 0, 0, 1)
        matrix = tuple(int(np.sign(values[index])) for index in (0, 1, 3, 4))
        expected = flipped(stored.to_ndarray(format="rgb24"), matrix)
    found = read_frames(path, [0.05])[0]
    np.testing.assert_array_equal(found, expected)


ORIENTATIONS = [
    Orientation(transposed, rows, columns)
    for transposed in (False, True)
    for rows in (False, True)
    for columns in (False, True)
]
# Bits of a sample by format; odd sizes and other formats than the usual ones are converted whole.
FORMATS = {
    "yuv420p": 8,
    "yuvj420p": 8,
    "yuv422p": 8,
    "yuvj422p": 8,
    "yuv444p": 8,
    "yuvj444p": 8,
    "yuva420p": 8,
    "yuv411p": 8,
    "nv12": 8,
    "yuv420p10le": 10,
    "yuv422p10le": 10,
    "yuv444p10le": 10,
    "gbrp": 8,
    "gray": 8,
    "gray16be": 16,
    "pal8": 8,
    "bgra": 8,
    "rgb24": 8,
}


@pytest.fixture
def cut_small_frames(monkeypatch):
    """Let regions of frames be cut out that are too small for that to pay."""
    monkeypatch.setattr(pictures, "_CUT_PIXELS", 0)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_region_equals_a_slice(cut_small_frames, data):
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 90))
    frame = noise_frame(name, height, width, seed=data.draw(st.integers(0, 9)))
    frame.colorspace = data.draw(st.sampled_from([1, 2, 5]))
    frame.color_range = data.draw(st.sampled_from([0, 1, 2]))
    orientation = data.draw(st.sampled_from(ORIENTATIONS))
    upright_height, upright_width = orientation.upright_size(height, width)
    box = draw_box(data, upright_height, upright_width)

    whole = RgbConverter()._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    expected = orientation.upright(whole)
    assert expected.shape == (upright_height, upright_width, 3)
    out = np.zeros((box.height, box.width, 3), np.uint8)
    converter = RgbConverter()
    for _ in range(2):  # the second time with what was kept from the first
        converter.write(frame, orientation, box, out)
        np.testing.assert_array_equal(out, sliced(expected, box))


def draw_box(data: st.DataObject, height: int, width: int) -> CropBox:
    box_height, box_width = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top = data.draw(st.integers(0, height - box_height))
    left = data.draw(st.integers(0, width - box_width))
    return CropBox(top, left, box_height, box_width)


def sliced(picture: np.ndarray, box: CropBox) -> np.ndarray:
    return picture[box.top : box.top + box.height, box.left : box.left + box.width]


def noise_frame(name: str, height: int, width: int, *, seed: int) -> av.VideoFrame:
    noise = np.random.default_rng(seed)
    frame = av.VideoFrame(width, height, name)
    for plane in frame.planes:
        bits = FORMATS[name]
        samples = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16)
        samples[:] = noise.integers(0, 1 << bits, samples.size)
    return frame


@pytest.mark.parametrize(("height", "width"), [(46, 60), (47, 61), (46, 61)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p", "yuv420p10le"])
def test_a_region_of_real_frames_equals_a_slice(
    tmp_path, colours, cut_small_frames, pix_fmt, height, width
):
    """Decoded frames carry more than pixels, such as where their colours were taken."""
    path = tmp_path / "video.mkv"
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        codec = "ffv1" if height % 2 or width % 2 else "libx264"
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for index in range(10):
            picture = colours[:height, :width] // 2 + noise.integers(
                0, 128, (height, width, 3), dtype=np.uint8
            )
            frame = av.VideoFrame.from_ndarray(picture).reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    times = [0.05, 0.35, 0.35, 0.85]
    with Video(path) as video:
        whole = video.read(times)
        for box in (CropBox(3, 5, 20, 31), CropBox(0, 0, 44, 9), CropBox(30, 41, 16, 19)):
            region = video.read(times, box=lambda height, width, box=box: box)
            assert region.flags.c_contiguous
            np.testing.assert_array_equal(region, np.stack([sliced(one, box) for one in whole]))


def test_small_regions_are_converted_alone(cut_small_frames, monkeypatch):
    """Or all equalities above would hold for nothing."""
    if not pictures._LOCAL_MACHINE:
        pytest.skip("regions are converted whole on this machine")
    converted = []
    original = RgbConverter._cut

    def cut(self, *args):
        converted.append(original(self, *args))
        return converted[-1]

    monkeypatch.setattr(RgbConverter, "_cut", cut)
    out = np.zeros((20, 30, 3), np.uint8)
    for name in ("yuv420p", "yuvj420p", "yuv422p", "yuv444p"):
        frame = noise_frame(name, 64, 96, seed=0)
        RgbConverter().write(frame, pictures.UPRIGHT, CropBox(3, 5, 20, 30), out)
        region = converted.pop()
        assert (region.height, region.width) == (22, 32)
        # Nearly the whole frame is converted with the rest of it.
        large = np.zeros((60, 90, 3), np.uint8)
        RgbConverter().write(frame, pictures.UPRIGHT, CropBox(2, 3, 60, 90), large)
        assert not converted


def test_a_box_outside_of_the_frame_is_a_mistake_of_the_caller(tmp_path, write_video):
    with Video(write_video(tmp_path / "v.mp4")) as video, pytest.raises(AssertionError):
        video.read([0.05], box=lambda height, width: CropBox(0, 1, height, width))


def pillow_gif(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Frames on white, and how long each is shown in seconds."""
    with Image.open(path) as image:
        frames, durations_s = [], []
        for frame in ImageSequence.Iterator(image):
            picture = frame.convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            frames.append(np.asarray(Image.alpha_composite(white, picture).convert("RGB")))
            durations_s.append(frame.info["duration"] / 1000)
    return frames, durations_s


def assert_gif_equals_pillow(path: Path) -> None:
    frames, durations_s = pillow_gif(path)
    info = probe(path)
    assert info.num_frames == len(frames)
    assert info.duration_s == pytest.approx(sum(durations_s))
    assert not info.is_image
    ends = np.cumsum(durations_s)
    middles = ends - np.array(durations_s) / 2
    np.testing.assert_array_equal(read_frames(path, middles), np.stack(frames))


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("disposal", [0, 1, 2, [1, 3, 3, 1, 3]])
def test_gifs(tmp_path, disposal, transparent):
    """Frames that change a part, what becomes of them after, own delays, an endless loop."""
    path = tmp_path / "moving.gif"
    palette = np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes()
    frames = []
    for index in range(5):
        picture = np.full((24, 32), 7 if transparent else 1, np.uint8)
        picture[3 * index : 3 * index + 8, 4 * index : 4 * index + 9] = 2 + index
        frames.append(Image.fromarray(picture, "P"))
        frames[-1].putpalette(palette)
    options = {"transparency": 7} if transparent else {}
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[30, 50, 100, 20, 70],
        loop=0,
        disposal=disposal,
        optimize=False,
        **options,
    )
    assert b"NETSCAPE2.0" in path.read_bytes()
    assert_gif_equals_pillow(path)


@pytest.mark.parametrize("name", ["imageio_newtonscradle.gif", "imageio_imageio_issue245.gif"])
def test_real_gifs(test_data, name):
    assert_gif_equals_pillow(test_data / "decode_tests" / name)
