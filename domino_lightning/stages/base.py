"""What a stage is: one section of the experiment, one typed class, one directory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, Self

from domino_lightning.config.document import Config
from domino_lightning.config.layers import lookup, one_line
from domino_lightning.config.nodes import class_nodes, class_of
from domino_lightning.config.sections import parse_section
from domino_lightning.config.types import evaluate_types
from domino_lightning.errors import Changed, OutOfRange, UserError
from domino_lightning.generation.ledger import usage
from domino_lightning.store.arguments import argument_contents
from domino_lightning.store.coverage import check_covered, check_loaded, look_ahead
from domino_lightning.store.sources import Source
from domino_lightning.store.work import Section, Work
from domino_lightning.tracking.metrics_file import last_values
from domino_lightning.utils.contract import check_attributes
from domino_lightning.utils.jsonl import Record, canonical_json, read_jsonl
from domino_lightning.utils.own_frames import own_frames, raised

SAMPLE_ROWS = 24  # of a table of samples
MAX_SEED = 2**32  # what Lightning and NumPy take
SAMPLE_FIELDS = ("id", "text", "reason", "detail", "screen")


class Stage(ABC):
    """One section of an experiment; its constructor's typed arguments are the section's keys.

    Class attributes:
        name: section, subcommand and directory.
        version: part of the fingerprint; raised when a change of code changes results.
        summary: one line for --help.
        artifact: type of the W&B artifact that holds its files; empty: it has none.
        samples_key: key of its table of samples; empty: it writes no texts.
        panel: section of a dashboard that its final numbers are shown in; empty: none.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]
    artifact: ClassVar[str] = ""
    samples_key: ClassVar[str] = ""
    panel: ClassVar[str] = ""

    @classmethod
    def parser(cls, section: Section) -> Any:
        """A jsonargparse parser of the section, which raises instead of exiting."""
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(evaluate_types(cls), None)
        return parser

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """Whether it runs in a process of its own: training does, since DDP children repeat the command line."""
        return False

    @classmethod
    def processes(cls, section: Section) -> int:
        """How many processes of it compute at the same time on a node: the ranks of a DDP run."""
        return 1

    @classmethod
    def nodes(cls, section: Section) -> int:
        """Machines it runs on at the same time."""
        return 1

    @classmethod
    def lacking(cls, section: Section) -> str | None:
        """What a key of the section must be on this machine, beginning with the key; None: there is all it asks for."""
        return None

    @classmethod
    def devices(cls, section: Section) -> int:
        """Accelerators it uses where there are any: one if the section names a backbone, else none."""
        return int(_names_backbone(section))

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """Names of the stages whose directories this one reads."""
        return ()

    @classmethod
    def identity(cls, section: Section) -> Section:
        """What of the section decides the result; the rest is no part of the fingerprint, and neither is `runtime`.

        A `backbone_dtype` of `auto` is left out, so that stages from before there was one are found; and the `runtime`
        of an engine, wherever it is named, and empty `init_args`.
        """
        return _identity(section)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Dotted keys of the section that name outside content, with its hash.

        Raises:
            UserError: a file or backbone that is not there.
        """
        return {}

    @classmethod
    def outside(cls, section: Section) -> dict[str, Any]:
        """`contents`, and the files and folders that arguments of the user's classes name, as far as they count.

        Raises:
            UserError: a file or backbone that is not there.
        """
        told = cls.contents(section)
        counted = {key: value for key, value in cls.identity(section).items() if key != "runtime"}
        return argument_contents(counted, told) | told

    @classmethod
    def check_contents(cls, work: Work) -> None:
        """Refuse outside content that is not what the fingerprint covers: it changed after the run was planned.

        Raises:
            Changed: it names the key and what it names.
        """
        found = cls.outside(work.section) if work.contents else {}
        for key, digest in work.contents.items():
            if canonical_json(found.get(key)) != canonical_json(digest):
                raise Changed(
                    f"{cls.name}.{key}: {_at(work.section, key)!r} changed after this run was planned, so its result "
                    "would be stored under the hash of what it was. Nothing was stored. Give the same command again "
                    "to use what is there now, or put it back (a sweep then needs --retry-failed)."
                )

    @classmethod
    def metrics(cls, directory: Path) -> dict[str, float]:
        """The final numbers of a directory of it as `<stage>/<split>/<name>`, and what paid models have cost."""
        return cls.numbers(directory) | usage(cls.name, directory)

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
        """Its own final numbers; by default what it has logged."""
        return last_values(directory)

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """What it came to, in a few words for a table; `metrics` are those of `metrics()`."""
        return ""

    @classmethod
    def samples(cls, directory: Path, section: Section | None = None) -> list[dict[str, str]]:
        """Rows of one width for its table of samples; the section, where it is known, says what is in them."""
        return []

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """The stage as its section describes it.

        Raises:
            UserError: a bad key, a value that one of the section's classes refuses, or code that its fingerprint does
                not cover, in one line.
        """
        seed = lookup(config.document, f"{cls.name}.seed")
        if type(seed) is int and not 0 <= seed < MAX_SEED:
            key = f"{cls.name}.seed"
            raise UserError(f"{config.where(key)}: key '{key}': {seed} must be from 0 to {MAX_SEED - 1}.")
        found: Mapping[str, Source] = {}
        with suppress(UserError):  # what is not found is told below, with its key
            found = look_ahead(config.document[cls.name])
        for key, node in class_nodes(config.document[cls.name], f"{cls.name}."):
            if "." not in node.path:
                continue
            try:
                evaluate_types(class_of(node.path, f"{config.where(key)}: key '{key}'"))
            except UserError:
                if not node.path.startswith("domino_lightning."):  # of the package's own, parsing tells as much
                    raise
        section = config.document[cls.name]
        parser = cls.parser(section if isinstance(section, dict) else {})
        parsed = parse_section(parser, cls.name, config)
        try:
            stage = cls(**vars(parser.instantiate(parsed)))
        except (Exception, SystemExit) as error:
            raise _refusal(error, cls.name, config) from None
        check_loaded(cls.name, found)
        check_attributes(stage)
        check_covered(cls.name, stage, found)
        return stage

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Overrides of its section with which a smoke run does all of it in seconds.

        Args:
            config: the experiment as it stands; its classes, losses and filters stay as they are.
            backbone: a tiny random model, to put in place of any other.
        """
        return {}

    @abstractmethod
    def run(self, work: Work) -> None:
        """Write the stage's files into `work.directory`, continuing what an interrupted run left there."""


def shown(metrics: Mapping[str, float], key: str) -> str:
    """A number of a headline: whole where it is, else with three decimals; ? where it is missing."""
    value = metrics.get(key)
    if value is None or not isfinite(value):
        return "?"
    return f"{value:.0f}" if value == int(value) else f"{value:.3f}"


def first_rows(path: Path) -> list[Record]:
    """The first rows of a JSON Lines file; none where it is not there."""
    return read_jsonl(path)[:SAMPLE_ROWS] if path.is_file() else []


def table(rows: Sequence[Record]) -> list[dict[str, str]]:
    """Rows as texts of one width: the fields of samples that any of them has."""
    names = [name for name in SAMPLE_FIELDS if any(name in row for row in rows)]
    return [{name: str(row.get(name, "")) for name in names} for row in rows]


def _at(tree: Any, key: str) -> Any:
    """The value under a dotted key, in which a part may be the number of a list's item."""
    for part in key.split("."):
        tree = tree[int(part)] if isinstance(tree, Sequence) else tree[part]
    return tree


def _refusal(error: Exception | SystemExit, stage: str, config: Config) -> BaseException:
    """What to raise where a class of the section has refused its arguments; jsonargparse hides it behind a Union."""
    where = f"{config.where(stage)}: section '{stage}'"
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, OutOfRange):
        return UserError(_located(cause, stage, config))
    if isinstance(cause, UserError):
        return cause
    if isinstance(error, ValueError):
        return UserError(f"{where}: {one_line(error)}.")
    own = own_frames(error)
    return UserError(f"{where}: a constructor raised {raised(error)}\n{own}") if own else error


def _located(error: OutOfRange, stage: str, config: Config) -> str:
    """The message with the layer that set the number, found in the section by its name and value."""

    def keys(node: Any, prefix: str) -> Iterator[str]:
        items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
        for name, value in items:
            if name == error.name and _same(value, error.value):
                yield f"{prefix}.{name}"
            yield from keys(value, f"{prefix}.{name}")

    def group_said(key: str) -> bool:  # of keys alike, the one in the group that refused it
        return f".{key.rpartition('.')[0]}".removesuffix(".init_args").endswith(f".{error.where}")

    key = max(keys(config.document[stage], stage), key=group_said, default=None)
    if key is None:
        return f"{config.where(stage)}: {error}"
    group = key.rpartition(".")[0]
    return f"{config.where(key)}: {group}: {error.name} {error.value} must be {error.words}."


def _same(given: Any, refused: Any) -> bool:
    """Whether a class was given this value of a document, where -1 may have become -1.0; NaN is itself."""
    numbers = (int, float)
    alike = isinstance(given, numbers) and isinstance(refused, numbers) and given == refused
    return alike or repr(given) == repr(refused)


def _identity(node: Any, name: str = "") -> Any:
    """A tree without what changes no result; `name` is the key that holds it."""
    if isinstance(node, list):
        return [_identity(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    kept = {key: value for key, value in node.items() if (key, value) != ("backbone_dtype", "auto")}
    init_args = kept.get("init_args")
    if name.endswith("engine") and isinstance(init_args, Mapping):
        kept["init_args"] = {key: value for key, value in init_args.items() if key != "runtime"}
    if "class_path" in kept and not kept.get("init_args", True):  # said or left out, it is the same
        del kept["init_args"]
    return {key: _identity(value, str(key)) for key, value in kept.items()}


def _names_backbone(node: Any) -> bool:
    if isinstance(node, Mapping):
        return "backbone" in node or any(map(_names_backbone, node.values()))
    return isinstance(node, list) and any(map(_names_backbone, node))
