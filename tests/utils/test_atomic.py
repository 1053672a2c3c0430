"""A file is the old one or complete, and two writers never share a temporary name."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from domino_lightning.errors import disk_trouble
from domino_lightning.utils.atomic import atomic_write, naming, temporary_beside


def test_a_block_that_succeeds_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["x.txt"]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.txt"]


def test_a_symbolic_link_is_replaced_too(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to("nowhere")
    with atomic_write(path) as temporary:
        temporary.symlink_to("elsewhere")
    assert os.readlink(path) == "elsewhere"


def test_a_temporary_name_is_hidden_and_says_whose_it_is(tmp_path: Path) -> None:
    first, second = (temporary_beside(tmp_path / "x.json").name for _ in range(2))
    assert first != second
    assert first.startswith(f".x.json.{socket.gethostname()}.{os.getpid()}.") and first.endswith(".tmp")


def test_files_that_a_library_makes_private_follow_the_umask(tmp_path: Path) -> None:
    """As safetensors does, by a temporary file of its own."""
    for umask, mode in ((0o022, 0o644), (0o007, 0o660), (0o077, 0o600)):
        old = os.umask(umask)
        try:
            with atomic_write(tmp_path / "weights") as temporary:
                os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        finally:
            os.umask(old)
        assert (tmp_path / "weights").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_an_error_that_names_no_path_is_told_with_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    with pytest.raises(OSError) as caught, atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(disk_trouble(caught.value, "elsewhere")).startswith(f"{path}: the disk is full")
    with pytest.raises(OSError) as caught, naming(path):
        raise FileNotFoundError(errno.ENOENT, "gone", "y.txt")
    assert caught.value.filename == "y.txt"
