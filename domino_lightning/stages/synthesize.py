"""synthesize: candidate texts from the soft prompt, or another generator, in resumable blocks."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.domains.base import Domain
from domino_lightning.domains.rows import CandidateRow
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.generation.language_model import Sampled
from domino_lightning.stages.base import Stage, first_rows, shown, table
from domino_lightning.store.work import Section, Work
from domino_lightning.synthesis.generators.base import Generator, generator_node
from domino_lightning.synthesis.generators.smoke import SmokeGenerator
from domino_lightning.synthesis.panel import Panel
from domino_lightning.synthesis.screen import Screen, hopeless, shortfall
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.jsonl import read_object, write_json
from domino_lightning.utils.ranges import ONE_OR_MORE, ZERO_OR_MORE, check_ranges

log = logging.getLogger(__name__)

SUMMARY = "synthesis.json"


@dataclass(frozen=True)
class Stop:
    """When to stop: at `candidates` rows, or after the block in which `accepted` rows have passed the screen.

    The stage fails as soon as fewer than `min_screened` rows can pass, since nothing could be made of them. That
    number changes no result, so it is no part of the fingerprint.
    """

    candidates: int = 384
    accepted: int | None = None
    min_screened: int = 1

    def check(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        check_ranges("synthesize.stop", self, candidates=ONE_OR_MORE, accepted=ONE_OR_MORE)
        check_ranges("synthesize.stop", self, min_screened=ZERO_OR_MORE)


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
    artifact = "corpus"
    samples_key = "synthesize/raw/samples"
    panel = "Funnel"

    def __init__(self, domain: Domain, generator: Generator, stop: Stop, block_size: int = 192, seed: int = 0) -> None:
        self.domain, self.generator, self.stop = domain, generator, stop
        self.block_size, self.seed = block_size, seed
        check_ranges("synthesize", self, block_size=ONE_OR_MORE)
        stop.check()

    @classmethod
    def from_config(cls, config: Config) -> Synthesize:
        """The stage as its section describes it; where there is a `tune` section, it must learn what is sampled.

        Raises:
            UserError: as in any stage, or the generator samples what `tune` does not learn.
        """
        stage = super().from_config(config)
        wanted = stage.generator.learned
        if wanted and isinstance(config.document.get("tune"), dict):
            from domino_lightning.stages.tune import Tune

            found = Tune.learned(config.document["tune"])
            if found != wanted:
                generator = config.document["synthesize"]["generator"]
                raise UserError(
                    f"{config.where('synthesize.generator')}: synthesize.generator {generator['class_path']} samples "
                    f"what `tune` has learned as '{wanted}', and tune.model learns '{found}'. Name a tune.model and a "
                    "generator that belong together (docs/synthesis.md)."
                )
        return stage

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Without the floor below which it fails."""
        section = super().identity(section)
        stop = section.get("stop")
        if not isinstance(stop, dict):  # validation says what is wrong with it
            return section
        return {**section, "stop": {key: value for key, value in stop.items() if key != "min_screened"}}

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """What the generator reads."""
        generator, node = generator_node(section)
        return generator.inputs(node.init_args)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """What the generator's arguments name."""
        generator, node = generator_node(section)
        prefix = "generator.init_args."
        return {prefix + key: digest for key, digest in generator.contents(node.init_args).items()}

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Eight rows of the tiny model and of held-out texts in turn."""
        generator, node = generator_node(config.document["synthesize"])
        init_args = {**node.init_args, **generator.small(node.init_args, backbone)}
        inner = {"generator": {"class_path": node.path, "init_args": init_args}}
        smoke = {"class_path": f"{SmokeGenerator.__module__}.{SmokeGenerator.__name__}", "init_args": inner}
        return {"generator": smoke, "block_size": 4, "stop": {"candidates": 8, "accepted": None, "min_screened": 1}}

    @classmethod
    def metrics(cls, directory: Path) -> dict[str, float]:
        """Candidates, those past the screen, tokens."""
        path = directory / SUMMARY
        summary = read_object(path) if path.is_file() else {}
        names = ("candidates", "screened_in", "tokens")
        return {f"synthesize/raw/{name}": summary[name] for name in names if name in summary}

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """How many passed the screen."""
        screened_in, candidates = (shown(metrics, f"synthesize/raw/{name}") for name in ("screened_in", "candidates"))
        return f"{screened_in} of {candidates} screened in"

    @classmethod
    def samples(cls, directory: Path) -> list[dict[str, str]]:
        """The first candidates."""
        return table(first_rows(directory / "raw-00000.jsonl"))

    def run(self, work: Work) -> None:
        """Append blocks until the stop rule holds."""
        total = self.stop.candidates
        shards = BlockLog(work.directory, "raw", self.block_size, total, sums=work.scratch)
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
        self._check_hope(reasons, shards)
        summary = {
            "candidates": reasons.total(),
            "screened_in": reasons["ok"],
            "reasons": dict(reasons.most_common()),
            "tokens": tokens,
            "wall_s": round(time.monotonic() - started, 1),
        }
        write_json(work.directory / SUMMARY, summary)
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
                self._check_hope(reasons, shards)
        except KeyboardInterrupt:
            log.warning("synthesize: interrupted; the %d rows of whole blocks stay in %s.", done, shards.directory)
            raise
        return tokens

    def _check_hope(self, reasons: Counter[str], shards: BlockLog) -> None:
        """Refuse to go on where too few rows can pass the screen, with three of those that did not.

        Raises:
            StageFailed: it names the reason that took most.
        """
        left = 0 if self._enough(reasons) else self.stop.candidates - reasons.total()
        if reasons["ok"] + max(0, left) < self.stop.min_screened:
            raise StageFailed(hopeless(reasons, self.stop.min_screened, shards.recover()))

    def _enough(self, reasons: Counter[str]) -> bool:
        return self.stop.accepted is not None and reasons["ok"] >= self.stop.accepted


def _row(number: int, sampled: Sampled, screen: str) -> CandidateRow:
    return {
        "id": f"synthetic-{number:06d}",
        "k": number,
        "text": sampled.text,
        "finished": sampled.finished,
        "num_tokens": sampled.num_tokens,
        "screen": screen,
    }
