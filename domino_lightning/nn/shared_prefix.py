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

from domino_lightning.data.text import TextBatch
from domino_lightning.losses.pairs import PairIndex
from domino_lightning.models.attention import replaced_attention
from domino_lightning.nn.prompted_nll import LOGITS_BYTES, chunked_nll, mean_per_text
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
        pair_micro_batch: pairs encoded at a time. Their activations are dropped and computed again, one micro-batch
            after another, in the backward pass: memory is bounded by one micro-batch, at the price of one more
            forward pass of the pairs. None encodes all pairs at once, together with everything else.

    Returns:
        (B,) and (B, K), the latter None without `pairs`; float32, or float64 if the backbone is. 0 where `valid` of
        the batch or of the pairs is False.

    Raises:
        UnsupportedAttention: the backbone's attention does something that attention over shared prefixes does not.
    """
    embed = backbone.get_input_embeddings()
    start = embed(torch.tensor(bos, dtype=torch.long, device=batch.ids.device))
    root = torch.cat([start, domain.to(start.dtype)])
    under_domain = Texts(batch, batch.valid.nonzero()[:, 0], len(root))
    groups = [Group("domain", [len(root)], 0, root.device)]
    together, apart = [under_domain], []
    inputs = [root]
    if samples is not None and pairs is not None:
        rows, columns = pairs.valid.nonzero(as_tuple=True)
        used, prompts = pairs.prompt_row[rows, columns].unique(return_inverse=True)
        order = prompts.argsort(stable=True)  # texts behind one prompt stand next to each other
        rows, columns, prompts = rows[order], columns[order], prompts[order]
        size = samples.shape[1]
        groups.append(Group("sample", [size] * len(used), len(root), root.device))
        inputs.append(samples[used].flatten(0, 1).to(root.dtype))
        count = pair_micro_batch or max(1, len(rows))
        chunks = zip(rows.split(count), prompts.split(count), strict=True)
        under_samples = [Texts(batch, some, len(root) + size, which) for some, which in chunks]
        if pair_micro_batch is None:
            together += under_samples
        else:
            apart = under_samples

    tree = Tree(groups + [texts.group for texts in together])
    hidden = encode(backbone, tree, inputs + [embed(texts.ids) for texts in together])
    last = hidden[0][-1:].expand(len(under_domain.rows), -1)
    own = under_domain.nll(backbone, last, hidden[len(groups)], logits_bytes)
    domain_nll = own.new_zeros(len(batch.ids)).index_put((under_domain.rows,), own)
    if samples is None or pairs is None:
        return domain_nll, None

    def alone(texts: Texts) -> Tensor:
        if not len(texts.ids):  # nothing but texts of one token
            return root.new_empty(0, root.shape[1])
        (fed,) = encode(backbone, Tree([texts.group], tree.states), [embed(texts.ids)])
        return fed

    last = hidden[1].unflatten(0, (-1, samples.shape[1]))[:, -1]  # (M, H)
    fed = hidden[len(groups) + 1 :] + [checkpoint(alone, texts, use_reentrant=False) for texts in apart]
    values = [
        texts.nll(backbone, last[prompts], own, logits_bytes)
        for texts, prompts, own in zip(under_samples, prompts.split(count), fed, strict=True)
    ]
    paired = torch.cat(values)
    return domain_nll, paired.new_zeros(pairs.valid.shape).index_put((rows, columns), paired)


def encode(backbone: PreTrainedModel, tree: Tree, inputs: list[Tensor]) -> list[Tensor]:
    """(tokens, H) hidden states of each group of the tree, from the (tokens, H) embeddings of each."""
    positions = torch.cat([group.positions for group in tree.groups])[None]
    with replaced_attention(backbone):
        output = tree.forward(backbone.base_model, torch.cat(inputs)[None], positions)
    return list(output.last_hidden_state[0].split([group.tokens for group in tree.groups]))


class Texts:
    """Texts of a batch behind prefixes of one length, packed.

    Args:
        batch: B texts.
        rows: (n,) which of them, in packed order.
        start: length of their prefixes.
        prompts: (n,) which sample prompt each continues; None: the domain tokens alone.
    """

    def __init__(self, batch: TextBatch, rows: Tensor, start: int, prompts: Tensor | None = None) -> None:
        ids, self.lengths = batch.ids[rows], batch.lengths[rows]
        self.rows = rows
        fed = self.lengths - 1  # the last token predicts nothing that is scored
        place = torch.arange(ids.shape[1], device=ids.device)
        self.ids, self.targets = ids[place < fed[:, None]], ids[place < self.lengths[:, None]]
        self.group = Group("text", fed.tolist(), start, ids.device, prompts)
        # A text's first token is predicted from its prefix, which stands in `before`, the others from those fed.
        sources = len(rows) + (fed.cumsum(0) - fed)[:, None] + place - 1
        sources[:, 0] = torch.arange(len(rows), device=ids.device)
        self.sources = sources[place < self.lengths[:, None]]

    def nll(self, backbone: PreTrainedModel, before: Tensor, fed: Tensor, logits_bytes: int) -> Tensor:
        """(n,) mean NLL from the (n, H) hidden states that end the prefixes and the (tokens, H) of the tokens fed."""
        predicting = torch.cat([before, fed]).index_select(0, self.sources)
        return mean_per_text(chunked_nll(backbone, predicting, self.targets, logits_bytes), self.lengths)
