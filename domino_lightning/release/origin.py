"""What a released artifact rests on: verified stages with fingerprints, seeds, versions and the content they named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from domino_lightning.config.layers import lookup
from domino_lightning.config.nodes import class_of
from domino_lightning.domains.base import Domain
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.results.runs import Run
from domino_lightning.store.contents import HUB_DATASET, PIP
from domino_lightning.store.store import Store, lineage
from domino_lightning.utils.jsonl import Record, read_json

FOLDER = "provenance"
_LOCAL = ("root", "tracking")  # keys of a document that say where it ran, and no more


@dataclass(frozen=True)
class Origin:
    """One stage of a run and all that it rests on.

    Attributes:
        run: the run.
        directory: of the stage, whose files match its manifest.
        stages: manifests by stage name, in the order in which they ran.
    """

    run: Run
    directory: Path
    stages: dict[str, Record] = field(repr=False)

    @classmethod
    def of(cls, run: Run, stage: str) -> Origin:
        """The stage of a run.

        Raises:
            UserError: the run has not finished the stage, or files are not what its manifest says.
        """
        digest = run.trial["stages"].get(stage)
        if digest is None:
            raise UserError(f"push: {run.path} has no stage '{stage}'; it has {', '.join(run.trial['stages'])}.")
        try:
            folder = Store(run.path.parents[2]).verified(stage, digest)
        except StageFailed as error:
            raise UserError(f"push: {error}") from None
        found = lineage(folder)
        return cls(run, folder, dict(sorted(found.items(), key=lambda item: item[1]["finished_at"])))

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.directory.parent.name

    @property
    def manifest(self) -> Record:
        """The stage's own manifest."""
        return self.stages[self.stage]

    @property
    def title(self) -> str:
        """Stage and fingerprint."""
        return f"{self.stage} {self.manifest['fingerprint']}"

    def folder(self, stage: str) -> Path:
        """The directory of a stage that this one rests on."""
        return self.directory.parents[1] / stage / self.stages[stage]["fingerprint"]

    @cached_property
    def domain(self) -> type[Domain]:
        """The class of the records."""
        class_path = self.run.config["domain"]["class_path"]
        found: type[Domain] = class_of(class_path, f"{self.run.path / 'config.yaml'}: key 'domain'")
        return found

    @cached_property
    def contents(self) -> list[Record]:
        """Data and models that the stages read: `stage`, `key`, `name`, and the `content` hash or revision.

        The hashes are those that the fingerprints were made of; a store of an earlier version did not keep them.
        A solver that the domain has no use for is named in the configuration but read by nothing.
        """
        return [
            {"stage": name, "key": key, "name": portable(lookup(manifest["config"], key)), "content": digest}
            for name, manifest in self.stages.items()
            if name != "answer" or self.domain.needs_solutions
            for key, digest in manifest.get("contents", {}).items()
        ]

    @property
    def models(self) -> dict[str, str]:
        """Language models by name, with the revision or content hash of each."""
        keys = ("backbone", "tokenizer")
        return {row["name"]: row["content"] for row in self.contents if row["key"].rpartition(".")[2] in keys}

    @property
    def source(self) -> str:
        """Where the reference data came from."""
        return str(portable(lookup(self.run.config, "prepare.source.path")))

    @property
    def summary(self) -> Record:
        """The content of `provenance.json`."""
        return {
            "experiment": self.run.trial["experiment"],
            "trial": self.run.trial["trial"],
            "stages": {
                name: {
                    "fingerprint": manifest["fingerprint"],
                    "version": manifest["version"],
                    "inputs": manifest["inputs"],
                    "seed": manifest["config"].get("seed"),
                    "sources": manifest.get("sources", {}),
                    "versions": manifest["versions"],
                    "git_sha": manifest["git_sha"],
                    "finished_at": manifest["finished_at"],
                }
                for name, manifest in self.stages.items()
            },
            "contents": self.contents,
        }

    @property
    def funnel(self) -> Record | None:
        """What `curate` and `answer` let pass, where they are among the stages."""
        if "answer" not in self.stages:
            return None
        answers = read_json(self.folder("answer") / "answers.json")
        return {"curate": read_json(self.folder("curate") / "funnel.json"), "answer": answers}

    @property
    def document(self) -> Record:
        """The run's configuration, without where it ran."""
        return {key: value for key, value in self.run.config.items() if key not in _LOCAL}

    @property
    def files(self) -> dict[str, bytes]:
        """Configuration, provenance and funnel, by their path in a repository."""
        import yaml

        written = {
            f"{FOLDER}/config.yaml": yaml.safe_dump(portable(self.document), sort_keys=False, allow_unicode=True),
            f"{FOLDER}/provenance.json": as_json(self.summary),
        }
        if self.funnel is not None:
            written[f"{FOLDER}/funnel.json"] = as_json(self.funnel)
        return {name: text.encode() for name, text in written.items()}

    @property
    def notes(self) -> list[str]:
        """What a reader of the release should be told, or its author look after."""
        shortened = sorted({key for key, _ in local_paths(self.document)})
        notes = [f"{FOLDER}/config.yaml: paths of this machine are cut to their names: {', '.join(shortened)}"]
        without = [name for name, manifest in self.stages.items() if "contents" not in manifest]
        missing = f"{FOLDER}/provenance.json: no hashes of data and models: an earlier version ran {', '.join(without)}"
        return (notes if shortened else []) + ([missing] if without else [])


def hub_model(spec: str) -> bool:
    """Whether a backbone's spec is an id on the hub: spelled like one, and no directory here."""
    return not spec.startswith((PIP, "/", ".", "~")) and spec.count("/") == 1 and not Path(spec).is_dir()


def hub_dataset(spec: str) -> str | None:
    """The id on the hub of a data source, if it has one."""
    if not spec.startswith(HUB_DATASET):
        return None
    return "/".join(spec.removeprefix(HUB_DATASET).split("/")[:2])


def portable(node: Any) -> Any:
    """A tree whose absolute paths are cut to their last part: they tell a reader nothing, and much of the author."""
    if isinstance(node, dict):
        return {key: portable(value) for key, value in node.items()}
    if isinstance(node, list):
        return [portable(value) for value in node]
    return Path(node).name if is_local(node) else node


def local_paths(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a tree with the absolute path each holds."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from local_paths(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from local_paths(value, key)
    elif is_local(node):
        yield key, node


def is_local(value: Any) -> bool:
    """Whether a value is an absolute path."""
    if not isinstance(value, str) or "\n" in value:
        return False
    return value.startswith("~/") or (value.startswith("/") and value.count("/") > 1)


def as_json(value: Any) -> str:
    """Indented JSON, as the package writes it."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
