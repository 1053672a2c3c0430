"""Exercises a loss on small tables of NLLs and says in plain words what it does there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn

from domino_lightning.errors import UserError
from domino_lightning.losses.base import DisentanglementLoss, PromptNLL, checked_pairs
from domino_lightning.losses.contract import broken, checked_terms, problem_of
from domino_lightning.losses.pairs import choose_pairs
from domino_lightning.utils.contract import BrokenContract
from domino_lightning.utils.findings import CheckReport, Finding
from domino_lightning.utils.own_frames import own_frames, raised

FAR = (1e3, 1e4)  # nats/token: far beyond any language model, where only the formula is left


def report_on(loss: DisentanglementLoss) -> CheckReport:
    """Run every check; an exception inside the loss is a finding, not an error of the check."""
    report = CheckReport(type(loss).__name__)
    for check in (_batches, _padding, _order, _gradients, _directions, _bounds, _progress):
        try:
            report.findings += check(loss)
        except Exception as error:  # whatever a fork's loss raises is what there is to report
            what = (check.__doc__ or "").rstrip(".")
            report.findings.append(Finding("failed", f"{what}: it raised {type(error).__name__}: {error}"))
    return report


def try_loss(loss: DisentanglementLoss) -> None:
    """Call a copy of the loss once, on four texts, as training will.

    Raises:
        UserError: it does not keep the contract, or raises.
    """
    try:
        checked_pairs(loss.pairs)
    except ValueError as error:
        raise broken(loss, str(error)) from None
    if not isinstance(loss, nn.Module) and (name := trainable(loss)) is not None:
        raise broken(
            loss,
            f"'{name}' would not train, since the loss is no torch.nn.Module: make that a base too, after the loss",
        )
    nll = example_nll(loss, [1, 2, 3, 4])
    for values in (nll.domain, nll.paired):
        if values is not None:
            values.requires_grad_()
    try:
        with torch.random.fork_rng(devices=[]):
            terms = deepcopy(loss)(nll, progress=0.0)
    except BrokenContract:  # of a class that the loss holds, such as a schedule
        raise
    except Exception as error:  # whatever a fork's loss raises
        raise UserError(f"{broken(loss, f'forward raised {raised(error)}')}\n{own_frames(error)}".rstrip()) from None
    checked_terms(loss, terms, with_gradient=True)


def trainable(described: object) -> str | None:
    """The first attribute that holds parameters, modules or tensors that take a gradient, if any does."""
    return next((name for name, value in vars(described).items() if _takes_gradient(value)), None)


def _takes_gradient(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_takes_gradient, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_takes_gradient, value))
    return isinstance(value, nn.Module) or (isinstance(value, Tensor) and value.requires_grad)


def example_nll(loss: DisentanglementLoss, samples: list[int], padding: Iterable[int] = (), seed: int = 0) -> PromptNLL:
    """A random table of the shape that the module would hand this loss.

    Args:
        loss: its `pairs` decide K.
        samples: (B,) the sample of each row; equal numbers are copies of one sample.
        padding: rows that are not valid.
        seed: of the values: under D 1 to 4, own 0.5 to 2, others 2 to 5 nats/token.
    """
    size, random = len(samples), torch.Generator().manual_seed(seed)
    valid = torch.ones(size, dtype=torch.bool)
    valid[list(padding)] = False
    domain = 1 + 3 * torch.rand(size, generator=random)
    lengths = torch.randint(3, 90, (size,), generator=random)
    pairs = choose_pairs(torch.tensor(samples), valid, loss.pairs, seed, 0, loss.varies)
    if pairs is None:
        return PromptNLL(domain, lengths, valid)
    uniform = torch.rand(pairs.is_own.shape, generator=random)
    paired = torch.where(pairs.is_own, 0.5 + 1.5 * uniform, 2 + 3 * uniform)
    return PromptNLL(domain, lengths, valid, paired, pairs.is_own, pairs.valid, pairs.prompt_row)


def _batches(loss: DisentanglementLoss) -> list[Finding]:
    """Batches of every shape."""
    findings = []
    for label, nll in _cases(loss).items():
        terms = loss(nll, progress=0.5)
        problem = _problem(terms)
        findings.append(Finding("failed" if problem else "passed", f"{label}: {problem or 'finite scalar terms'}"))
    return findings


def _cases(loss: DisentanglementLoss) -> dict[str, PromptNLL]:
    return {
        "a batch of one": example_nll(loss, [4]),
        "a batch of two": example_nll(loss, [4, 7]),
        "a batch of eight": example_nll(loss, list(range(8))),
        "copies of one sample, which are no negatives of each other": example_nll(loss, [3, 3, 5]),
        "copies of one sample alone": example_nll(loss, [3, 3]),
        "more copies of a sample than other samples": example_nll(loss, [3, 3, 3, 5]),
        "a ragged batch, one row of which is padding": example_nll(loss, [1, 2, 3], padding=[1]),
        "nothing but padding": example_nll(loss, [1, 2], padding=[0, 1]),
    }


def _problem(terms: object) -> str | None:
    problem = problem_of(terms)
    if problem is None and isinstance(terms, dict):
        wrong = (f"term '{name}' is {value.item()}" for name, value in terms.items() if not torch.isfinite(value))
        problem = next(wrong, None)
    return problem


def _padding(loss: DisentanglementLoss) -> list[Finding]:
    """What stands in padding."""
    nll = example_nll(loss, [1, 2, 2, 3], padding=[3])
    poisoned = nll._replace(domain=nll.domain.masked_fill(~nll.valid, torch.nan))
    if nll.paired is not None and nll.pair_valid is not None:
        poisoned = poisoned._replace(paired=nll.paired.masked_fill(~nll.pair_valid, torch.nan))
    clean, _ = _terms_and_gradients(loss, nll)
    dirty, gradients = _terms_and_gradients(loss, poisoned)
    moved = [name for name in clean if not torch.allclose(clean[name], dirty[name], atol=1e-6)]
    if moved:
        text = f"padding changes {', '.join(moved)}: leave out rows where `valid` and pairs where `pair_valid` is False"
        return [Finding("failed", f"{text} (`masked_mean`, `own_nll` and `negatives` do)")]
    excluded = [(~nll.valid, gradients[0])]
    if nll.pair_valid is not None and gradients[1] is not None:
        excluded.append((~nll.pair_valid, gradients[1]))
    if any(bool((gradient[mask] != 0).any()) for mask, gradient in excluded if gradient is not None):
        return [
            Finding("failed", "padding gets a gradient (or NaN): mask with `masked_fill`, not by multiplying with 0")
        ]
    return [Finding("passed", "padding, even NaN in it, changes no term and gets no gradient")]


def _order(loss: DisentanglementLoss) -> list[Finding]:
    """The order of the rows."""
    nll = example_nll(loss, [1, 2, 3, 4])
    rows = torch.tensor([2, 0, 3, 1])
    columns = rows if loss.pairs == "all" else slice(None)

    def reordered(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[rows] if values.ndim == 1 else values[rows][:, columns]

    other = PromptNLL(*(reordered(values) for values in nll))  # type: ignore[arg-type]
    if other.prompt_row is not None:  # it names rows, which have moved
        other = other._replace(prompt_row=torch.argsort(rows)[other.prompt_row])
    first, second = loss(nll)["loss"], loss(other)["loss"]
    if torch.allclose(first, second, atol=1e-5):
        return [Finding("passed", "the order of the rows does not matter")]
    return [Finding("warning", f"the loss depends on the order of the rows: {first.item():.4f}, {second.item():.4f}")]


def _gradients(loss: DisentanglementLoss) -> list[Finding]:
    """Gradients to the domain tokens and to the sample tokens."""
    nll = example_nll(loss, [1, 2, 3, 4])
    _, (domain, paired) = _terms_and_gradients(loss, nll)
    findings = []
    if domain is None or not bool(domain.any()):
        text = "no gradient reaches NLL(x|D): nothing asks the domain tokens to suffice on their own"
        findings.append(Finding("warning", text))
    else:
        findings.append(Finding("passed", "a gradient reaches NLL(x|D), and so the domain tokens"))
    if nll.paired is None:
        findings.append(Finding("passed", "it asks for no pairs, so no sample tokens are allocated"))
    elif paired is None or not bool(paired.any()):
        text = (
            f'it asks for pairs ({loss.pairs!r}) and no gradient reaches NLL(x|D,S): set `pairs = "none"` or use them'
        )
        findings.append(Finding("failed", text))
    else:
        findings.append(Finding("passed", "a gradient reaches NLL(x|D,S), and so the sample tokens"))
    return findings


def _directions(loss: DisentanglementLoss) -> list[Finding]:
    """Where the loss pulls the NLLs."""
    nll = example_nll(loss, [1, 2, 3, 4])
    _, (domain, paired) = _terms_and_gradients(loss, nll)
    findings = []

    def look(gradient: Tensor | None, name: str, wanted: int, consequence: str) -> None:
        total = 0.0 if gradient is None else float(gradient.sum())
        if total * wanted < 0:
            way = "raises" if wanted > 0 else "lowers"
            findings.append(Finding("warning", f"minimizing it {way} {name}: {consequence}"))

    look(domain, "NLL(x|D)", 1, "the domain tokens unlearn the domain")
    if paired is not None and nll.is_own is not None and nll.pair_valid is not None:
        look(paired[nll.is_own], "NLL(x|D,S_own)", 1, "sample tokens are taught to make their own text unlikely")
        others = nll.pair_valid & ~nll.is_own
        look(paired[others], "NLL(x|D,S_other)", -1, "sample tokens are taught to explain other samples' texts")
    return findings or [Finding("passed", "it lowers NLL(x|D) and NLL(x|D,S_own) and does not lower NLL(x|D,S_other)")]


def _bounds(loss: DisentanglementLoss) -> list[Finding]:
    """Values far beyond those of a language model."""
    nll = example_nll(loss, [1, 2, 3, 4])
    moves: dict[str, Callable[[float], PromptNLL]] = {
        "NLL(x|D)": lambda far: nll._replace(domain=torch.full_like(nll.domain, far))
    }
    if nll.paired is not None and nll.is_own is not None:
        paired, own = nll.paired, nll.is_own
        moves["NLL(x|D,S_own)"] = lambda far: nll._replace(paired=paired.masked_fill(own, far))
        if bool((~own).any()):
            moves["NLL(x|D,S_other)"] = lambda far: nll._replace(paired=paired.masked_fill(~own, far))
    findings = []
    for name, moved in moves.items():
        near, far = (_terms_and_gradients(loss, moved(value)) for value in FAR)
        gradients = [gradient for gradient in far[1] if gradient is not None]
        if not all(bool(torch.isfinite(each).all()) for each in [*far[0].values(), *gradients]):
            findings.append(Finding("failed", f"{name} at {FAR[1]:,.0f} nats/token gives an infinite term or gradient"))
            continue
        fall = (near[0]["loss"] - far[0]["loss"]).item()
        if fall > 1:
            path = f"raising {name} from {FAR[0]:,.0f} to {FAR[1]:,.0f} nats/token"
            text = f"unbounded below: {path} lowers it by {fall:,.1f}"
            findings.append(Finding("warning", f"{text}; training may run off, and is then stopped (divergence_nats)"))
    return findings or [Finding("passed", "bounded below, and finite far beyond the NLLs of a language model")]


def _progress(loss: DisentanglementLoss) -> list[Finding]:
    """Progress from 0 to 1."""
    nll = example_nll(loss, [1, 2, 3, 4])
    before = [None if values is None else values.clone() for values in nll]
    values = [loss(nll, progress=at) for at in (0.0, 0.5, 1.0)]
    findings = []
    for terms in values:
        if problem := _problem(terms):
            findings.append(Finding("failed", f"with progress from 0 to 1: {problem}"))
    if any(new is not None and not torch.equal(old, new) for old, new in zip(before, nll, strict=True)):  # type: ignore[arg-type]
        findings.append(Finding("failed", "it changes its input in place"))
    if not torch.equal(loss(nll, progress=0.5)["loss"], values[1]["loss"]):
        findings.append(Finding("warning", "the same input gives another loss the second time"))
    return findings or [Finding("passed", "progress from 0 to 1, input left alone, the same value twice")]


def _terms_and_gradients(
    loss: DisentanglementLoss, nll: PromptNLL
) -> tuple[dict[str, Tensor], tuple[Tensor | None, Tensor | None]]:
    """Detached terms, and the gradients of the loss to `domain` and `paired`, None where there is none."""
    domain = nll.domain.clone().requires_grad_()
    paired = None if nll.paired is None else nll.paired.clone().requires_grad_()
    terms = loss(nll._replace(domain=domain, paired=paired))
    leaves = [leaf for leaf in (domain, paired) if leaf is not None]
    found: list[Tensor | None] = [None, None]
    if terms["loss"].requires_grad:
        found[: len(leaves)] = torch.autograd.grad(terms["loss"], leaves, allow_unused=True)
    return {name: value.detach() for name, value in terms.items()}, (found[0], found[1])
