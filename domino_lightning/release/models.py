"""The soft prompt and the coder as model repositories that PEFT or transformers loads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.models.loading import importing, loading
from domino_lightning.models.soft_prompt import DESCRIPTION, WEIGHTS
from domino_lightning.release.bundle import Bundle
from domino_lightning.release.croissant import PAPER
from domino_lightning.release.origin import FOLDER, Origin, as_json, hub_model, portable
from domino_lightning.release.terms import Terms
from domino_lightning.stages import stage_class
from domino_lightning.utils.jsonl import read_json

_ADAPTER = "adapter_config.json"


def soft_prompt_bundle(origin: Origin, terms: Terms, repo_id: str) -> Bundle:
    """The repository of the domain tokens: a PEFT adapter, and this package's own files beside it.

    Sample tokens are left out: each belongs to one reference, and a release is of what the references share.

    Args:
        origin: of stage `tune`.
        terms: licenses.
        repo_id: `user/name`.
    """
    description = read_json(origin.directory / DESCRIPTION)
    base = description["backbone"]
    use = f"""## Use

```python
from peft import PeftModel
{importing(base)}

model = PeftModel.from_pretrained({loading(portable(base))}, "{repo_id}")
```

{description["num_tokens"]} virtual tokens of {description["hidden_size"]} numbers before a text; sampling behind them \
gives texts of the domain. They fit no other backbone and no other tokenizer (`{DESCRIPTION}` has their hashes).

"""
    files = {
        **_folder(origin.directory / "adapter", base),
        WEIGHTS: origin.directory / WEIGHTS,
        DESCRIPTION: as_json(portable(description)).encode(),
    }
    title = f"Soft prompt for {origin.domain.kind}"
    return _bundle(origin, terms, repo_id, files, base, ("peft", "prompt-tuning", "soft-prompt"), title, use)


def coder_bundle(origin: Origin, terms: Terms, repo_id: str, data: str | None) -> Bundle:
    """The repository of the fine-tuned coder: its adapter, or the whole model with its tokenizer.

    Args:
        origin: of stage `evaluate`, or of `finetune` where the run goes no further.
        terms: licenses.
        repo_id: `user/name`.
        data: the dataset repository of the same release, where the coder was trained on it.

    Raises:
        UserError: the coder is the untouched backbone.
    """
    folder = origin.folder("finetune")
    coder = read_json(folder / "coder.json")
    base = coder["base"]
    if coder["source"] == "none":
        raise UserError(f"push: the coder of {origin.run.path} is '{base}' as it was (finetune.source is none).")
    files, library = _folder(folder / "model", base), "peft" if coder["adapter"] else "transformers"
    if not coder["adapter"]:
        files |= _tokenizer(base)
    code = (
        f"""from peft import PeftModel
{importing(base)}

model = PeftModel.from_pretrained({loading(portable(base))}, "{repo_id}")"""
        if coder["adapter"]
        else f"""from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{repo_id}")
tokenizer = AutoTokenizer.from_pretrained("{repo_id}")"""
    )
    use = f"""## Use

```python
{code}
```

Trained for {coder["steps"]} steps on {coder["pairs"]} chat pairs (source: {coder["source"]}).

"""
    tags = ("lora",) if coder["adapter"] else ()
    extra = {"datasets": [data]} if data else {}
    title = f"Coder for {origin.domain.kind}"
    return _bundle(origin, terms, repo_id, files, base, (library, *tags), title, use, extra)


def _bundle(
    origin: Origin,
    terms: Terms,
    repo_id: str,
    files: Mapping[str, bytes | Path],
    base: str,
    tags: tuple[str, ...],
    title: str,
    use: str,
    extra: Mapping[str, Any] | None = None,
) -> Bundle:
    """Card and provenance beside the files; `tags` begins with the library."""
    from huggingface_hub import ModelCardData

    head = ModelCardData(
        language=list(origin.domain.languages),
        library_name=tags[0],
        pipeline_tag="text-generation",
        tags=[*tags[1:], *origin.domain.tags, origin.domain.kind, "domino"],
        base_model=base if hub_model(base) else None,
        **terms.head,
        **(extra or {}),
    )
    models = "\n".join(f"| `{name}` | {content} |" for name, content in origin.models.items())
    body = f"""# {title}

Made by domino_lightning ({origin.title}) from references `{origin.source}`.

{use}{_results(origin)}## Models

| model | revision or sha256 |
| --- | --- |
{models}

`{FOLDER}/` has the configuration, and the fingerprints, seeds and versions of all stages.

## Licences

{terms.table("this model")}
## Citation

```bibtex
{PAPER}
```
"""
    card = f"---\n{head.to_yaml()}\n---\n{body}"
    notes = list(origin.notes)
    if not hub_model(base):
        notes.append(f"README.md: base model '{portable(base)}' is not on the hub: readers need it to load the adapter")
    content = {**files, "README.md": card.encode(), **origin.files}
    return Bundle(repo_id, "model", f"domino_lightning: {origin.title}", content, notes)


def _results(origin: Origin) -> str:
    """Numbers of the stage, held-out and test, as a section."""
    numbers = stage_class(origin.stage).metrics(origin.directory)
    rows = [
        f"| `{name}` | {value:.4g} |"
        for name, value in numbers.items()
        if name.split("/")[1] in {"heldout", "test"} and value is not None
    ]
    return "## Results\n\n| number | value |\n| --- | ---: |\n" + "\n".join(rows) + "\n\n" if rows else ""


def _folder(folder: Path, base: str) -> dict[str, bytes | Path]:
    """The files of a saved model or adapter, but for its README, which is for this machine; the base without paths."""
    files: dict[str, bytes | Path] = {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "README.md"
    }
    if _ADAPTER in files:
        config = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
        files[_ADAPTER] = as_json({**config, "base_model_name_or_path": portable(base)}).encode()
    return files


def _tokenizer(base: str) -> dict[str, bytes]:
    from domino_lightning.models.backbone import load_tokenizer

    with TemporaryDirectory() as folder:
        load_tokenizer(base).save_pretrained(folder)
        return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}
