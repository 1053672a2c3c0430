"""synthesize: candidate texts from the soft prompt, or another generator, in resumable blocks."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from domino_lightning.config.document import class_of
from domino_lightning.domains.base import Domain, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, write_json
from domino_lightning.stages.base import Section, Stage, Work
from domino_lightning.synthesis.generators.base import Generator
from domino_lightning.generation.language_model import Sampled
from domino_lightning.synthesis.panel import Panel
from domino_lightning.utils.block_log import BlockLog

log = logging.getLogger(__name__)

# What to try against the reason that took most rows, by how it begins.
REMEDIES = (
    ("unfinished", "Raise the generator's max_new_tokens, or tune longer"),
    ("parse:", "Tune longer, or lower the generator's temperature"),
    ("duplicate", "Raise the generator's temperature"),
)


@dataclass(frozen=True)
class Stop:
    """When to stop: at `candidates` rows, or after the block in which `accepted` rows have passed the screen."""

    candidates: int = 384
    accepted: int | None = None


class Screen:
    """The cheap test that counts towards `stop.accepted`: finished, parses, not seen before."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.seen: set[str] = set()

    def __call__(self, text: str, finished: bool) -> str:
        """'ok', or the reason."""
        if not finished:
            return "unfinished"
        try:
            key = self.domain.canonical(self.domain.parse(text))
        except Unparsable as error:
            return f"parse:{error.reason}"
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        return "ok"


class Synthesize(Stage):
    """Sample candidates.

    Args:
        domain: reads samples back, for the screen.
        generator: where texts come from.
        stop: how many.
        block_size: rows generated together; the unit of commit and resume.
        seed: of the noise.
    """

    name = "synthesize"
    version = 2
    summary = "sample new texts from the domain tokens"

    def __init__(self, domain: Domain, generator: Generator, stop: Stop, block_size: int = 48, seed: int = 0) -> None:
        if block_size < 1 or stop.candidates < 1:
            raise UserError(
                f"synthesize: block_size {block_size} and stop.candidates {stop.candidates} must be 1 or more."
            )
        if stop.accepted is not None and stop.accepted < 1:
            raise UserError(f"synthesize: stop.accepted {stop.accepted} must be 1 or more, or null.")
        self.domain, self.generator, self.stop = domain, generator, stop
        self.block_size, self.seed = block_size, seed

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """What the generator reads."""
        generator, init_args = generator_node(section)
        return generator.inputs(init_args)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """What the generator's arguments name."""
        generator, init_args = generator_node(section)
        prefix = "generator.init_args."
        return {prefix + key: digest for key, digest in generator.contents(init_args).items()}

    def run(self, work: Work) -> None:
        """Append blocks until the stop rule holds."""
        total = self.stop.candidates
        shards = BlockLog(work.directory, "raw", self.block_size, total)
        rows = shards.recover()
        screen = Screen(self.domain)
        reasons: Counter[str] = Counter(screen(row["text"], row["finished"]) for row in rows)
        tokens = sum(row["num_tokens"] for row in rows)
        started = time.monotonic()
        if len(rows) < total and not self._enough(reasons):
            self.generator.open(work.inputs)
            with Panel(total, self.stop.accepted, reasons) as panel:
                self.generator.on_tokens = panel.add_tokens
                tokens += self._append_blocks(shards, screen, reasons, panel)
        summary = {
            "candidates": reasons.total(),
            "screened_in": reasons["ok"],
            "reasons": dict(reasons.most_common()),
            "tokens": tokens,
            "wall_s": round(time.monotonic() - started, 1),
        }
        write_json(work.directory / "synthesis.json", summary)
        if self.stop.accepted is not None and not self._enough(reasons):
            log.warning("%s", shortfall(reasons, self.stop.accepted))

    def _append_blocks(self, shards: BlockLog, screen: Screen, reasons: Counter[str], panel: Panel) -> int:
        """Sample, screen and commit block by block; the number of tokens."""
        tokens, done = 0, reasons.total()
        try:
            while done < self.stop.candidates and not self._enough(reasons):
                numbers = range(done, min(done + self.block_size, self.stop.candidates))
                block = [
                    _row(number, sampled, screen(sampled.text, sampled.finished))
                    for number, sampled in zip(numbers, self.generator.generate(numbers, self.seed), strict=True)
                ]
                shards.append(done, block)
                done += len(block)
                tokens += sum(row["num_tokens"] for row in block)
                reasons.update(row["screen"] for row in block)
                panel.add_block(row["screen"] for row in block)
        except KeyboardInterrupt:
            log.warning("synthesize: interrupted; the %d rows of whole blocks stay in %s.", done, shards.directory)
            raise
        return tokens

    def _enough(self, reasons: Counter[str]) -> bool:
        return self.stop.accepted is not None and reasons["ok"] >= self.stop.accepted


def shortfall(reasons: Counter[str], wanted: int) -> str:
    """Why the candidates ran out before enough rows had passed the screen, and what may help."""
    counts = {reason: count for reason, count in reasons.most_common() if reason != "ok"}
    worst = next(iter(counts))
    remedy = next((remedy for start, remedy in REMEDIES if worst.startswith(start)), "See the rows")
    share = counts[worst] / reasons.total()
    return (
        f"synthesize: {reasons['ok']} of {wanted} rows asked for (synthesize.stop.accepted) were screened in when "
        f"all {reasons.total()} candidates (synthesize.stop.candidates) were made. '{worst}' took most: "
        f"{counts[worst]} rows, {share:.0%}. {remedy}; or raise stop.candidates."
    )


def _row(number: int, sampled: Sampled, screen: str) -> Record:
    return {
        "id": f"synthetic-{number:06d}",
        "k": number,
        "text": sampled.text,
        "finished": sampled.finished,
        "num_tokens": sampled.num_tokens,
        "screen": screen,
    }


def generator_node(section: Section) -> tuple[type[Generator], dict[str, Any]]:
    """Class and arguments of the `generator` in a section, or in another generator's arguments.

    Raises:
        UserError: it names no generator.
    """
    node = section.get("generator")
    path = node.get("class_path") if isinstance(node, dict) else node
    if not isinstance(path, str):
        raise UserError(f"synthesize.generator: {node!r} names no class. Give generator.class_path.")
    cls = class_of(path, "synthesize.generator")
    if not (isinstance(cls, type) and issubclass(cls, Generator)):
        raise UserError(f"synthesize.generator: '{path}' is not a domino_lightning.synthesis.Generator.")
    init_args = node.get("init_args") if isinstance(node, dict) else None
    return cls, init_args if isinstance(init_args, dict) else {}
