"""One repository to be: its name and its files, laid out in a folder or pushed to the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from domino_lightning.errors import Unreachable, UserError


@dataclass(frozen=True)
class Bundle:
    """One repository.

    Args:
        repo_id: `user/name`.
        repo_type: as the hub calls it.
        message: of the commit.
        files: content, or the file that holds it, by path in the repository.
        notes: what the author should know before it is out.
    """

    repo_id: str
    repo_type: Literal["dataset", "model"]
    message: str
    files: Mapping[str, bytes | Path] = field(repr=False)
    notes: Sequence[str] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            name: len(content) if isinstance(content, bytes) else content.stat().st_size
            for name, content in sorted(self.files.items())
        }

    def lay_out(self, folder: Path) -> Path:
        """Write the files below `folder/<name>` and return that directory.

        Raises:
            UserError: it is there and not empty.
        """
        target = folder / self.repo_id.rpartition("/")[2]
        if target.is_dir() and any(target.iterdir()):
            raise UserError(f"push: --output {target}: is not empty. Name another folder, or remove it.")
        for name, content in self.files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return target


def check_repo_id(repo_id: str) -> None:
    """Refuse a name that the hub would refuse.

    Raises:
        UserError: it is not `user/name`, or has characters that the hub does not take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        if repo_id.count("/") != 1:
            raise HFValidationError("a user or an organization, a slash and a name are expected")
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"push: --to '{repo_id}': {error}.") from None


def push(bundle: Bundle, private: bool = False) -> str:
    """Make the repository if it is not there, and add the files in one commit; files that are the same are left.

    Args:
        bundle: what to push.
        private: visibility of a repository that is made; one that is there keeps its own.

    Returns:
        The address of the commit.

    Raises:
        Unreachable: the hub did not answer, refused, or may not be asked.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(library_name="domino_lightning")
    added = [CommitOperationAdd(name, content) for name, content in sorted(bundle.files.items())]
    try:
        api.create_repo(bundle.repo_id, repo_type=bundle.repo_type, private=private, exist_ok=True)
        done = api.create_commit(
            bundle.repo_id, added, commit_message=bundle.message, repo_type=bundle.repo_type, num_threads=2
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        login = "Log in with `hf auth login`, or set HF_TOKEN to a token that may write there."
        remedy = login if status in {401, 403} else "The same command goes on from there."
        raise Unreachable(
            f"push: {bundle.repo_id}: the hub at {api.endpoint} refused: {_line(error)}. {remedy}"
        ) from None
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise Unreachable(
            f"push: {bundle.repo_id}: the hub at {api.endpoint} was not reached ({_line(error)}). "
            "The same command goes on from there."
        ) from None
    return str(done.commit_url)


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]).rstrip(".") or type(error).__name__
