"""The page and the table, from stores written by hand."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.reporting import write_report
from domino_lightning.store.locks import LOCK, held
from domino_lightning.utils.jsonl import write_json
from tests.reporting.conftest import FakeStore


def page_of(store: FakeStore) -> str:
    page, _ = write_report([store.root], store.root / "report")
    return page.read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a reader sees, with single spaces."""

    class Text(HTMLParser):
        parts: list[str] = []
        hidden = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.hidden = tag == "style"

        def handle_endtag(self, tag: str) -> None:
            self.hidden = False

        def handle_data(self, data: str) -> None:
            if not self.hidden:
                self.parts.append(data)

    parser = Text()
    parser.parts = []
    parser.feed(page)
    return " ".join(" ".join(parser.parts).split())


def rows_of(store: FakeStore) -> dict[str, dict[str, str]]:
    _, table = write_report([store.root], store.root / "report")
    with open(table, encoding="utf-8", newline="") as file:
        return {row["trial"]: row for row in csv.DictReader(file)}


def test_the_headline_has_every_arm_with_its_interval(full_store: FakeStore) -> None:
    text = text_of(page_of(full_store))
    assert "source-synthetic finetune.source=synthetic synthetic finished 30.0% 12.5% to 50.0% 10 9 10 40" in text
    assert "source-none none finished 20.0% 5.0% to 40.0% 10 9 10 0" in text
    assert "All 3 intervals overlap one another. One seed per arm: intervals that overlap decide nothing" in text


def test_intervals_apart_are_reported_as_apart(store: FakeStore) -> None:
    store.none_trial()
    stages = {"prepare": store.prepare(), "finetune": store.finetune("f1" * 8, "reference")}
    store.trial("high", stages | {"evaluate": store.evaluate("e9" * 8, 0.7, 0.5, 0.9)}, ("finetune.source=reference",))
    text = text_of(page_of(store))
    assert "The two intervals do not overlap: high lies above source-none. One seed per arm:" in text


def test_many_pairs_apart_are_counted_and_not_listed(store: FakeStore) -> None:
    for place, value in enumerate((0.1, 0.3, 0.5, 0.7, 0.72)):
        scored = store.evaluate(f"e{place}" * 8, value, value - 0.05, value + 0.05)
        store.trial(f"arm-{place}", {"prepare": store.prepare(), "evaluate": scored}, (f"a={place}",))
    text = text_of(page_of(store))
    assert "9 of 10 pairs of intervals do not overlap; the chart shows which. One seed per arm:" in text


def test_names_made_of_overrides_are_shortened_where_that_is_clear(store: FakeStore) -> None:
    store.trial("finetune.source=none,seed=1", {})
    store.trial("finetune.source=both,seed=1", {})
    assert "<strong>source=none,seed=1</strong>" in page_of(store)
    store.trial("prepare.source=x", {})
    assert "<strong>finetune.source=none,seed=1</strong>" in page_of(store)


def test_seeds_are_counted_per_arm(store: FakeStore) -> None:
    for seed in (0, 1):
        stages = {"prepare": store.prepare(), "evaluate": store.evaluate(f"e{seed}" * 8, 0.2, 0.1, 0.3)}
        store.trial(f"seed-{seed}", stages, (f"seed={seed}",), seed=seed)
    assert "The two intervals overlap. 2 seeds per arm: intervals that" in text_of(page_of(store))


def test_one_arm_is_not_compared(store: FakeStore) -> None:
    store.none_trial()
    assert "One arm is evaluated, so there is nothing to compare it with." in text_of(page_of(store))


def test_arms_on_different_test_sets_are_called_incomparable(store: FakeStore) -> None:
    store.none_trial()
    assert "different test sets" not in page_of(store)
    stages = {"prepare": store.prepare("q" * 16), "evaluate": store.evaluate("e9" * 8, 0.7, 0.5, 0.9)}
    store.trial("other-test", stages)
    assert "scored on 2 different test sets" in page_of(store)


def test_the_funnel_is_shown_once_for_trials_that_share_it(full_store: FakeStore) -> None:
    text = text_of(page_of(full_store))
    funnel = text[text.index("From candidates to training pairs") : text.index("Domain tokens (tune)")]
    assert funnel.count("near_duplicate") == 1
    assert "Shared by source-both source-synthetic" in funnel
    assert "screen parse 8, duplicate 2 60 10 50 83.3%" in funnel
    assert "curate near_duplicate 40 20 20 33.3%" in funnel
    assert "answer timeout 3 20 3 17 28.3%" in funnel
    assert "does not add up" not in funnel
    assert "Not run: lr-1, source-none." in funnel


def test_a_funnel_that_does_not_add_up_is_called_so(store: FakeStore) -> None:
    store.synthetic_trial(steps=[{"filter": "parse", "in": 50, "rejected": 29, "out": 20}])
    text = text_of(page_of(store))
    assert "The funnel does not add up. curate/parse: 50 in, 29 rejected, 20 out." in text


def test_a_screen_that_curate_repeats_is_told_beside_the_funnel(store: FakeStore) -> None:
    store.synthetic_trial(steps=[{"filter": "parse", "in": 60, "rejected": 40, "out": 20}])
    funnel = {
        "candidates": 60,
        "steps": [{"filter": "parse", "in": 60, "rejected": 40, "out": 20}],
        "accepted": 20,
    }
    store.stage("curate", "c" * 16, {"funnel.json": funnel})
    text = text_of(page_of(store))
    assert "While sampling, a screen let 50 of 60 pass (parse 8, duplicate 2); curate judged all of them" in text
    assert "does not add up" not in text
    assert rows_of(store)["source-synthetic"]["candidates"] == "60"


def test_curves_show_terms_and_the_best_heldout_step(store: FakeStore) -> None:
    store.synthetic_trial()
    text = text_of(page_of(store))
    assert "train held-out best, 1.250 at step 20" in text
    assert "Loss terms loss contrast" in text
    assert "Fine-tuning the coder train loss held-out NLL" in text


def test_every_term_of_a_fork_is_drawn_or_counted(store: FakeStore) -> None:
    tune = store.synthetic_trial() / "tune"
    with open(tune / "metrics.csv", "a", encoding="utf-8") as file:
        for name in ("in_s", "few_tokens", "lr_like", "d", "e", "f"):
            file.write("".join(f"{step},tune/train/{name},{step / 10}\n" for step in (1, 30)))
    text = text_of(page_of(store))
    assert "Loss terms, 6 of 8 (metrics.csv has all) loss contrast d e f few_tokens" in text


def test_health_of_tuning_has_a_chart_and_the_first_and_last_sampled_texts(store: FakeStore) -> None:
    tune = store.synthetic_trial() / "tune"
    with open(tune / "metrics.csv", "a", encoding="utf-8") as file:
        for step in (0, 30):
            file.write(f"{step},tune/health/own_gain,{step / 100}\n{step},tune/health/other_gap,{step / 50}\n")
            file.write(f"{step},tune/health/domain_norm,3.2\n")
    looks = [
        {"step": step, "texts": [{"text": f"<b>text of step {step}", "finished": step > 0}]} for step in (0, 15, 30)
    ]
    (tune / "samples.jsonl").write_text("".join(json.dumps(look) + "\n" for look in looks))
    page = page_of(store)
    text = text_of(page)
    assert "Disentanglement, NLL gaps on a probe under D − with own tokens with another's − with own tokens" in text
    assert "Loss terms loss contrast" in text  # the norms take no place among the terms
    assert "with the same noise at step 0 and step 30" in text
    assert "Step 0 <b>text of step 0 … Step 30 <b>text of step 30" in text
    assert "text of step 15" not in text
    assert "<b>" not in page


def test_half_a_line_of_sampled_texts_costs_no_curves(store: FakeStore) -> None:
    tune = store.synthetic_trial() / "tune"
    (tune / "samples.jsonl").write_text('{"step": 0, "te')
    text = text_of(page_of(store))
    assert "train held-out best, 1.250 at step 20" in text
    assert "Texts sampled" not in text


def test_a_trial_without_tune_is_shown_plainly(store: FakeStore) -> None:
    store.none_trial()
    text = text_of(page_of(store))
    assert text.count("Not run in any of these trials.") == 4
    assert "Nothing was trained: the source is none, the coder is the base model." in text


def test_samples_stand_beside_references_with_counts(store: FakeStore) -> None:
    store.synthetic_trial()
    text = text_of(page_of(store))
    assert "Functions not in the references: 18 of 20 distinct functions in 20 accepted rows" in text
    assert text.count("Nearest reference") == 12
    assert "f([1, 2, 3]) → 'answer 0'" in text
    assert "6 rejected rows" in text
    assert "timeout answer syn-17" in text


def test_evaluation_items_show_expected_completion_and_verdict(store: FakeStore) -> None:
    store.synthetic_trial()
    text = text_of(page_of(store))
    assert "Verdicts: failed 7, passed 3." in text
    assert "3 passed and 3 failed" in text
    assert "Expected [9] Completion [1]" in text
    file = store.root / "stages" / "evaluate" / ("e1" * 8) / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    metrics |= {"evaluate/test/pass@10": 0.45678, "evaluate/test/failed": 7.0, "evaluate/test/truncated": 4}
    metrics |= {"evaluate/test/difficulty=easy/pass@1": 0.5, "evaluate/heldout/perplexity": 3.25}
    file.write_text(json.dumps(metrics), encoding="utf-8")
    text = text_of(page_of(store))
    assert "all problems 10 10 45.7% –" in text
    assert "difficulty=easy – 1 50.0% –" in text
    assert "truncated 4" in text
    assert "failed 7.0" not in text
    assert "perplexity 3.25" in text


def test_a_failed_trial_is_shown_with_its_last_error(full_store: FakeStore) -> None:
    page = page_of(full_store)
    assert "lr-1: failed. Last error: Traceback: <b>bad</b> RuntimeError: out of memory" in text_of(page)
    assert "<b>bad</b>" not in page
    assert "lr-1 tune.lr=1 synthetic failed not run" in text_of(page)
    assert "This stage is not finished: its curves end where it stopped." in text_of(page)


def test_what_models_wrote_cannot_become_markup(store: FakeStore) -> None:
    attack = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>"
    store.none_trial()
    store.synthetic_trial(extra_code=attack)
    store.evaluate("e1" * 8, 0.3, 0.125, 0.5, completion=attack)
    store.trial("<script>", {"evaluate": "e1" * 8}, ("a=<script>",))
    page = page_of(store)
    assert page.lower().count("<script") == 1 and "<img" not in page.lower()  # the one of ours, which sorts tables
    assert text_of(page).count("<script>alert(1)</script>") >= 2


def test_the_page_asks_the_network_for_nothing(full_store: FakeStore) -> None:
    page = page_of(full_store)
    assert re.findall(r"https?://", page) == []
    assert "@import" not in page and '<link rel="stylesheet"' not in page
    assert page.count("<script") == page.count("<script>")  # in the page itself
    assert {link for link in re.findall(r"(?:src|href)=\"([^\"]*)\"", page) if link[0] != "#"} == {"data:,"}
    assert [url for url in re.findall(r"url\(([^)]*)\)", page) if url[0] != "#"] == []
    assert page.lstrip().startswith("<!doctype html>") and '<meta charset="utf-8">' in page


def test_names_within_the_page_are_unique(full_store: FakeStore) -> None:
    names = re.findall(r'\bid="([^"]+)"', page_of(full_store))
    # an interval chart and a curve repeat no marker, and every link of the contents has its section
    assert len(names) == len(set(names))


def test_settings_splits_and_places_are_listed(full_store: FakeStore) -> None:
    text = text_of(page_of(full_store))
    assert "reference 24 24 heldout 6 6 test 10 10" in text
    assert "No overlap between reference/heldout, reference/test, heldout/test." in text
    assert "finetune.source synthetic both none synthetic" in text
    assert "Each distinct stage once, 2 min 18 s in all." in text  # 11 finished stages of 12.5 s
    assert f"stages/tune/{'t' * 16}" in text and "runs/exec/source-none" in text
    assert str(full_store.root) not in text
    assert "git 0123abcd python 3.11.9 torch 2.13.0" in text


def test_splits_that_overlap_are_called_so(store: FakeStore) -> None:
    store.none_trial()
    splits = {"rows": {"reference": 2}, "groups": {"reference": 2}, "overlap": {"reference/test": 2}}
    store.stage("prepare", "p" * 16, {"splits.json": splits})
    assert "Splits overlap. reference/test: 2." in text_of(page_of(store))


def test_versions_that_differ_are_called_so(store: FakeStore) -> None:
    store.none_trial()
    store.stage("evaluate", "e0" * 8, {}, manifest={"versions": {"torch": "2.12.0"}})
    assert "Stages were run with different versions: torch." in text_of(page_of(store))


def test_the_table_has_one_row_per_trial(full_store: FakeStore) -> None:
    rows = rows_of(full_store)
    assert list(rows) == ["lr-1", "source-both", "source-none", "source-synthetic"]
    row = rows["source-synthetic"]
    expected = {
        "experiment": "exec", "status": "finished", "overrides": "finetune.source=synthetic", "seed": "0",
        "source": "synthetic", "pass@1": "0.3", "pass@1_low": "0.125", "pass@1_high": "0.5", "problems": "10",
        "groups": "9", "samples": "10", "candidates": "60", "accepted": "20", "answered": "17",
        "optimizer_steps": "40", "best_heldout_nll": "1.25", "best_heldout_step": "20",
        "tune_fingerprint": "t" * 16, "tune_wall_s": "12.5", "error": "",
    }  # fmt: skip
    assert {key: row[key] for key in expected} == expected
    none = rows["source-none"]
    assert (none["pass@1"], none["candidates"], none["best_heldout_nll"], none["tune_wall_s"]) == (
        "0.2",
        "",
        "",
        "",
    )
    assert (rows["lr-1"]["status"], rows["lr-1"]["error"]) == ("failed", "RuntimeError: out of memory")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "7\n", '{"id": 1}\n', "step,key\n1,2\n", "\xff\x00"])
def test_no_broken_file_stops_the_report(store: FakeStore, content: str) -> None:
    store.none_trial()
    trial = store.synthetic_trial()
    files = [file for stage in trial.iterdir() if stage.is_dir() for file in stage.iterdir()]
    assert len(files) > 15
    for file in files:
        file.write_text(content, encoding="latin-1")
    page, table = write_report([store.root], store.root / "report")
    assert "source-synthetic" in page.read_text(encoding="utf-8")
    assert len(table.read_text(encoding="utf-8").splitlines()) == 3


def test_a_broken_file_costs_only_its_own_section(store: FakeStore) -> None:
    trial = store.synthetic_trial()
    (trial / "tune" / "metrics.csv").write_text("step,key,value\nx,y,z\n1,a,1\n", encoding="utf-8")
    text = text_of(page_of(store))
    assert "This section could not be read." in text and "metrics.csv, line 2" in text
    assert "30.0% 12.5% to 50.0%" in text and text.count("Nearest reference") == 12


def test_a_missing_file_is_no_error(store: FakeStore) -> None:
    trial = store.synthetic_trial()
    for stage in ("prepare", "tune", "curate", "evaluate"):
        for file in (trial / stage).iterdir():
            if file.name != "manifest.json":
                file.unlink()
    text = text_of(page_of(store))
    assert "No curves were recorded." in text and "No verdicts." in text and "No splits.json" in text
    assert "No accepted rows." in text


def test_a_running_trial_is_shown_as_running(store: FakeStore) -> None:
    trial = store.trial("now", {"prepare": store.prepare()}, status="running")
    with held(trial / LOCK, "trial now"):
        text = text_of(page_of(store))
    assert "now: running. It has not finished; started 2026-05-01 09:00 UTC." in text
    text = text_of(page_of(store))  # after a kill
    assert "now: interrupted. It was ended before its time; the same command continues it." in text
    assert "No arm has a pass@1 with an interval yet." in text


def test_trials_of_two_experiments_carry_the_experiment_in_their_label(store: FakeStore) -> None:
    trial = store.none_trial()
    info = json.loads((trial / "trial.json").read_text(encoding="utf-8"))
    other = store.root / "runs" / "second" / "one"
    other.mkdir(parents=True)
    (other / "trial.json").write_text(json.dumps({**info, "experiment": "second"}), encoding="utf-8")
    text = text_of(page_of(store))
    assert "exec/source-none" in text and "second/source-none" in text
    assert "Shared by exec/source-none second/source-none" in text


def test_the_same_trials_give_the_same_bytes(full_store: FakeStore, tmp_path: Path) -> None:
    first, second = (write_report([full_store.root], tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["report.html", "results.csv"]


def test_an_output_that_is_a_file_is_named(store: FakeStore, tmp_path: Path) -> None:
    store.none_trial()
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"taken: cannot write a report here"):
        write_report([store.root], tmp_path / "taken")


def test_the_corpus_is_shown_beside_its_floor(store: FakeStore) -> None:
    trial = store.synthetic_trial()
    measures = {
        "self_bleu": {"value": 60, "low": 55, "high": 64, "floor_value": 50, "floor_low": 46, "floor_high": 54.5},
        "memorised": {"value": 0, "low": 0, "high": 0.1, "floor_value": 0, "floor_low": None, "floor_high": None},
    }
    corpus = {"rows": 17, "functions": 15, "references": 4, "compared": 8, "measures": measures}
    write_json(trial / "answer" / "corpus.json", corpus)
    text = text_of(page_of(store))
    assert "17 answered rows with 15 distinct functions, learned from 4" in text
    assert "0 to 100; more is less varied 60.0 55.0 to 64.0 50.0 46.0 to 54.5 apart" in text
    assert "allows by default 0.000 0.000 to 0.100 0.000 – –" in text
