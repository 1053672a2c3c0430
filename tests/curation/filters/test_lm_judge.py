"""The judge: ratings are read strictly, every failure is counted, and no row is asked about twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.config.document import load_config
from domino_lightning.curation import Context, Criterion, LMJudge, curate
from domino_lightning.curation.filters.lm_judge import Unreadable, read_ratings
from domino_lightning.domains import CodeExec
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.synthesis import Engine, LanguageModel, ModelSource, Sampled, Sampling

CRITERIA = [Criterion("sense", "Does it make sense?", 3), Criterion("style", "Is it tidy?", 2)]
CONTEXT = Context(CodeExec(), [])


class Scripted(Engine, LanguageModel):
    """Gives its answers in turn, and remembers the prompts."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.prompts = list(answers), list[str]()

    def load(self, source: ModelSource) -> LanguageModel:
        return self

    def complete(self, prompts: Any, rows: Any, seed: int, sampling: Sampling, on_tokens: Any = None) -> list[Sampled]:
        assert len(set(rows)) == len(rows) == len(prompts)
        self.prompts += [prompt[-1]["content"] for prompt in prompts]
        return [Sampled(self.answers.pop(0), True, 1) for _ in prompts]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": f"s-{n}", "text": f"def f(a):\n    return a + {n}\n\nf(1)"} for n in range(count)]


def judge(*answers: str, **settings: Any) -> LMJudge:
    return LMJudge("model", CRITERIA, engine=Scripted(*answers), **settings)


GOOD, POOR, NOISE = '{"sense": 4, "style": 2}', '{"sense": 2, "style": 5}', "I would say 4."


def test_low_ratings_and_unreadable_ones_are_rejected_and_counted() -> None:
    accepted, rejected, funnel = curate(rows(4), [judge(GOOD, POOR, NOISE, GOOD)], CONTEXT)
    assert [row["id"] for row in accepted] == ["s-0", "s-3"]
    assert [(row["id"], row["detail"]) for row in rejected] == [
        ("s-1", "sense: rated 2, less than 3"),
        ("s-2", "unparsable: not one JSON object"),
    ]
    (step,) = funnel["steps"]
    assert step["codes"] == {"sense": 1, "unparsable": 1}
    assert step["facts"] == {"rated": 3, "unparsable": 1}
    assert accepted[0]["notes"] == {"judge": {"sense": 4, "style": 2}}
    assert rejected[1]["notes"] == {"judge": {"unparsable": NOISE}}


def test_unreadable_ratings_can_be_kept_and_are_counted_all_the_same() -> None:
    accepted, _, funnel = curate(rows(2), [judge(NOISE, GOOD, unparsable="keep")], CONTEXT)
    assert len(accepted) == 2
    assert funnel["steps"][0]["facts"] == {"rated": 1, "unparsable": 1}


def test_the_prompt_has_rubric_scale_and_text() -> None:
    made = judge(GOOD, highest=7)
    curate(rows(1), [made], CONTEXT)
    (prompt,) = made.engine.prompts  # type: ignore[union-attr]
    for part in ("- sense: Does it make sense?", "from 1 (worst) to 7 (best)", "return a + 0", '{"sense": <1 to 7>, '):
        assert part in prompt


def test_verdicts_in_the_journal_are_not_asked_for_again(tmp_path: Path) -> None:
    first = curate(rows(3), [judge(GOOD, POOR, GOOD)], CONTEXT, tmp_path)
    again = judge()  # any question would find no answer
    assert curate(rows(3), [again], CONTEXT, tmp_path) == first
    assert again.model is None


def test_a_model_that_fails_stops_the_run_instead_of_rejecting_rows() -> None:
    with pytest.raises(StageFailed, match="LMJudge: 'model' failed: IndexError"):
        curate(rows(2), [judge(GOOD)], CONTEXT)


def test_a_row_that_crashes_the_domain_costs_that_row_alone() -> None:
    class Fragile(CodeExec):
        def render(self, record: Any) -> str:
            if "+ 1" in record["code"] and "id" in record:
                raise RuntimeError("boom")
            return super().render(record)

    accepted, rejected, _ = curate(rows(3), [judge(*[GOOD] * 4)], Context(Fragile(), []))
    assert [row["id"] for row in accepted] == ["s-0", "s-2"]
    assert rejected[0]["detail"] == "filter crashed: RuntimeError: boom"


@pytest.mark.parametrize("text", [GOOD, f"  {GOOD}\n", f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```"])
def test_one_json_object_is_read(text: str) -> None:
    assert read_ratings(text, CRITERIA, 1, 5) == {"sense": 4, "style": 2}


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"Here: {GOOD}",
        f"{GOOD} {GOOD}",
        f"[{GOOD}]",
        "null",
        '{"sense": 4}',
        '{"sense": 4, "style": 2, "more": 1}',
        '{"sense": 4, "style": 2, "style": 3}',
        '{"sense": 4, "style": 2.0}',
        '{"sense": 4, "style": "2"}',
        '{"sense": 4, "style": true}',
        '{"sense": 4, "style": null}',
        '{"sense": 4, "style": {"a": 1}}',
        '{"sense": 6, "style": 2}',
        '{"sense": 0, "style": 2}',
        '{"sense": NaN, "style": 2}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:30],
)
def test_anything_else_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        read_ratings(text, CRITERIA, 1, 5)


@given(st.text(alphabet='{}[]":, 0123456789sentyl.-`\n'))
def test_no_text_crashes_the_reader(text: str) -> None:
    try:
        ratings = read_ratings(text, CRITERIA, 1, 5)
    except Unreadable:
        return
    assert json.loads(json.dumps(ratings)) == ratings


@pytest.mark.parametrize(
    "settings",
    [
        {"criteria": []},
        {"criteria": [CRITERIA[0], CRITERIA[0]]},
        {"criteria": [Criterion("unparsable", "?")]},
        {"criteria": [Criterion("two words", "?")]},
        {"criteria": [Criterion("sense", "?", 9)]},
        {"criteria": CRITERIA, "lowest": 5},
    ],
    ids=str,
)
def test_rubrics_that_make_no_sense_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match="LMJudge"):
        LMJudge("model", **settings)


def test_a_judge_is_composed_in_yaml_and_its_backbone_is_in_the_fingerprint(
    write_experiment: Any, tiny_backbone: Path
) -> None:
    from domino_lightning.stages import stage_class
    from domino_lightning.stages.curate import Curate

    arguments = {"backbone": str(tiny_backbone), "criteria": [{"name": "sense", "question": "?", "minimum": 2}]}
    node = {"class_path": "domino_lightning.curation.LMJudge", "init_args": arguments}
    config = load_config(write_experiment({"curate": {"filters": [node]}}))
    stage: Any = stage_class("curate").from_config(config)
    assert stage.filters[0].criteria == [Criterion("sense", "?", 2)]
    assert list(Curate.contents(config.document["curate"])) == ["filters.0.init_args.backbone"]


def test_a_judge_on_a_real_model_gives_a_verdict_on_every_row(tiny_backbone: Path) -> None:
    made = LMJudge(str(tiny_backbone), CRITERIA, sampling=Sampling(temperature=0.0, max_new_tokens=4))
    _, rejected, funnel = curate(rows(3), [made], CONTEXT)
    assert funnel["steps"][0]["facts"] == {"rated": 0, "unparsable": len(rejected)} == {"rated": 0, "unparsable": 3}


def test_the_default_filters_call_no_language_model(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from domino_lightning.config.document import load_config\n"
        "from domino_lightning.curation import Context, curate\n"
        "from domino_lightning.stages import stage_class\n"
        "path = Path('x.yaml'); path.write_text('name: x')\n"
        "stage = stage_class('curate').from_config(load_config(path))\n"
        "row = {'id': '0', 'text': 'def f(a):\\n    return [a, a + 1]\\n\\nf(1)', 'finished': True, 'num_tokens': 9}\n"
        "found = curate([row], stage.filters, Context(stage.domain, []))\n"
        "print(len(found.accepted), 'torch' in sys.modules, 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]
