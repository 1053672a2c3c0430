"""Ways to run a language model, named by `class_path` in an experiment. Light until a model is loaded."""

from __future__ import annotations

from typing import Any, Literal

from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource
from domino_lightning.models.backbone import check_nf4
from domino_lightning.models.lookups import check_weights
from domino_lightning.utils.packages import needed
from domino_lightning.utils.ranges import ROWS, SECONDS, WORKERS, check_ranges


class TransformersEngine(Engine):
    """Batched decoding on transformers.

    Args:
        batch_size: rows decoded at a time; auto: as many as a GPU's free memory has room for, 256 at most, and 96 on a
            CPU. Texts depend on it by floating-point rounding only.
        dtype: of the weights; auto is bfloat16 on a GPU that computes it natively, else float32. nf4: linear layers in
            four bits by bitsandbytes, behind which an adapter is kept as it is.
        device: a torch device; auto takes the GPU where there is one.
    """

    def __init__(
        self,
        batch_size: int | Literal["auto"] = 96,
        dtype: Literal["auto", "float32", "bfloat16", "float16", "nf4"] = "auto",
        device: str = "auto",
    ) -> None:
        self.batch_size, self.dtype, self.device = batch_size, dtype, device
        if batch_size != "auto":
            check_ranges("engine", self, batch_size=ROWS)
        if device not in {"auto", "cpu"}:
            _check_device(device)
        if dtype == "nf4":
            check_nf4("engine: dtype", None if device == "auto" else device.partition(":")[0])

    def check_model(self, spec: str, where: str) -> None:
        """Weights that are missing, damaged, or not those that the configuration describes."""
        check_weights(spec, where)

    def load(self, source: ModelSource) -> LanguageModel:
        """The backbone with its adapter merged in memory, or with its soft prompt."""
        import torch

        from domino_lightning.generation.local_model import LocalModel
        from domino_lightning.models.backbone import load_backbone, load_tokenizer
        from domino_lightning.models.soft_prompt import read_soft_prompt

        domain = None if source.soft_prompt is None else read_soft_prompt(source.soft_prompt, source.backbone)[0]
        tokenizer = load_tokenizer(source.tokenizer or source.backbone)
        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        model = load_backbone(source.backbone, self.dtype, torch.device(device))
        if source.adapter is not None:
            from peft import PeftModel

            adapted: Any = PeftModel.from_pretrained(model, str(source.adapter))
            # Merged into four bits it would be rounded away.
            model = (adapted.get_base_model() if self.dtype == "nf4" else adapted.merge_and_unload()).eval()
        return LocalModel(model, tokenizer, self.batch_size, domain)


class VLLMEngine(Engine):
    """vLLM in this process. Soft prompts go in as `prompt_embeds`, adapters as LoRA: no model is written to disk.

    Args:
        dtype: of the weights, and of the embeddings that prompts are turned into.
        options: further arguments of `vllm.LLM`, for example `tensor_parallel_size`, `max_model_len`.
    """

    def __init__(
        self, dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16", options: dict[str, Any] | None = None
    ) -> None:
        otherwise = " in an environment of its own, since vLLM chooses its own torch, or name TransformersEngine"
        needed("vllm", "engine: VLLMEngine", "vllm", otherwise)
        self.dtype, self.options = dtype, options or {}

    def load(self, source: ModelSource) -> LanguageModel:
        """Start vLLM on the backbone."""
        from domino_lightning.generation.vllm_local import load

        return load(source, self.dtype, self.options)


class VLLMServer(Engine):
    """A running `vllm serve`, over its OpenAI Completions API, for soft prompts with `--enable-prompt-embeds`.

    The server holds the weights; the tokenizer, and for soft prompts the input embeddings, are read here.

    Args:
        url: of the API, with its version, for example `http://127.0.0.1:8000/v1`.
        model: name that the server gives the model, or the LoRA adapter; null: the backbone spec.
        api_key_env: environment variable that holds the API key, if the server wants one.
        concurrency: requests in flight, one a row; the server batches them.
        timeout_s: seconds that one request may take.
        dtype: of the embeddings that are sent.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key_env: str = "VLLM_API_KEY",
        concurrency: int = 32,
        timeout_s: float = 600.0,
        dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"engine: url '{url}' must begin with http:// or https://.")
        self.url, self.model, self.api_key_env = url.rstrip("/"), model, api_key_env
        self.concurrency, self.timeout_s, self.dtype = concurrency, timeout_s, dtype
        check_ranges("engine", self, concurrency=WORKERS, timeout_s=SECONDS)

    def load(self, source: ModelSource) -> LanguageModel:
        """Ask the server whether it serves the model."""
        from domino_lightning.generation.vllm_server import connect

        return connect(source, self.url, self.model, self.api_key_env, self.concurrency, self.timeout_s, self.dtype)


def _check_device(name: str) -> None:
    import torch

    try:
        torch.device(name)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"engine: device '{name}': {reason}. Give auto, cpu, cuda or cuda:<number>.") from None
