"""What the FFmpeg that PyAV brings along can read, and whether a video survives a round trip."""

import tempfile
from pathlib import Path

from vsalt.doctor.finding import Finding

DECODERS = {
    "H.264": ("h264",),
    "H.265": ("hevc",),
    # FFmpeg's own decoder, av1, needs hardware.
    "AV1": ("libdav1d", "libaom-av1"),
    "VP9": ("vp9",),
    "VP8": ("vp8",),
    "MPEG-4": ("mpeg4",),
    "MPEG-2": ("mpeg2video",),
    "MPEG-1": ("mpeg1video",),
    "JPEG, Motion JPEG": ("mjpeg",),
    "PNG": ("png",),
    "GIF": ("gif",),
    "WMV": ("wmv3", "wmv2"),
    "VC-1": ("vc1",),
    "Flash video": ("flv",),
    "Theora": ("theora",),
    "ProRes": ("prores",),
}
"""Of each kind of video that is often met, the decoders that read it, the first one preferred."""
ENCODER = "libx264"
"""What `vsalt data prepare` and `vsalt data synth` write with."""
_SECTION = "codecs"
_REINSTALL = "pip install --force-reinstall 'av>=17,<19'"


def examine_codecs() -> list[Finding]:
    """Look at FFmpeg's version, its decoders, and write and read one short video."""
    try:
        import av
    except Exception:  # `examine_packages` tells why
        return []
    version = getattr(av, "ffmpeg_version_info", "of an unknown version")
    libraries = av.library_versions
    names = ", ".join(
        f"{name} {'.'.join(map(str, libraries[name]))}"
        for name in ("libavcodec", "libavformat")
        if name in libraries
    )
    found = {kind: next(filter(has_codec, names), "") for kind, names in DECODERS.items()}
    return [
        Finding(section=_SECTION, name="ffmpeg", value=f"{version} ({names}), inside PyAV"),
        *_decoders(found),
        _encoder(),
        _round_trip(),
    ]


def has_codec(name: str, mode: str = "r") -> bool:
    """Whether FFmpeg has a decoder (`r`) or an encoder (`w`) of this name."""
    import av.codec

    try:
        av.codec.Codec(name, mode)  # type: ignore[arg-type]
    except ValueError:  # UnknownCodecError is one
        return False
    return True


def _decoders(found: dict[str, str]) -> list[Finding]:
    there = [f"{kind} ({name})" for kind, name in found.items() if name]
    absent = [kind for kind, name in found.items() if not name]
    findings = [Finding(section=_SECTION, name="reads", value=", ".join(there) or "nothing")]
    if absent:
        bad = "H.264" in absent
        findings.append(
            Finding(
                section=_SECTION,
                name="cannot read",
                value=", ".join(absent),
                state="bad" if bad else "note",
                mend=_REINSTALL if bad else "re-encode such videos elsewhere before you use them",
            )
        )
    return findings


def _encoder() -> Finding:
    if has_codec(ENCODER, "w"):
        return Finding(section=_SECTION, name="writes", value=f"H.264 ({ENCODER})")
    return Finding(
        section=_SECTION,
        name="writes",
        value=f"{ENCODER} is missing, so vsalt data prepare, data synth and demo cannot work",
        state="bad",
        mend=_REINSTALL,
    )


def _round_trip() -> Finding:
    """Write a video as the synthetic ones are, and read it as all videos are."""
    try:
        from vsalt.data.decode import Video
        from vsalt.data.synthetic import synthesise

        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made"
            synthesise(made, num_clips=1, seed=0, size=32, num_frames=4, fps=12)
            (path,) = made.glob("videos/*.mp4")
            with Video(path) as video:
                frames = video.read([0.0, 0.25])
        if frames.shape != (2, 32, 32, 3):
            raise RuntimeError(f"frames of the shape {frames.shape} came back")
    except Exception as error:  # whatever may be wrong with the libraries or the disk
        reason = " ".join(str(error).split())[:300]
        return Finding(
            section=_SECTION,
            name="round trip",
            value=f"a short video cannot be written and read: {type(error).__name__}: {reason}",
            state="bad",
            mend=f"{_REINSTALL}; look whether {tempfile.gettempdir()} can be written to",
        )
    return Finding(section=_SECTION, name="round trip", value="a short video was written and read")
