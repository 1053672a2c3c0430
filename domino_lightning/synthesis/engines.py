"""Ways to run a language model, named by `class_path` in an experiment. Light until a model is loaded."""

from __future__ import annotations

from typing import Literal

from domino_lightning.errors import UserError
from domino_lightning.synthesis.language_model import Engine, LanguageModel, ModelSource


class TransformersEngine(Engine):
    """Batched decoding on transformers.

    Args:
        batch_size: rows decoded at a time. Texts depend on it by floating-point rounding only.
        dtype: of the weights.
        device: a torch device; auto takes the GPU where there is one.
    """

    def __init__(
        self,
        batch_size: int = 48,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        device: str = "auto",
    ) -> None:
        if batch_size < 1:
            raise UserError(f"engine: batch_size {batch_size} must be 1 or more.")
        self.batch_size, self.dtype, self.device = batch_size, dtype, device

    def load(self, source: ModelSource) -> LanguageModel:
        """The backbone with its adapter merged in memory, or with its soft prompt."""
        import torch

        from domino_lightning.backbone import load_backbone, load_tokenizer
        from domino_lightning.soft_prompt import read_soft_prompt
        from domino_lightning.synthesis.local import LocalModel

        domain = None if source.soft_prompt is None else read_soft_prompt(source.soft_prompt, source.backbone)[0]
        tokenizer = load_tokenizer(source.tokenizer or source.backbone)
        model = load_backbone(source.backbone, self.dtype)
        if source.adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(source.adapter)).merge_and_unload().eval()
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        model.to(torch.device(device))  # type: ignore[arg-type]
        return LocalModel(model, tokenizer, self.batch_size, domain)
