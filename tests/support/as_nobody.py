"""Run the `vsalt` command as uid 65534; usage: python as_nobody.py WORDS...

Everything is imported first, because the interpreter's own folder may be closed to that user.
"""

import importlib
import os
import pkgutil
import sys

import vsalt
from vsalt.cli.main import main

if __name__ == "__main__":
    for module in pkgutil.walk_packages(vsalt.__path__, "vsalt."):
        if module.name != "vsalt.__main__":
            importlib.import_module(module.name)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    raise SystemExit(main(sys.argv[1:]))
