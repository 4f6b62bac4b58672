"""Where the program `verbatim` is, which every replica starts."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path


def find(binary: str | None = None, may_build: bool = True) -> str:
    """The path of the program.

    In this order: `binary` itself; the variable VERBATIM_BINARY; the scripts of this Python
    environment, where a wheel puts it; PATH; the clone that this package is part of, where it is
    built with cargo if it is not there yet and `may_build`. Raises FileNotFoundError if it is
    nowhere.
    """
    if named := binary or os.environ.get("VERBATIM_BINARY"):
        if found := shutil.which(named):
            return found
        raise FileNotFoundError(f"{named} is not a program that can be run")
    scripts = sysconfig.get_path("scripts")
    if found := shutil.which("verbatim", path=scripts) or shutil.which("verbatim"):
        return found
    clone = Path(__file__).resolve().parents[4]
    built = clone / "target" / "release" / "verbatim"
    if (
        may_build
        and not built.exists()
        and (clone / "host-linux").is_dir()
        and shutil.which("cargo")
    ):
        subprocess.run(["cargo", "build", "--release", "-p", "verbatim"], cwd=clone, check=True)
    if built.exists():
        return str(built)
    raise FileNotFoundError(
        "the program verbatim was not found: put it on PATH of every node, or say where it is "
        "by binary=… or the variable VERBATIM_BINARY"
    )
