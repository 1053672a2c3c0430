"""Fine-tune the coder on chat pairs: loss and LM head on the assistant's tokens only."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from domino_lightning.data.padded import ChatBatch
from domino_lightning.errors import UserError
from domino_lightning.modules.heldout import HeldoutModule
from domino_lightning.modules.lora import leave_frozen_to_itself, save_pretrained, trainable_state, with_adapter
from domino_lightning.modules.optim import check_finite, scheduled_adamw
from domino_lightning.modules.settings import SHORTER_PAIRS, CoderSettings
from domino_lightning.nn import distributed
from domino_lightning.nn.answer_nll import answer_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CoderModule(CoderSettings, HeldoutModule):
    """A causal LM trained on the answers of chat pairs, through LoRA or in full.

    Logged: `finetune/train/loss` and `finetune/heldout/nll`, in nats per assistant token.

    Its arguments are those of `CoderSettings`.
    """

    heldout_key = "finetune/heldout/nll"
    sharded = False

    def setup(self, stage: str) -> None:
        """Load the backbone and wrap it.

        Raises:
            UserError: a pair for which it has too few positions.
        """
        if hasattr(self, "model"):
            return
        from lightning.pytorch.strategies import ModelParallelStrategy

        from domino_lightning.models.backbone import check_positions, load_backbone, positions

        strategy = self.trainer.strategy
        sharded = isinstance(strategy, ModelParallelStrategy)  # no device needs to hold all of it, ever
        device = None if sharded else strategy.root_device
        backbone = load_backbone(self.backbone_spec, self.backbone_dtype, device)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        longest = max((len(ids) for pairs in data.encoded.values() for ids, _ in pairs), default=0)
        check_positions(positions(backbone.config), {"a pair": longest}, 0, "finetune.data.max_length", SHORTER_PAIRS)
        self.attach(backbone)

    def attach(self, backbone: PreTrainedModel) -> None:
        """Take a backbone to train, adding the adapter if there is one."""
        self.model: Any = backbone if self.lora is None else with_adapter(backbone, self.lora, self.seed)
        if self.gradient_checkpointing:
            # Not transformers' own, which does nothing to layers in eval mode, as they are here.
            for block in _decoder_layers(self.model):
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        leave_frozen_to_itself(self)

    def configure_model(self) -> None:
        """Under `ModelParallelStrategy`, shard every parameter over the ranks (FSDP2); otherwise do nothing.

        Decoder layers are gathered one at a time, the rest (embeddings, norm, head) once a step. The module itself
        is the root of the sharding: a parameter outside it would be trained on every rank and averaged on none.
        """
        from lightning.pytorch.strategies import ModelParallelStrategy

        strategy = self.trainer.strategy
        if not isinstance(strategy, ModelParallelStrategy) or self.sharded:
            return
        if strategy._save_distributed_checkpoint:
            raise UserError(
                "finetune.trainer.strategy: ModelParallelStrategy needs init_args.save_distributed_checkpoint=false, "
                "so that a checkpoint is one file that any number of ranks can continue from."
            )
        from torch.distributed.fsdp import fully_shard

        mesh = strategy.device_mesh["data_parallel"]
        for block in _decoder_layers(self.model):
            fully_shard(block, mesh=mesh)
        fully_shard(self, mesh=mesh)
        self.sharded = True

    def forward(self, batch: ChatBatch) -> Tensor:
        """(T,) NLL of the T assistant tokens of a batch, in nats; through here, so that FSDP's hooks run."""
        return self.answer_nll(batch)

    def answer_nll(self, batch: ChatBatch) -> Tensor:
        """(T,) NLL of the T assistant tokens of a batch, in nats."""
        return answer_nll(self.model.get_base_model() if self.lora is not None else self.model, batch)

    def training_step(self, batch: ChatBatch, batch_idx: int) -> Tensor:
        """Mean NLL over the assistant's tokens of the step's batch, on however many ranks it lies.

        A rank's sum is divided by the tokens of all ranks, times W since DDP averages over ranks.
        """
        nll = self(batch)
        tokens = torch.tensor(len(nll), device=nll.device)
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(tokens)
        loss = nll.sum() * (distributed.world_size() / max(1, int(tokens)))
        check_finite("finetune", self.global_step + 1, {"loss": loss})
        self.log("finetune/train/loss", loss.detach(), sync_dist=True)
        return loss

    def validation_step(self, batch: ChatBatch, batch_idx: int) -> None:
        """NLL of held-out answers."""
        self.heldout_nll.update(self(batch))

    def configure_optimizers(self) -> Any:
        """AdamW over what is trainable."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        total = int(self.trainer.estimated_stepping_batches)
        return scheduled_adamw(parameters, self.learning_rate, self.warmup_steps, total)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Trainable weights only."""
        return trainable_state(self, super().state_dict(*args, **kwargs))

    def save_pretrained(self, directory: Path) -> None:
        """Write the adapter, or the whole model, in the usual format; all ranks must call it."""
        state = None
        if self.sharded:
            from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

            options = StateDictOptions(full_state_dict=True, cpu_offload=True)
            state = get_model_state_dict(self.model, options=options)
        if distributed.rank() == 0:
            save_pretrained(self.model, directory, self.backbone_spec, state)


def _decoder_layers(model: Any) -> list[torch.nn.Module]:
    """The repeated blocks of a causal LM, which transformers names in `_no_split_modules`."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = set(causal._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]
