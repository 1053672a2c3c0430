"""What benchmarks share: their flags, their JSON, and their own section of the docs."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PERFORMANCE = DOCS / "performance.md"
HEADER = "# Performance\n\nEvery section is written by the command it names; a `--quick` run writes none.\n"


def parser(description: str | None) -> argparse.ArgumentParser:
    """`--quick` for a small run that leaves the docs alone, `--json FILE` for the numbers."""
    flags = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--quick", action="store_true", help="a small run; the docs are left alone")
    flags.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here")
    return flags


def publish(
    name: str, title: str, text: str, results: dict[str, Any], flags: argparse.Namespace, docs: Path = PERFORMANCE
) -> None:
    """Print the text, write the JSON if asked, and unless `--quick` renew this benchmark's section of the docs.

    Args:
        name: the benchmark's file name without `.py`; names its section.
        title: heading of the section.
        text: Markdown; the machine and the command are added.
        results: the numbers for `--json`.
        flags: parsed by `parser`.
        docs: the file with the sections.
    """
    print(text)
    if flags.json:
        flags.json.parent.mkdir(parents=True, exist_ok=True)
        flags.json.write_text(json.dumps({**results, "machine": machine()}, indent=1) + "\n", encoding="utf-8")
    if not flags.quick:
        write_section(docs, name, f"## {title}\n\n`python benchmarks/{name}.py`, on {machine()}.\n\n{text.strip()}")


def write_section(docs: Path, name: str, text: str) -> None:
    """Put `text` between this benchmark's markers, at the end if it has none; other sections stay as they are."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = docs.read_text(encoding="utf-8") if docs.exists() else HEADER
    section = f"{begin}\n{text}\n{end}"
    if begin in old and end in old:
        before, rest = old.split(begin, 1)
        new = before + section + rest.split(end, 1)[1]
    else:
        new = f"{old.rstrip()}\n\n{section}\n"
    temporary = docs.with_suffix(".tmp")
    temporary.write_text(new, encoding="utf-8")
    os.replace(temporary, docs)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table with aligned columns; floats get three significant digits."""
    cells = [[f"{cell:#.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|", *lines[1:]])


def machine() -> str:
    """Processor, cores and versions, without a host name."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{processor}, {cores} cores"
    return f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads"
