"""Pages of the site that are made of other files while it builds: notebooks, defaults, an example, the API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The faces of the package: what users write in a configuration or import.
FACES = ("domino_lightning", "losses", "nn", "modules", "domains", "synthesis", "curation", "sweep", "testing")
EXAMPLES = {
    "own_loss": "A loss in a project of its own",
    "own_domain": "A domain in a project of its own",
    "unseen_language": "A language that nobody has seen",
}
# Links of the pages that leave docs/, and the page that stands for each.
OUTSIDE = {
    "../domino_lightning/defaults.yaml": "defaults.md",
    "../examples/own_loss": "own_loss.md",
    "../examples/own_domain": "own_domain.md",
    "../examples/unseen_language": "unseen_language.md",
    "../experiments/paper": "published_settings.md",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages."""
    from mkdocs.structure.files import File

    for name, content in pages():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links that leave docs/ at the pages made for them; any other is left for the strict build to refuse."""
    for target, page in OUTSIDE.items():
        markdown = markdown.replace(f"]({target})", f"]({page})")
    return re.sub(r"\]\((?:\.\./)?((?:notebooks/)?\w+)\.ipynb\)", r"](\1.md)", markdown)


def pages() -> Iterator[tuple[str, str]]:
    """Path in the site and Markdown of each page."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{path.stem}.md", notebook(path)
    for name in FACES:
        module = name if name == "domino_lightning" else f"domino_lightning.{name}"
        yield f"api/{name}.md", f"# {module}\n\n::: {module}\n    options: {{heading_level: 2}}\n"
    yield "defaults.md", sources("Every key with its default", ROOT / "domino_lightning" / "defaults.yaml")
    for name, title in EXAMPLES.items():
        files = sorted((ROOT / "examples" / name).iterdir())
        yield f"{name}.md", sources(title, *(path for path in files if path.suffix in (".py", ".yaml")))
    settings = sorted((ROOT / "experiments" / "paper").rglob("*.yaml"))
    yield "published_settings.md", sources("The published settings", *settings)
    yield "changelog.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def sources(title: str, *paths: Path) -> str:
    """Files as code blocks."""
    languages = {".py": "python", ".yaml": "yaml"}
    blocks = [
        f"`{path.relative_to(ROOT)}`\n\n```{languages[path.suffix]}\n{path.read_text(encoding='utf-8')}```\n"
        for path in paths
    ]
    return f"# {title}\n\n" + "\n".join(blocks)


def notebook(path: Path) -> str:
    """A notebook, which ships without outputs, as Markdown."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = [("".join(cell["source"]), cell["cell_type"] == "code") for cell in cells]
    return "\n\n".join(f"```python\n{text}\n```" if code else text for text, code in texts) + "\n"
