"""The large setting on a GPU: ceilings, correctness, steps of 1.5B and 7B shapes, decoding, a killed fit, memory.

It needs no weights (models are made from configurations on the device, at random) and no network, and takes about
five minutes. Every result is written as a line as soon as it is known, so a run that is cut off loses nothing:

    python benchmarks/gpu.py --out lines.jsonl          # on the machine with the GPU
    python benchmarks/gpu.py --render lines.jsonl       # anywhere: writes the section of docs/performance.md

docs/gpu.md says how to run it on a bare machine. `--tiny` runs everything in seconds, on the CPU too.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import _gpu_sections as sections
import torch
from _report import PERFORMANCE, table, write_section

from domino_lightning.planning.step_memory import predicted_peak

TITLES = {
    "ceilings": "What the card reaches",
    "families": "Shared against naive, and GPU against CPU (nats/token, small random models)",
    "steps": "A step of D and S: three texts, D = S = 256, every pair, weights in bfloat16",
    "decoding": "Decoding behind 256 domain tokens, 1.5B-shaped, 128 tokens a row",
    "greedy": "Greedy texts against `generate`, float32, 40 tokens",
    "fits": "`Trainer.fit` of the tune stage, twelve steps of a tiny model",
    "unloading": "Device memory after unloading",
}

HEADS = {
    "shared_s": "seconds", "weights_gb": "weights, GB", "peak_gb": "peak, GB", "predicted_gb": "predicted, GB",
    "naive_s": "naive, s", "speed_up": "naive / ours", "analytic": "in FLOPs", "tokens_per_s": "tokens/s",
    "launches_a_step": "launches a token", "held_mb": "held, MiB", "left_mb": "left, MiB", "gb_per_s": "GB/s",
    "tflops": "TFLOP/s", "length": "L", "first_difference": "first difference at",
}  # fmt: skip


def measured(scale: sections.Scale, names: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of the sections; one that fails is a row that says so, and the next goes on."""
    for name in names:
        begin = time.perf_counter()
        try:
            for row in sections.SECTIONS[name](scale):
                yield {"section": name, **row}
        except Exception as error:
            where = "".join(traceback.format_exception(error)[-3:])
            yield {"section": name, "error": f"{type(error).__name__}: {error}", "where": where}
        sections.free(scale)
        yield {"section": name, "seconds": time.perf_counter() - begin}


def machine(scale: sections.Scale) -> dict[str, Any]:
    """The card and the versions."""
    import lightning
    import transformers

    card = torch.cuda.get_device_name() if scale.device == "cuda" else platform.processor() or platform.machine()
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9 if scale.device == "cuda" else 0.0
    versions = {module.__name__: module.__version__ for module in (torch, transformers, lightning)}
    return {"section": "machine", "card": card, "memory_gb": memory, **versions}


def with_prediction(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a step with the peak that `domino plan` reckons with, which needs no GPU."""
    if "peak_gb" not in row or "length" not in row:
        return row
    scale = sections.full()
    config = sections.config_of(scale, row["model"])
    shape = scale.texts, scale.soft, scale.soft, row["length"], scale.texts
    predicted = predicted_peak(config, *shape, "bfloat16", row.get("micro_batch"))
    return {**row, "predicted_gb": predicted / 1e9}


def rendered(rows: list[dict[str, Any]]) -> str:
    """Markdown of the lines of a run."""
    about = next(row for row in rows if row["section"] == "machine")
    versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "transformers", "lightning"))
    parts = [f"## The large setting on a GPU\n\n`python benchmarks/gpu.py`, on {about['card']}, {versions}."]
    for name, title in TITLES.items():
        found = [{k: v for k, v in row.items() if k != "section"} for row in rows if row["section"] == name]
        found = [with_prediction(row) for row in found if "seconds" not in row]
        if found:
            header = list(dict.fromkeys(key for row in found for key in row))
            cells = [[_cell(row.get(key, "")) for key in header] for row in found]
            parts.append(f"### {title}\n\n" + table([HEADS.get(key, key.replace("_", " ")) for key in header], cells))
    return "\n\n".join(parts)


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return "; ".join(f"{name} ×{count}" for name, count in value.items())
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1000:
        return f"{value:,.0f}"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--only", nargs="+", choices=list(sections.SECTIONS), help="these sections alone")
    flags.add_argument("--tiny", "--quick", action="store_true", help="tiny models, on the GPU if there is one")
    flags.add_argument("--out", type=Path, metavar="FILE", help="append every line here")
    flags.add_argument("--render", type=Path, metavar="FILE", help="measure nothing: write the docs from such a file")
    args = flags.parse_args()
    if args.render:
        rows = [json.loads(line) for line in args.render.read_text(encoding="utf-8").splitlines()]
        write_section(PERFORMANCE, "gpu", rendered(rows))
        return
    cuda = torch.cuda.is_available()
    if not cuda and not args.tiny:
        flags.error("there is no GPU here; --tiny runs on the CPU")
    scale = sections.tiny("cuda" if cuda else "cpu") if args.tiny else sections.full()
    names = args.only or list(sections.SECTIONS)
    failed = False
    for row in chain([machine(scale)], measured(scale, names)):
        line = json.dumps(row)
        print(line, flush=True)
        failed |= "error" in row
        if args.out:
            with args.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
