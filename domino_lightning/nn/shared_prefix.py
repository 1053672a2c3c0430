"""NLL of texts under soft prompts, with every shared prefix encoded once.

All continuations share `[BOS] D`, and all texts under sample prompt k share `[BOS] D S_k`: the backbone sees D once
and each S_k once a step, pads and the last token of a text (whose prediction nobody scores) never, and the LM head
only positions that are scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from domino_lightning.data.padded import TextBatch
from domino_lightning.losses.pairs import PairIndex
from domino_lightning.models.attention import replaced_attention
from domino_lightning.nn.prompted import LOGITS_BYTES, chunked_nll, mean_per_text
from domino_lightning.nn.tree_attention import Group, Tree

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def shared_prefix_nll(
    backbone: PreTrainedModel,
    domain: Tensor,
    batch: TextBatch,
    bos: list[int],
    samples: Tensor | None = None,
    pairs: PairIndex | None = None,
    logits_bytes: int = LOGITS_BYTES,
    pair_micro_batch: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Mean NLL of each text under D, and under D with sample prompts, in nats per scored token.

    Args:
        backbone: the frozen causal LM.
        domain: (D, H) soft tokens before every text.
        batch: B texts.
        bos: ids to put before the domain tokens.
        samples: (M, S, H) soft tokens of M sample prompts.
        pairs: the prompts, rows of `samples`, that each text is scored under.
        logits_bytes: peak size of one chunk of logits.
        pair_micro_batch: texts encoded at a time, each under D or under D and a sample prompt. Their activations are
            dropped and computed again, one micro-batch after another, in the backward pass: memory is bounded by
            one micro-batch, at the price of one more forward pass of the texts. None, or where one micro-batch holds
            them all, encodes them all at once, together with the prompts.

    Returns:
        (B,) and (B, K), the latter None without `pairs`; float32, or float64 if the backbone is. 0 where `valid` of
        the batch or of the pairs is False.

    Raises:
        UnsupportedAttention: the backbone's attention does something that attention over shared prefixes does not.
    """
    embed, device = backbone.get_input_embeddings(), domain.device
    # Which token goes where decides the sizes of tensors, so it is worked out on the CPU: one wait for the device.
    batch = TextBatch(*(part.cpu() for part in batch))
    start = embed(torch.tensor(bos, dtype=torch.long, device=device))
    root = torch.cat([start, domain.to(start.dtype)])
    groups, inputs = [Group("domain", [len(root)], 0, device)], [root]
    texts = batch.valid.nonzero()[:, 0]
    rows, columns, prompts = (texts.new_empty(0),) * 3
    size = 0
    if samples is not None and pairs is not None:
        pairs = PairIndex(*(table.cpu() for table in pairs))
        rows, columns = pairs.valid.nonzero(as_tuple=True)
        used, prompts = pairs.prompt_row[rows, columns].unique(return_inverse=True)
        order = prompts.argsort(stable=True)  # texts behind one prompt stand next to each other
        rows, columns, prompts = rows[order], columns[order], prompts[order]
        size = samples.shape[1]
        groups.append(Group("sample", [size] * len(used), len(root), device))
        inputs.append(samples[used.to(device)].flatten(0, 1).to(root.dtype))
    apart = pair_micro_batch is not None and len(texts) + len(rows) > pair_micro_batch
    count = pair_micro_batch if apart and pair_micro_batch else max(1, len(texts), len(rows))
    under_domain = [Texts(batch, some, len(root), device) for some in texts.split(count)]
    under_samples = [
        Texts(batch, some, len(root) + size, device, which)
        for some, which in zip(rows.split(count), prompts.split(count), strict=True)
    ]

    together = [] if apart else under_domain + under_samples
    tree = Tree(groups + [part.group for part in together])
    hidden = encode(backbone, tree, inputs + [embed(part.ids) for part in together])
    encoded = iter(hidden[len(groups) :])

    def alone(part: Texts) -> Tensor:
        if not len(part.ids):  # nothing but texts of one token
            return root.new_empty(0, root.shape[1])
        (fed,) = encode(backbone, Tree([part.group], tree.states), [embed(part.ids)])
        return fed

    def nll(part: Texts, before: Tensor) -> Tensor:
        # The backbone is in eval mode, so there is no noise to repeat.
        fed = checkpoint(alone, part, use_reentrant=False, preserve_rng_state=False) if apart else next(encoded)
        return part.nll(backbone, before, fed, logits_bytes)

    last = hidden[0][-1:]
    own = torch.cat([nll(part, last.expand(len(part.lengths), -1)) for part in under_domain])
    domain_nll = own.new_zeros(len(batch.ids)).index_put((texts.to(device),), own)
    if samples is None or pairs is None:
        return domain_nll, None
    ends = hidden[1].unflatten(0, (-1, size))[:, -1]  # (M, H)
    paired = torch.cat([nll(part, ends[part.prompts]) for part in under_samples])
    where = rows.to(device), columns.to(device)
    return domain_nll, paired.new_zeros(pairs.valid.shape).index_put(where, paired)


def encode(backbone: PreTrainedModel, tree: Tree, inputs: list[Tensor]) -> list[Tensor]:
    """(tokens, H) hidden states of each group of the tree, from the (tokens, H) embeddings of each."""
    positions = torch.cat([group.positions for group in tree.groups])[None]
    with replaced_attention(backbone):
        output = tree.forward(backbone.base_model, torch.cat(inputs)[None], positions)
    return list(output.last_hidden_state[0].split([group.tokens for group in tree.groups]))


class Texts:
    """Texts of a batch behind prefixes of one length, packed.

    Args:
        batch: B texts, on the CPU.
        rows: (n,) which of them, in packed order.
        start: length of their prefixes.
        device: where they are encoded.
        prompts: (n,) which sample prompt each continues; None: the domain tokens alone.
    """

    def __init__(
        self, batch: TextBatch, rows: Tensor, start: int, device: torch.device, prompts: Tensor | None = None
    ) -> None:
        ids, lengths = batch.ids[rows], batch.lengths[rows]
        fed = lengths - 1  # the last token predicts nothing that is scored
        place = torch.arange(ids.shape[1])
        self.ids, self.targets = (ids[place < count[:, None]].to(device) for count in (fed, lengths))
        self.prompts = None if prompts is None else prompts.to(device)
        self.group = Group("text", fed.tolist(), start, device, self.prompts)
        # A text's first token is predicted from its prefix, which stands in `before`, the others from those fed.
        sources = len(rows) + (fed.cumsum(0) - fed)[:, None] + place - 1
        sources[:, 0] = torch.arange(len(rows))
        self.sources, self.lengths = sources[place < lengths[:, None]].to(device), lengths.to(device)

    def nll(self, backbone: PreTrainedModel, before: Tensor, fed: Tensor, logits_bytes: int) -> Tensor:
        """(n,) mean NLL from the (n, H) hidden states that end the prefixes and the (tokens, H) of the tokens fed."""
        predicting = torch.cat([before, fed]).index_select(0, self.sources)
        return mean_per_text(chunked_nll(backbone, predicting, self.targets, logits_bytes), self.lengths)
