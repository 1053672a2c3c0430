"""How other programs load what lies on a backbone: the base that PEFT's files name, and the README beside them."""

from __future__ import annotations

from pathlib import Path

from domino_lightning.store.contents import PIP


def base_name(spec: str) -> str:
    """A backbone spec as PEFT's `base_model_name_or_path`: a hub id, an absolute directory, or what `pip:` names.

    Only the last is none that PEFT can load by itself; where its weights are cached says nothing elsewhere.
    """
    return str(Path(spec).resolve()) if Path(spec).is_dir() else spec


def importing(spec: str) -> str:
    """The line that imports what `loading` calls."""
    if spec.startswith(PIP):
        return "from domino_lightning.models.backbone import load_backbone"
    return "from transformers import AutoModelForCausalLM"


def loading(spec: str) -> str:
    """An expression that loads a backbone."""
    return f'{"load_backbone" if spec.startswith(PIP) else "AutoModelForCausalLM.from_pretrained"}("{spec}")'


def write_adapter_readme(directory: Path, spec: str, title: str) -> None:
    """Say beside an adapter what it rests on and how it is loaded, in place of PEFT's empty card."""
    base = base_name(spec)
    if base.startswith(PIP):
        lines = [importing(base), "from peft import PeftModel", "", f"base = {loading(base)}"]
        lines += ["model = PeftModel.from_pretrained(base, directory)"]
    else:
        lines = ["from peft import AutoPeftModelForCausalLM", ""]
        lines += ["model = AutoPeftModelForCausalLM.from_pretrained(directory)"]
    code = "\n".join(lines)
    text = f"# {title}\n\nA PEFT adapter on `{base}`. With this folder as `directory`:\n\n```python\n{code}\n```\n"
    (directory / "README.md").write_text(text, encoding="utf-8")
