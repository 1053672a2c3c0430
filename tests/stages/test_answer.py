"""answer: records answered by execution, chat pairs as JSON Lines, Parquet and a data set that loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.curation import HiddenStates
from domino_lightning.curation.card import Card
from domino_lightning.curation.solver import Solver
from domino_lightning.domains import AskedText, CodeExec, CodeGen, Domain
from domino_lightning.domains.base import Answered
from domino_lightning.errors import UserError
from domino_lightning.stages.answer import Answer
from domino_lightning.store.contents import backbone_hash
from domino_lightning.store.work import Work
from domino_lightning.synthesis import Engine, LanguageModel, ModelSource, Sampled, Sampling, TransformersEngine
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.contract import BrokenContract
from domino_lightning.utils.jsonl import Record, read_json, read_jsonl, write_json, write_jsonl

FUNNEL = {"candidates": 9, "steps": [{"filter": "parse", "in": 9, "rejected": 5, "out": 4}], "accepted": 4}


def record(number: int, body: str, **fields: Any) -> Record:
    parsed = CodeExec().parse(f"def f(a):\n    {body}\n\nf({number})")
    return {"id": f"s-{number}", **parsed, **fields}


RECORDS = [
    record(0, "return a + 1", output="'a lie'"),
    record(1, "return a / 0"),
    record(2, "return {a: 'é'}"),
    record(3, "return lambda: a"),
]


def run(folder: Path, domain: Domain, records: list[Record], curate: Path | None = None, **settings: Any) -> Path:
    prepare, curate, out = folder / "prepare-fp", curate or folder / "curate-fp", folder / "out"
    for path in (prepare, curate, out):
        path.mkdir(exist_ok=True)
    for name in ("reference", "heldout"):
        prepared = [record(n, f"return {name[0]!r} * a") for n in range(2)]
        write_jsonl(prepare / f"{name}.jsonl", records if isinstance(domain, CodeGen) else prepared)
    write_jsonl(curate / "accepted.jsonl", records)
    write_json(curate / "funnel.json", FUNNEL)
    Answer(domain, **settings).run(Work(out, {"prepare": prepare, "curate": curate}, "fingerprint", {}))
    return out


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("answer"), CodeExec(), RECORDS)


def test_the_answer_is_what_execution_gives_even_where_the_record_lies(answered: Path) -> None:
    outputs = {row["id"]: row["output"] for row in read_jsonl(answered / "answered.jsonl")}
    assert outputs == {"s-0": "1", "s-2": "{2: 'é'}"}
    assert "lie" not in (answered / "pairs.jsonl").read_text()


def test_every_record_is_answered_or_rejected_with_a_reason(answered: Path) -> None:
    rejected = read_jsonl(answered / "rejected.jsonl")
    assert [(row["id"], row["reason"]) for row in rejected] == [("s-1", "error"), ("s-3", "error")]
    assert "ZeroDivisionError" in rejected[0]["detail"]
    assert read_json(answered / "answers.json") == {"accepted": 4, "answered": 2, "rejected": {"error": 2}}


def test_pairs_ask_the_domains_question_and_say_where_they_come_from(answered: Path) -> None:
    first, second = read_jsonl(answered / "pairs.jsonl")
    assert first["messages"] == CodeExec().pair({**RECORDS[0], "output": "1"})
    assert (first["source_id"], second["source_id"]) == ("s-0", "s-2")
    nowhere = {"synthesize": None, "soft_prompt": None, "seed": None, "filters": [], "agreement": None}
    assert first["provenance"] == {"curate": "curate-fp", "answered_by": "execution", **nowhere}


def test_the_corpus_is_measured_beside_heldout_records(answered: Path) -> None:
    corpus = read_json(answered / "corpus.json")
    assert (corpus["rows"], corpus["functions"], corpus["compared"]) == (2, 2, 1)
    # def f ( a ) : return a + 1 | def f ( a ) : return { a : 'e' }, and the held-out: return 'h' * a
    assert corpus["measures"]["length"]["value"] in {10.0, 12.0}
    assert corpus["measures"]["length"]["floor_value"] == 10.0


def test_the_corpus_is_measured_in_the_vectors_that_were_asked_for(tmp_path: Path, tiny_backbone: Path) -> None:
    spec = str(tiny_backbone)
    corpus = read_json(run(tmp_path, CodeExec(), RECORDS, embedding=HiddenStates(spec)) / "corpus.json")
    assert corpus["embedding"] == "HiddenStates"
    assert corpus["measures"]["novelty"]["value"] > 0
    node = {"class_path": "domino_lightning.curation.HiddenStates", "init_args": {"backbone": spec}}
    digest = backbone_hash(spec, "answer.embedding.init_args.backbone")
    assert Answer.contents({"embedding": node}) == {"embedding.init_args.backbone": digest}
    assert Answer.contents({"embedding": None}) == Answer.contents({}) == {}


def test_the_directory_loads_as_a_data_set(answered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset

    rows = load_dataset(str(answered), cache_dir=str(tmp_path), split="train")
    assert [dict(row) for row in rows] == read_jsonl(answered / "pairs.jsonl")


def test_the_card_tells_counts_and_funnel(answered: Path) -> None:
    card = (answered / "README.md").read_text(encoding="utf-8")
    assert "2 chat pairs" in card
    assert "| parse | 9 | 5 | 4 |  |\n| answer | 4 | 2 | 2 | error 2 |" in card


def test_the_card_has_the_licenses_for_the_hub_and_for_readers(tmp_path: Path) -> None:
    card = Card(license="apache-2.0", reference_license="mit", backbone_license="other")
    text = (run(tmp_path, CodeExec(), RECORDS, card=card) / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "apache-2.0"
    assert head["configs"] == [{"config_name": "default", "data_files": "pairs.parquet"}]
    assert "| reference data | mit |" in text
    assert "| models that wrote texts and answers | other |" in text


def test_pairs_name_the_soft_prompt_seed_and_filters_they_went_through(tmp_path: Path) -> None:
    for stage, digest, inputs, config in (
        ("tune", "t", {}, {}),
        ("synthesize", "s", {"tune": "t"}, {"seed": 3}),
        ("curate", "c", {"synthesize": "s"}, {"filters": [{"class_path": "a.Parses"}]}),
    ):
        folder = tmp_path / stage / digest
        folder.mkdir(parents=True)
        outputs = {"soft_prompt.safetensors": {"sha256": "abc"}} if stage == "tune" else {}
        manifest = {"stage": stage, "fingerprint": digest, "inputs": inputs, "outputs": outputs, "config": config}
        write_json(folder / "manifest.json", manifest)
    (row,) = read_jsonl(run(tmp_path, CodeExec(), RECORDS[:1], tmp_path / "curate" / "c") / "pairs.jsonl")
    assert row["provenance"] == {
        "curate": "c",
        "synthesize": "s",
        "soft_prompt": "abc",
        "seed": 3,
        "filters": ["a.Parses"],
        "answered_by": "execution",
        "agreement": None,
    }


PROBLEM = "Double it.\n\nTests:\nassert f(1) == 2"
GOOD, OTHER = "```python\ndef f(x):\n    return {}\n```".format, "```python\ndef f(x):\n    return 2\n```"


class Scripted(Engine, LanguageModel):
    """An engine whose model answers by the row's number, and counts the rows it was asked for."""

    def __init__(self, texts: list[str], cut: tuple[str, ...] = ()) -> None:
        self.texts, self.cut, self.asked = texts, cut, list[int]()

    def load(self, source: ModelSource) -> LanguageModel:
        return self

    def complete(self, prompts: Any, rows: Any, seed: int, sampling: Sampling, on_tokens: Any = None) -> list[Sampled]:
        assert all(prompt[-1]["content"].endswith(PROBLEM) for prompt in prompts)
        self.asked += rows
        texts = [self.texts[row % len(self.texts)] for row in rows]
        return [Sampled(text, text not in self.cut, 1) for text in texts]


def test_codegen_records_are_answered_from_sampled_solutions(tmp_path: Path) -> None:
    records = [{"id": f"s-{n}", **CodeGen().parse(PROBLEM)} for n in range(2)]
    engine = Scripted([GOOD("x + x"), GOOD("2 * x"), OTHER, OTHER, "none", "none"])
    solver = Solver("model", samples=3, engine=engine, block_size=2)
    out = run(tmp_path, CodeGen(), records, solver=solver)
    assert read_json(out / "answers.json") == {"accepted": 2, "answered": 1, "rejected": {"no_program": 1}, "cut": 0}
    (pair,) = read_jsonl(out / "pairs.jsonl")
    assert pair["messages"][-1]["content"] == GOOD("x + x")
    assert (pair["provenance"]["answered_by"], pair["provenance"]["agreement"]) == ("model", 0.6667)
    assert engine.asked == [0, 1, 2, 3, 4, 5]
    assert [row["id"] for row in read_jsonl(out / "solutions.jsonl")] == ["s-0", "s-1"]


def test_an_answer_that_was_cut_is_none_and_counts_among_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Asked(AskedText):
        def prompt(self, record: Any) -> Any:
            return [{"role": "user", "content": PROBLEM}]

    records = [Asked().parsed("The tide brings shells.", f"s-{n}") for n in range(2)]
    engine = Scripted(["It brings", "It brings shells.", "The", "The tide"], cut=("It brings", "The", "The tide"))
    out = run(tmp_path, Asked("What?"), records, solver=Solver("model", samples=2, engine=engine))
    assert read_json(out / "answers.json") == {"accepted": 2, "answered": 1, "rejected": {"no_answer": 1}, "cut": 3}
    assert [row["answer"] for row in read_jsonl(out / "answered.jsonl")] == ["It brings shells."]
    assert [row["finished"] for row in read_jsonl(out / "solutions.jsonl")] == [[False, True], [False, False]]
    assert "3 of 4 sampled answers were cut at answer.solver.sampling.max_new_tokens (384)" in caplog.text


def test_a_program_in_a_completion_that_was_cut_is_a_program(tmp_path: Path) -> None:
    texts = [GOOD("x + x") + " That is", GOOD("2 * x") + " As"]
    solver = Solver("model", samples=2, engine=Scripted(texts, cut=tuple(texts)))
    out = run(tmp_path, CodeGen(), [{"id": "s-0", **CodeGen().parse(PROBLEM)}], solver=solver)
    assert read_json(out / "answers.json") == {"accepted": 1, "answered": 1, "rejected": {}, "cut": 2}


def test_codegen_without_a_solver_is_refused() -> None:
    with pytest.raises(UserError, match=r"answer\.solver: CodeGen records"):
        Answer(CodeGen())


@pytest.mark.parametrize(
    "settings", [{"samples": 1}, {"block_size": 0}, {"sampling": Sampling(temperature=0.0)}], ids=str
)
def test_solvers_whose_samples_cannot_agree_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match=r"answer\.solver"):
        Solver("model", **settings)


@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_a_killed_solver_goes_on_to_the_same_texts(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    """Blocks of 3 in slots of 2: queues of 9 rows, neither a multiple of the samples nor of the slots."""
    solver = Solver(
        str(tiny_backbone), 4, Sampling(1.5, max_new_tokens=6), TransformersEngine(batch_size=2), block_size=3
    )
    prompts = {name: f"{name}, please" for name in "abcd"}
    folders = [tmp_path / name for name in ("calm", "killed")]
    for folder in folders:
        folder.mkdir()
    expected = solver.sample(prompts, 5, folders[0])
    assert len({each.text for found in expected for each in found}) > 8
    append = BlockLog.append

    def killed(log: BlockLog, first_row: int, rows: Any) -> None:
        if first_row >= 3 * blocks:
            raise KeyboardInterrupt
        append(log, first_row, rows)

    monkeypatch.setattr(BlockLog, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        solver.sample(prompts, 5, folders[1])
    monkeypatch.setattr(BlockLog, "append", append)
    assert len(read_jsonl(folders[1] / "solutions-00000.jsonl")) == 3 * blocks
    assert solver.sample(prompts, 5, folders[1]) == expected
    logs = [(folder / "solutions-00000.jsonl").read_bytes() for folder in folders]
    assert logs[0] == logs[1]


class Rated(CodeExec):
    """One whose own `answer` says something of agreement."""

    said: Any = None

    def answer(self, records: Any, *_: Any) -> Any:
        return [Answered({**record, "output": "1", "agreement": self.said}) for record in records]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("high", "agreement is 'high' (of type str)"),
        ([0.5], "agreement is [0.5] (of type list)"),
        ({"rate": "most"}, "agreement['rate'] is 'most' (of type str)"),
        ({"rate": 2}, "agreement['rate'] is 2 (of type int)"),
    ],
)
def test_agreement_that_is_none_is_told_with_its_record(tmp_path: Path, said: Any, told: str) -> None:
    domain = Rated()
    domain.said = said
    with pytest.raises(BrokenContract) as caught:
        run(tmp_path, domain, RECORDS)
    assert f"answer gave record 's-0' a field 'agreement', and {told}: make it a dict" in str(caught.value)


@pytest.mark.parametrize(("said", "rate"), [(None, None), ({}, None), ({"rate": 0.75}, 0.75)])
def test_agreement_goes_with_the_pair(tmp_path: Path, said: Any, rate: float | None) -> None:
    domain = Rated()
    domain.said = said
    pairs = read_jsonl(run(tmp_path, domain, RECORDS) / "pairs.jsonl")
    assert [pair["provenance"]["agreement"] for pair in pairs] == [rate] * len(RECORDS)
