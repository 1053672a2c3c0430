"""synthesize: candidate texts from the soft prompt, or another generator, in resumable blocks."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from domino_lightning.config.document import Config
from domino_lightning.config.layers import lookup
from domino_lightning.domains.base import Domain
from domino_lightning.domains.rows import CandidateRow
from domino_lightning.errors import OutOfRange, StageFailed, UserError
from domino_lightning.generation.language_model import Sampled
from domino_lightning.generation.queues import sampled_blocks
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
LOOKED_AT = 2000  # rows whose prompts' length is looked at before anything is generated


@dataclass(frozen=True)
class Stop:
    """When to stop: at `candidates` rows, or earlier.

    Args:
        candidates: rows at most.
        accepted: stop after the block in which so many rows have passed the screen.
        tokens: stop at the row with which so many tokens were generated, and refuse a corpus that has fewer: corpora
            of several generators then cost the same.
        min_screened: fail as soon as fewer than so many rows can pass the screen, since nothing could be made of them.
            It changes no result, so it is no part of the fingerprint.
    """

    candidates: int = 384
    accepted: int | None = None
    tokens: int | None = None
    min_screened: int = 1

    def check(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
            UserError: two rules of which one would undo the other.
        """
        counts = {"candidates": ONE_OR_MORE, "accepted": ONE_OR_MORE, "tokens": ONE_OR_MORE}
        check_ranges("synthesize.stop", self, **counts, min_screened=ZERO_OR_MORE)
        if self.accepted is not None and self.tokens is not None:
            raise UserError(
                f"synthesize.stop: accepted {self.accepted} and tokens {self.tokens}: give one of them, or corpora of "
                "equal cost would end before they cost the same."
            )
        for less, more in (("accepted", "candidates"), ("min_screened", "candidates"), ("min_screened", "accepted")):
            low, high = getattr(self, less), getattr(self, more)
            if low is not None and high is not None and low > high:
                raise OutOfRange("synthesize.stop", less, low, f"at most {more}, which is {high}")


class Synthesize(Stage):
    """Sample candidates.

    Args:
        domain: reads samples back, for the screen.
        generator: where texts come from.
        stop: how many.
        block_size: rows committed together.
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
            UserError: as in any stage, or the generator samples what `tune` does not learn, or does not keep.
        """
        stage = super().from_config(config)
        sampled = getattr(stage.generator, "sample_tokens", "none")
        if sampled != "none":
            key = "tune.keep_sample_tokens"
            if lookup(config.document, key) is False:
                raise UserError(
                    f"{config.where(key)}: {key} is false, and synthesize.generator samples behind sample tokens "
                    f"(sample_tokens: {sampled}). Set {key}=true, or "
                    "synthesize.generator.init_args.sample_tokens=none."
                )
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
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """What the generator reads."""
        generator, node = generator_node(section)
        return generator.inputs(node.init_args)

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Without the floor below which it fails, nor a `stop.tokens` of null: stages from before it are found."""
        section, stop = super().identity(section), section.get("stop")
        if not isinstance(stop, dict):  # validation says what is wrong with it
            return section
        left = {key: value for key, value in stop.items() if key != "min_screened" and (key, value) != ("tokens", None)}
        return {**section, "stop": left}

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
        stop = {"candidates": 8, "accepted": None, "tokens": None, "min_screened": 1}
        return {"generator": smoke, "block_size": 4, "stop": stop}

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
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
    def samples(cls, directory: Path, section: Section | None = None) -> list[dict[str, str]]:
        """The first candidates."""
        return table(first_rows(directory / "raw-00000.jsonl"))

    def run(self, work: Work) -> None:
        """Append blocks until the stop rule holds.

        Raises:
            UserError: rows that cannot be generated, or `stop.tokens` that all candidates together do not reach.
        """
        total = self.stop.candidates
        shards = BlockLog(work.directory, "raw", self.block_size, total, sums=work.scratch)
        rows = shards.recover()
        screen, kept = Screen(self.domain), [str(row["text"]) for row in rows]
        reasons: Counter[str] = Counter(screen(row["text"], row["finished"]) for row in rows)
        tokens = sum(row["num_tokens"] for row in rows)
        started = time.monotonic()
        if len(rows) < total and not self._enough(reasons, tokens):
            self.generator.open(work.inputs)
            self.generator.check_rows(range(len(rows), min(total, len(rows) + LOOKED_AT)), self.seed)
            self.generator.remember(cast("list[CandidateRow]", rows))
            sampling = getattr(self.generator, "sampling", None)
            longest = None if sampling is None else sampling.max_new_tokens
            with Panel(total, self.stop.accepted, reasons, longest) as panel:
                self.generator.on_tokens = panel.add_tokens
                tokens = self._append_blocks(shards, kept, screen, reasons, tokens, panel)
        if tokens < (self.stop.tokens or 0):
            raise UserError(
                f"synthesize.stop.tokens: all {total} candidates (synthesize.stop.candidates) have {tokens} of the "
                f"{self.stop.tokens} tokens that the corpus is to cost. Raise stop.candidates, or lower stop.tokens."
            )
        self._check_hope(reasons, tokens, shards)
        summary = {
            "candidates": reasons.total(),
            "screened_in": reasons["ok"],
            "reasons": dict(reasons.most_common()),
            "tokens": tokens,
            "wall_s": round(time.monotonic() - started, 1),
        }
        write_json(work.directory / SUMMARY, summary)
        if self.stop.accepted is not None and not self._enough(reasons, tokens):
            log.warning("%s", shortfall(reasons, self.stop.accepted))

    def _append_blocks(
        self,
        shards: BlockLog,
        kept: Sequence[str],
        screen: Screen,
        reasons: Counter[str],
        tokens: int,
        panel: Panel,
    ) -> int:
        """Sample, screen and commit block by block; the number of tokens, those there were before among them."""
        done = len(kept)

        def sampled(rows: range) -> Iterator[Sampled]:
            return self.generator.stream(rows, self.seed)

        try:
            wanted, queue = self.stop.candidates, self.generator.queue
            for found in sampled_blocks(sampled, kept, wanted, self.block_size, queue, panel.add_row):
                found = found[: self._within(found, tokens)]
                block = [
                    _row(number, each, screen(each.text, each.finished)) for number, each in enumerate(found, done)
                ]
                shards.append(done, block)
                self.generator.remember(block)
                done += len(block)
                tokens += sum(row["num_tokens"] for row in block)
                reasons.update(row["screen"] for row in block)
                panel.add_block(row["screen"] for row in block)
                if self._enough(reasons, tokens):
                    break
                self._check_hope(reasons, tokens, shards)
        except KeyboardInterrupt:
            log.warning("synthesize: interrupted; the %d rows of whole blocks stay in %s.", done, shards.directory)
            raise
        return tokens

    def _within(self, sampled: Sequence[Sampled], tokens: int) -> int:
        """How many rows of a block there are up to the one that reaches `stop.tokens`; all, if none does."""
        before = accumulate((each.num_tokens for each in sampled[:-1]), initial=tokens)
        return sum(total < (self.stop.tokens or math.inf) for total in before)

    def _enough(self, reasons: Counter[str], tokens: int) -> bool:
        if self.stop.tokens is not None and tokens >= self.stop.tokens:
            return True
        return self.stop.accepted is not None and reasons["ok"] >= self.stop.accepted

    def _check_hope(self, reasons: Counter[str], tokens: int, shards: BlockLog) -> None:
        """Refuse to go on where too few rows can pass the screen, with three of those that did not.

        Raises:
            StageFailed: it names the reason that took most.
        """
        left = 0 if self._enough(reasons, tokens) else self.stop.candidates - reasons.total()
        if reasons["ok"] + max(0, left) < self.stop.min_screened:
            raise StageFailed(hopeless(reasons, self.stop.min_screened, shards.recover()))


def _row(number: int, sampled: Sampled, screen: str) -> CandidateRow:
    return {
        "id": f"synthetic-{number:06d}",
        "k": number,
        "text": sampled.text,
        "finished": sampled.finished,
        "num_tokens": sampled.num_tokens,
        "screen": screen,
    }
