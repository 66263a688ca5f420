"""Reads command lines of `vsalt salt` and `vsalt pretrain` as far as their configuration.

Run as a program, because the placeholders of required flags do not pass the checks of types that
hold under pytest. Standard input: a JSON list of command lines, each a list of words with the verb
first. Standard output: for each the configuration it would start with, its problems or its help.
No training is imported.
"""

import contextlib
import io
import json
import subprocess
import sys
import types
from typing import Any


def read_lines(*lines: list[str]) -> list[dict[str, Any]]:
    """Return {"config": ...}, {"problems": [...]} or {"printed": "..."} of every line."""
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _read(words: list[str]) -> dict[str, Any]:
    from vsalt.cli import pretrain
    from vsalt.config import to_dict
    from vsalt.errors import ConfigError

    started: list[object] = []
    start = types.ModuleType("vsalt.training.start")
    for name in ("start_salt", "start_stage"):
        setattr(start, name, lambda out, config, **given: started.append(config))
    sys.modules[start.__name__] = start
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            getattr(pretrain, words[0])(words[1:], f"vsalt {words[0]}")
    except ConfigError as error:
        return {"problems": error.problems}
    except SystemExit:
        return {"printed": printed.getvalue()}
    return {"config": to_dict(started[0])}


if __name__ == "__main__":
    print(json.dumps([_read(words) for words in json.load(sys.stdin)]))
