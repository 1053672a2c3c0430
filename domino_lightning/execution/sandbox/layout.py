"""What a box shows of the host: one interpreter, its standard library, system libraries, packages by policy."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from domino_lightning.execution.sandbox.inside.init import BOX, WORK

SITE = "/site"
PACKAGES = ("numpy",)  # what programs may import beside the standard library
DEVICES = ("null", "full", "random", "urandom")  # not zero, of which shared memory can be made that no limit counts
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/lib", "/lib32", "/lib64", "/libx32")
_STREAMS = [(f"/dev/{name}", f"/proc/self/fd/{number}") for number, name in enumerate(("stdin", "stdout", "stderr"))]
_DEVICE_LINKS = (("/dev/fd", "/proc/self/fd"), *_STREAMS, ("/dev/shm", WORK))
_PARTS = 2  # /usr and /usr/local are no interpreter's own prefix


@dataclass(frozen=True)
class Layout:
    """Paths of a box.

    Attributes:
        binds: (path on the host, path in the box), read-only; a later one may lie inside an earlier one.
        links: (path in the box, where it points).
        hidden: directories that appear empty.
        python: the interpreter, a path in the box.
        directories: what to make beforehand, readable by all, an outer directory before an inner one.
    """

    binds: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
    python: str
    directories: tuple[str, ...]


def find_layout(packages: Sequence[str] = PACKAGES) -> Layout:
    """The layout for the interpreter that runs this process; of a virtual environment, the one it rests on.

    Everything keeps its path, so that a Python built as a shared library finds its own and not the system's.
    """
    python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    binds: list[tuple[str, str]] = []
    links = [*_DEVICE_LINKS] if sys.base_prefix.startswith("/tmp/") else [*_DEVICE_LINKS, ("/tmp", WORK)]
    for path in _SYSTEM:
        if os.path.islink(path):
            links.append((path, os.readlink(path)))
        elif os.path.isdir(path):
            binds.append((path, path))
    stdlib = sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "platbase": sys.base_prefix})
    own = {python, *_library_files(), stdlib, os.path.realpath(stdlib)}
    if len(Path(sys.base_prefix).parts) > _PARTS + 1:  # such as a pyenv's or conda's: its lib/ has its libraries
        own.add(os.path.join(sys.base_prefix, "lib"))
    for path in sorted(own, key=len):
        if not any(path == bound or path.startswith(f"{bound}/") for bound, _ in binds):
            binds.append((path, path))
    if os.path.exists("/etc/ld.so.cache"):
        binds.append(("/etc/ld.so.cache", "/etc/ld.so.cache"))
    binds += [(path, f"{SITE}/{os.path.basename(path)}") for name in packages for path in _package_files(name)]
    found = (f"{stdlib}/site-packages", f"{stdlib}/dist-packages", "/usr/lib/python3/dist-packages")
    hidden = tuple(path for path in found if os.path.isdir(path))
    targets = ["/dev/null", f"{SITE}/null", *(target for _, target in binds)]
    inside = tuple(f"{target}/" for _, target in binds)
    parents = {str(parent) for target in targets for parent in Path(target).parents} | {BOX, "/proc"}
    made = sorted(path for path in parents if path != "/" and not f"{path}/".startswith(inside))
    return Layout(tuple(binds), tuple(links), hidden, python, tuple(made))


def _library_files() -> list[str]:
    """The shared libraries of Python's own that this process has loaded."""
    found = set()
    with open("/proc/self/maps") as file:
        for line in file:
            path = line.split(maxsplit=5)[-1].strip()
            if os.path.basename(path).startswith("libpython"):
                found.add(path)
    return sorted(found)


def _package_files(name: str) -> list[str]:
    """Where a package lies, with the folder of its bundled libraries; empty if it is not installed."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        return []
    folder = os.path.realpath(found.submodule_search_locations[0])
    return [path for path in (folder, f"{folder}.libs") if os.path.isdir(path)]


def bubblewrap_arguments(layout: Layout, bwrap: str) -> list[str]:
    """The command line up to the program to run."""
    arguments = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    arguments += ["--as-pid-1", "--hostname", "box", "--new-session"]  # it ends when its control socket closes
    if os.geteuid() == 0:  # the fork server drops each program to a user of its own, and programs keep none of these
        arguments += ["--cap-drop", "ALL"]
        for name in ("SYS_ADMIN", "SETUID", "SETGID", "DAC_OVERRIDE", "DAC_READ_SEARCH", "SYS_PTRACE", "KILL"):
            arguments += ["--cap-add", f"CAP_{name}"]
    for path in layout.directories:
        arguments += ["--dir", path]
    for source, target in layout.binds:
        arguments += ["--ro-bind", source, target]
    for path in layout.hidden:
        arguments += ["--tmpfs", path, "--remount-ro", path]
    for target, points_to in layout.links:
        arguments += ["--symlink", points_to, target]
    arguments += ["--proc", "/proc"]
    for name in DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    return [*arguments, "--remount-ro", "/", "--chdir", "/", "--"]
