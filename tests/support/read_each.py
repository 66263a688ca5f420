"""Read one clip of each of many files, one after the other, and tell what became of each.

usage: python read_each.py LIST RESULTS HANG_S

LIST has one path per line. For every file, RESULTS gets a line {"path"} before it is opened and
its outcome after: "error" (null if it could be read), "defect" (the traceback of what is no
DecodeError), "shape", "seconds", "rss" (the most memory the process has held so far, in bytes). So
when the process dies, or is still in one file after HANG_S seconds, the last line names it, and
stderr has every thread's stack.
"""

import faulthandler
import json
import resource
import sys
import time
import traceback

from vsalt.data.config import ClipConfig
from vsalt.data.decode import Video
from vsalt.data.sampling import clip_times, stretch
from vsalt.errors import DecodeError

CLIP = ClipConfig(num_frames=8, frame_step=2)


def main() -> int:
    listed, results, hang_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
    faulthandler.enable()
    with open(listed) as paths, open(results, "w") as file:
        for path in paths.read().splitlines():
            print(json.dumps({"path": path}), file=file, flush=True)
            faulthandler.dump_traceback_later(hang_s, exit=True)
            print(json.dumps(read(path)), file=file, flush=True)
    return 0


def read(path: str) -> dict[str, object]:
    error, defect, shape = None, None, None
    began = time.perf_counter()
    try:
        with Video(path) as video:
            part = stretch(video.info, start_s=None, end_s=None)
            shape = video.read(clip_times(CLIP, part, u=0.5)).shape
    except DecodeError as refused:
        error = str(refused)
    except Exception:
        defect = traceback.format_exc()
    seconds = time.perf_counter() - began
    rss = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = {"path": path, "error": error, "defect": defect, "shape": shape}
    return {**outcome, "seconds": seconds, "rss": rss}


if __name__ == "__main__":
    raise SystemExit(main())
