"""Two ranks over gloo, launched as users launch them, by the command `domino STAGE experiment`."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from domino_lightning.cli.main import main
from domino_lightning.data.chat import encode_pair
from domino_lightning.data.padded import collate_pairs, collate_texts
from domino_lightning.data.slots import assign_slots, rank_slots
from domino_lightning.data.text import encode_texts
from domino_lightning.domains import CodeExec
from domino_lightning.models.backbone import load_backbone, load_tokenizer
from domino_lightning.modules import CoderModule
from domino_lightning.nn import prompted_nll
from domino_lightning.utils.jsonl import read_jsonl

pytestmark = pytest.mark.ddp

# A user's callback, found in the working directory. It records what every rank saw and ended with.
PROBE = """
import os, shutil, signal
from pathlib import Path
import torch
from lightning.pytorch import Callback


class Record(Callback):
    def __init__(self) -> None:
        self.samples, self.start = [], {}

    def trained(self, module):
        state = dict(module.state_dict())
        if getattr(module, "sample_tokens", None) is not None:
            state |= {"table": module.sample_tokens.table.weight, "owned": torch.tensor(module.sample_tokens.owned)}
        return {name: getattr(value, "full_tensor", lambda: value)().detach().clone() for name, value in state.items()}

    def on_train_start(self, trainer, module):
        self.start = self.trained(module)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if hasattr(batch, "samples"):
            self.samples.append(batch.samples[batch.valid].tolist())
        here = f"{trainer.global_rank}:{trainer.global_step}"
        if os.environ.get("END") == here:
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("END") == f"{here}:raise":
            raise ValueError("the dog ate the batch")

    def on_train_end(self, trainer, module):
        folder = Path(os.environ["RECORD"])
        record = {
            "start": self.start,
            "end": self.trained(module),
            "samples": self.samples,
            "ignored": sorted(getattr(trainer.model, "parameters_to_ignore", ())),
            "sharded": [type(p).__name__ == "DTensor" for p in module.parameters()],
            "numel": sum(getattr(p, "_local_tensor", p).numel() for p in module.parameters()),
            "reduced": sorted(n for n, p in module.named_parameters() if p.requires_grad),
            "heldout": {name: value.item() for name, value in trainer.callback_metrics.items() if "heldout" in name},
        }
        torch.save(record, folder / f"rank{trainer.global_rank}.pt")
        if trainer.is_global_zero:
            shutil.copy(Path(trainer.default_root_dir) / "last.ckpt", folder / "last.ckpt")
"""


@dataclass
class Ran:
    """What a run said and left."""

    said: str
    ranks: list[dict[str, Any]]
    checkpoint: dict[str, Any]
    stage: Path
    prepared: Path

    def metrics(self, key: str) -> list[float]:
        with open(self.stage / "metrics.csv", newline="") as file:
            return [float(row["value"]) for row in csv.DictReader(file) if row["key"] == key]


Launch = Callable[..., Ran]


@pytest.fixture
def launch(
    tmp_path: Path, write_experiment: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Launch:
    """Prepares in this process, then runs one training stage, by default on two ranks.

    `ends` are attempts to end first, each at "rank:step" by SIGKILL, or by an exception at "rank:step:raise".
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "probe.py").write_text(PROBE)
    trainer = {
        "max_steps": 6,
        "val_check_interval": 3,
        "accelerator": "cpu",
        "devices": 2,
        "strategy": "ddp",
        "callbacks": [{"class_path": "probe.Record"}],
    }
    # Released: unlike InfoNCE it moves S_i of a batch without negatives too.
    loss = {"class_path": "domino_lightning.losses.ReleasedObjective", "init_args": {"weight": 0.5, "pairs": "all"}}
    tree = {
        "tune": {
            "trainer": trainer,
            "model": {"loss": loss, "warmup_steps": 0},
            "data": {"batch_size": 4},
            "export": "last",
        },
        "finetune": {"trainer": trainer, "source": "reference", "runtime": {"checkpoint_every_n_steps": 1}},
    }
    experiment = write_experiment(tree)

    def run(
        stage: str, name: str, *overrides: str, ends: Sequence[str] = (), ranks: int = 2, ranks_before: int = 0
    ) -> Ran:
        root, folder = tmp_path / name / "outputs", tmp_path / name
        folder.mkdir()
        # The callback's module is found from the working directory, as in a fork.
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        assert main(["run", str(experiment), f"root={root}", "--until", "prepare"]) == 0
        arguments = [stage, str(experiment), f"root={root}", *overrides]
        before, now = (f"{stage}.trainer.devices={count or ranks}" for count in (ranks_before, ranks))
        # What a user's own process imports is in this one already; the stage starts processes of its own.
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
        monkeypatch.setenv("RECORD", str(folder))
        said = ""
        for end in ends:
            with monkeypatch.context() as patch:
                patch.setenv("END", end)
                assert main([*arguments, before]) == 1
            said += capfd.readouterr().err
            assert not (folder / "rank0.pt").exists()
        assert main([*arguments, now]) == 0
        captured = capfd.readouterr()
        assert ("continuing" in captured.out) is bool(ends)
        (directory,) = [path for path in (root / "stages" / stage).iterdir() if path.is_dir()]
        (prepared,) = [path for path in (root / "stages" / "prepare").iterdir() if path.is_dir()]
        records = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(ranks)]
        checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
        return Ran(said + captured.err, records, checkpoint, directory, prepared)

    return run


DOMAIN = "domain_prompt.weight"


@pytest.mark.slow
def test_tuning_on_two_ranks_shares_d_and_keeps_every_row_of_s_with_its_owner(
    launch: Launch, tiny_backbone: Path
) -> None:
    run = launch("tune", "whole")
    first, second = (rank["end"] for rank in run.ranks)
    assert torch.equal(first[DOMAIN], second[DOMAIN])
    assert not torch.equal(first[DOMAIN], run.ranks[0]["start"][DOMAIN])
    exported = load_file(str(run.stage / "soft_prompt.safetensors"))["domain"]
    assert torch.equal(exported, first[DOMAIN])

    # Three samples of two rows in four slots: one rank owns two of them, the other one, and each pads.
    slot_of = assign_slots([0, 0, 1, 1, 2, 2], 4, 0)
    for rank, record in enumerate(run.ranks):
        owned = [sample for sample in range(3) if slot_of[sample] in rank_slots(4, rank, 2)]
        assert record["start"]["owned"].tolist() == owned
        assert len(record["samples"]) == 6
        assert {sample for batch in record["samples"] for sample in batch} == set(owned)
        changed = (record["start"]["table"] != record["end"]["table"]).any(dim=1)
        assert changed.tolist() == [True] * len(owned)
        assert record["reduced"] == [DOMAIN, "sample_tokens.table.weight"]
        assert DOMAIN not in record["ignored"]
        assert "sample_tokens.table.weight" in record["ignored"]
        assert sum(name.startswith("backbone.") for name in record["ignored"]) > 10
        assert torch.equal(run.checkpoint["sample_table"]["table"][owned], record["end"]["table"])
    assert sorted(len(record["start"]["owned"]) for record in run.ranks) == [1, 2]
    assert (run.checkpoint["sample_table"]["exp_avg_sq"].sum(dim=1) > 0).all()
    assert not any(name.startswith("backbone.") for name in run.checkpoint["state_dict"])

    tokenizer, backbone = load_tokenizer(str(tiny_backbone)), load_backbone(str(tiny_backbone))
    texts = encode_texts(read_jsonl(run.prepared / "heldout.jsonl"), tokenizer, 256, "error", "heldout")
    with torch.no_grad():
        values = [prompted_nll(backbone, exported[None], collate_texts([(ids, 0)]), []).item() for ids in texts]
    expected = pytest.approx(sum(values) / len(values), abs=1e-5)
    assert run.metrics("tune/heldout/nll")[-1] == expected
    assert [rank["heldout"]["tune/heldout/nll"] for rank in run.ranks] == [expected, expected]

    resumed = launch("tune", "killed", ends=["0:4"])
    assert "was killed by signal 9" in resumed.said
    for mine, other in zip(run.ranks, resumed.ranks, strict=True):
        assert torch.equal(mine["end"][DOMAIN], other["end"][DOMAIN])
    assert run.checkpoint["sample_table"]["step"] == resumed.checkpoint["sample_table"]["step"] == 6
    for name in ("table", "exp_avg", "exp_avg_sq"):
        assert torch.equal(run.checkpoint["sample_table"][name], resumed.checkpoint["sample_table"][name]), name
    assert (run.stage / "metrics.csv").read_text() == (resumed.stage / "metrics.csv").read_text()


@pytest.mark.slow
def test_a_coder_on_two_ranks_ends_with_one_adapter_and_one_heldout_nll(launch: Launch, tiny_backbone: Path) -> None:
    run = launch("finetune", "coder")
    first, second = (rank["end"] for rank in run.ranks)
    assert first.keys() == second.keys()
    assert all("lora_" in name for name in first)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, run.checkpoint["state_dict"][name]) for name, value in first.items())
    assert all("lora_" not in name for name in run.ranks[0]["ignored"])

    from peft import PeftModel

    module, adapter = CoderModule("none"), str(run.stage / "model")
    module.attach(PeftModel.from_pretrained(load_backbone(str(tiny_backbone)), adapter).merge_and_unload())
    tokenizer = load_tokenizer(str(tiny_backbone))
    pairs = [CodeExec().pair(record) for record in read_jsonl(run.prepared / "heldout.jsonl")]
    with torch.no_grad():
        tokens = [module.answer_nll(collate_pairs([encode_pair(messages, tokenizer)])) for messages in pairs]
    expected = pytest.approx(torch.cat(tokens).mean().item(), abs=1e-5)
    assert run.metrics("finetune/heldout/nll")[-1] == expected
    assert [rank["heldout"]["finetune/heldout/nll"] for rank in run.ranks] == [expected, expected]


FSDP = (
    "finetune.trainer.strategy={class_path: lightning.pytorch.strategies.ModelParallelStrategy, init_args: "
    "{data_parallel_size: 2, tensor_parallel_size: 1, save_distributed_checkpoint: false}}"
)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("trained", ["adapter", "whole"])
def test_a_coder_on_two_ranks_is_the_coder_of_one(launch: Launch, strategy: str, trained: str) -> None:
    # Three pairs in batches of two: the last batch leaves one rank without a pair.
    overrides = ["finetune.data.batch_size=2", *(["finetune.model.lora=null"] if trained == "whole" else [])]
    one = launch("finetune", "one", *overrides, "finetune.trainer.strategy=auto", ranks=1)
    sharded, ends = ([FSDP], ["0:4"]) if strategy == "fsdp" else ([], [])
    two = launch("finetune", "two", *overrides, *sharded, ends=ends)
    for key in ("finetune/train/loss", "finetune/heldout/nll"):
        assert len(one.metrics(key)) > 1
        assert two.metrics(key) == pytest.approx(one.metrics(key), abs=1e-5)
    files = [next((run.stage / "model").glob("*.safetensors")) for run in (one, two)]
    ours, theirs = (load_file(str(path)) for path in files)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], atol=1e-4), name
    moved = one.ranks[0]["start"].keys()
    assert any(not torch.equal(one.ranks[0]["start"][name], one.ranks[0]["end"][name]) for name in moved)
    if strategy == "fsdp":  # a parameter left out would be trained by each rank alone
        assert all(all(rank["sharded"]) for rank in two.ranks)
        assert sum(rank["numel"] for rank in two.ranks) == one.ranks[0]["numel"]


@pytest.mark.slow
def test_an_adapter_tuned_on_two_ranks_is_that_of_one(launch: Launch) -> None:
    # Three samples of two rows in four slots: one rank pads.
    lora = "{class_path: domino_lightning.modules.LoraTuningModule, init_args: {backbone: '${backbone}', "
    overrides = [f"tune.model={lora}learning_rate: 0.02, warmup_steps: 0}}}}"]
    overrides.append("synthesize.generator=domino_lightning.synthesis.HeldoutReplay")
    one = launch("tune", "one", *overrides, "tune.trainer.strategy=auto", ranks=1)
    two = launch("tune", "two", *overrides, ends=["0:4"])
    assert all("lora_" in name for name in two.checkpoint["state_dict"])
    assert all("lora_" not in name for name in two.ranks[0]["ignored"])
    first, second = (rank["end"] for rank in two.ranks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for key in ("tune/train/loss", "tune/heldout/nll"):
        assert len(one.metrics(key)) > 1
        assert two.metrics(key) == pytest.approx(one.metrics(key), abs=1e-5)
    ours, theirs = (load_file(str(run.stage / "adapter" / "adapter_model.safetensors")) for run in (one, two))
    assert all(torch.allclose(value, theirs[name], atol=1e-4) for name, value in ours.items())


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_tune_killed_at_ten_random_steps_ends_as_if_it_had_not_been(launch: Launch, ranks: int) -> None:
    dice = random.Random(ranks)
    steps = sorted(dice.sample(range(1, 24), 10))
    overrides = ["tune.trainer.max_steps=24", "tune.trainer.val_check_interval=5", "tune.export=best"]
    overrides += ["tune.runtime.checkpoint_every_n_steps=2"]
    overrides += [f"tune.trainer.strategy={'ddp' if ranks > 1 else 'auto'}"]
    whole = launch("tune", "whole", *overrides, ranks=ranks)
    ends = [f"{dice.randrange(ranks)}:{step}" for step in steps]
    killed = launch("tune", "killed", *overrides, ranks=ranks, ends=ends)
    for mine, other in zip(whole.ranks, killed.ranks, strict=True):
        assert torch.equal(mine["end"][DOMAIN], other["end"][DOMAIN])
        assert torch.equal(mine["end"]["table"], other["end"]["table"])
    assert (whole.stage / "metrics.csv").read_text() == (killed.stage / "metrics.csv").read_text()
    files = [load_file(str(run.stage / "soft_prompt.safetensors"))["domain"] for run in (whole, killed)]
    assert torch.equal(*files)


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_run_with_its_own_error_and_other_ranks_may_go_on(launch: Launch) -> None:
    whole = launch("tune", "whole")
    run = launch("tune", "failed", ends=["1:4:raise"], ranks_before=2, ranks=1)
    assert 'raise ValueError("the dog ate the batch")' in run.said  # the traceback
    assert "domino: stage tune, rank 1: ValueError: the dog ate the batch" in run.said
    assert "Connection closed" not in run.said
    assert "tune goes on with 1 rank(s) what 2 began" in run.said
    assert "no longer bit for bit" in run.said
    first, goes_on = whole.ranks[0]["end"][DOMAIN], run.ranks[0]["end"][DOMAIN]
    assert torch.allclose(first, goes_on, atol=1e-4)
    table = whole.checkpoint["sample_table"]["table"]
    assert torch.allclose(run.checkpoint["sample_table"]["table"], table, atol=1e-4)
