"""Vectors of texts from models that were trained to give them: sentence-transformers, model2vec.

Light to import: the packages, which are extras, are loaded when texts are embedded.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from domino_lightning.curation.measures.embedding import Embedding
from domino_lightning.errors import UserError
from domino_lightning.store.contents import folder_or_hub_hash
from domino_lightning.utils.packages import needed
from domino_lightning.utils.ranges import ROWS, check_ranges

if TYPE_CHECKING:
    from domino_lightning.curation.measures.base import Floats


class _Encoder(Embedding):
    """An embedding that a named model gives."""

    model: str

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The model."""
        spec = init_args.get("model")
        return {"model": folder_or_hub_hash(spec, "answer.embedding.init_args.model")} if isinstance(spec, str) else {}

    def embed(self, references: Sequence[str], *others: Sequence[str]) -> list[Floats]:
        """Each text's vector, scaled to length 1; nothing is fitted."""
        import numpy as np

        from domino_lightning.curation.measures.base import normalized

        groups = (references, *others)
        texts = [text for group in groups for text in group]
        vectors = np.asarray(self._encoded(texts), dtype=np.float64) if texts else np.zeros((0, 1))
        ends = np.cumsum([len(group) for group in groups])[:-1]
        return [normalized(part) for part in np.split(vectors, ends)]

    @abstractmethod
    def _encoded(self, texts: Sequence[str]) -> Any:
        """(n, d) vectors."""

    def _not_loaded(self, error: Exception) -> UserError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return UserError(f"answer.embedding: model '{self.model}' cannot be loaded: {reason.rstrip('.')}.")


class SentenceTransformers(_Encoder):
    """Any model of sentence-transformers (Reimers and Gurevych 2019, arXiv 1908.10084); cosine distances in [0, 2].

    Args:
        model: name on the hub, or a directory; its code is never run, and its weights must be safetensors.
        batch_size: texts encoded at a time.
    """

    def __init__(self, model: str, batch_size: int = 32) -> None:
        self.model, self.batch_size = model, batch_size
        check_ranges("answer.embedding", self, batch_size=ROWS)
        needed("sentence_transformers", "SentenceTransformers", "embeddings")

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny backbone, whose states are averaged."""
        return {"model": backbone}

    def _encoded(self, texts: Sequence[str]) -> Any:
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(self.model, trust_remote_code=False, model_kwargs={"use_safetensors": True})
        except (OSError, ValueError) as error:
            raise self._not_loaded(error) from None
        return model.encode(list(texts), batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True)


class Model2Vec(_Encoder):
    """A static model of model2vec: the mean of vectors of a text's tokens, fast on a CPU; cosine distances in [0, 2].

    Args:
        model: name on the hub, for example `minishlab/potion-base-8M`, or a directory.
    """

    def __init__(self, model: str) -> None:
        needed("model2vec", "Model2Vec", "embeddings")
        self.model = model

    def _encoded(self, texts: Sequence[str]) -> Any:
        from model2vec import StaticModel

        try:
            model = StaticModel.from_pretrained(self.model)
        except (OSError, ValueError) as error:
            raise self._not_loaded(error) from None
        return model.encode(list(texts))
