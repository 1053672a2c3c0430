"""A loss that lives outside the package: the order that disentanglement means, asked for directly."""

from torch import Tensor

from domino_lightning.losses import ContrastiveLoss, PromptNLL, masked_mean, negatives, own_nll


class Ordered(ContrastiveLoss):
    """NLL(x|D,S_own) + m ≤ NLL(x|D) ≤ NLL(x|D,S_other) − m, as two hinges around NLL(x|D), a constant here.

    L = mean_i NLL(x_i|D) + λ · [ mean_i max(0, m + NLL(x_i|D,S_i) − NLL(x_i|D))
                                + mean_{i≠k} max(0, m + NLL(x_i|D) − NLL(x_i|D,S_k)) ]

    Bounds: [0, ∞). A sample's own tokens must help, another's must not, and once both hold by m only the
    likelihood is left.
    """

    def __init__(self, weight: float = 0.3, margin: float = 0.1, pairs: int = 1) -> None:
        super().__init__(weight, pairs=pairs)
        self.margin = margin

    def contrast(self, nll: PromptNLL) -> Tensor:
        base = nll.domain.detach()
        helps = (self.margin + own_nll(nll) - base).clamp(min=0)
        harms = (self.margin + base[:, None] - nll.paired).clamp(min=0)
        return masked_mean(helps, nll.valid) + masked_mean(harms, negatives(nll))
