"""The corpus described in Croissant 1.1 with its responsible-AI fields and provenance, as JSON-LD.

Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, and the RAI vocabulary beside it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.curation.card import PARQUET, pretty_name
from domino_lightning.curation.licenses import OTHER_LICENSE
from domino_lightning.release.origin import Origin
from domino_lightning.release.terms import Terms
from domino_lightning.utils.jsonl import sha256_file

if TYPE_CHECKING:
    import pyarrow

Json = dict[str, Any]

PAPER = "@misc{domino2026, title={DOMINO}, year={2026}, eprint={2605.30039}, archivePrefix={arXiv}}"
RECORDS = "pairs"
# The context that the specification recommends (its appendix 1), and PROV.
CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            *(
                "arrayShape",
                "citeAs",
                "column",
                "containedIn",
                "equivalentProperty",
                "extract",
                "field",
                "fileProperty",
            ),
            *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
            *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
            *("separator", "source", "subField", "transform"),
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}


def croissant(origin: Origin, terms: Terms, repo_id: str, endpoint: str) -> Json:
    """The Croissant description of a pushed corpus.

    Args:
        origin: of stage `answer`.
        terms: its licenses.
        repo_id: where it is pushed to.
        endpoint: of the hub.
    """
    import pyarrow.parquet

    url = f"{endpoint}/datasets/{repo_id}"
    owner = repo_id.partition("/")[0]
    parquet = origin.directory / PARQUET
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": repo_id.partition("/")[2],
        "alternateName": pretty_name(origin.domain.kind),
        "description": _description(origin),
        "url": url,
        "license": _license(terms),
        "creator": {"@type": "sc:Organization", "name": owner, "url": f"{endpoint}/{owner}"},
        "dateCreated": origin.manifest["finished_at"],
        "datePublished": time.strftime("%Y-%m-%d", time.gmtime()),
        "version": "1.0.0",
        "inLanguage": list(origin.domain.languages),
        "keywords": ["synthetic", *origin.domain.tags, origin.domain.kind],
        "citeAs": PAPER,
        "isLiveDataset": False,
        "distribution": [_file(parquet, f"{url}/resolve/main/{PARQUET}")],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": RECORDS,
                "name": RECORDS,
                "description": "Conversations that end with the answer.",
                "key": {"@id": f"{RECORDS}/source_id"},
                "field": [_field(column) for column in pyarrow.parquet.read_schema(parquet)],
            }
        ],
        **_responsible(origin),
        **_provenance(origin),
    }


def _description(origin: Origin) -> str:
    funnel = origin.funnel or {}
    return (
        f"{funnel['answer']['answered']} chat pairs of kind {origin.domain.kind}, synthesized by domino_lightning from "
        f"{funnel['curate']['candidates']} candidates that a language model sampled."
    )


def _license(terms: Terms) -> str | Json:
    """The address of a license: SPDX's where it has one, as Croissant asks for."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if terms.card.license == OTHER_LICENSE:
        return {"@type": "sc:CreativeWork", "name": terms.name, "url": terms.link}
    try:
        return f"https://spdx.org/licenses/{canonicalize_license_expression(terms.card.license)}.html"
    except InvalidLicenseExpression:
        page = "https://huggingface.co/docs/hub/repositories-licenses"
        return {"@type": "sc:CreativeWork", "name": terms.card.license, "url": page}


def _file(path: Path, url: str) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": url,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": sha256_file(path),
    }


def _field(column: pyarrow.Field) -> Json:
    """A column: a struct's members are sub-fields, a list is an array."""
    import pyarrow

    identity = f"{RECORDS}/{column.name}"
    source: Json = {"fileObject": {"@id": PARQUET}, "extract": {"column": column.name}}
    many = pyarrow.types.is_list(column.type)
    inner = column.type.value_type if many else column.type
    shape = {"isArray": True, "arrayShape": "-1"} if many else {}
    described: Json = {"@type": "cr:Field", "@id": identity, "name": column.name, **shape}
    if not pyarrow.types.is_struct(inner):
        return {**described, "dataType": _data_type(inner), "source": source}
    members = []
    for member in inner:
        listed = pyarrow.types.is_list(member.type)
        members.append(
            {
                "@type": "cr:Field",
                "@id": f"{identity}/{member.name}",
                "name": member.name,
                "dataType": _data_type(member.type.value_type if listed else member.type),
                "source": {**source, "transform": {"jsonPath": member.name}},
                **({"isArray": True, "arrayShape": "-1"} if listed else {}),
            }
        )
    return {**described, "subField": members}


def _data_type(kind: pyarrow.DataType) -> str:
    import pyarrow

    if pyarrow.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pyarrow.types.is_floating(kind) else "sc:Text"


def _responsible(origin: Origin) -> Json:
    """The RAI fields, as far as the pipeline knows them; the people who release the data add what they know."""
    funnel = origin.funnel or {}
    curate, answer = funnel["curate"], funnel["answer"]
    steps = [f"{step['filter']}: {step['in']} in, {step['rejected']} rejected" for step in curate["steps"]]
    began = origin.stages["synthesize"]["finished_at"] if "synthesize" in origin.stages else None
    frame = [began, origin.manifest["finished_at"]] if began else [origin.manifest["finished_at"]]
    models = ", ".join(origin.models) or "a language model"
    domain = origin.domain
    answered = domain.answered_by
    return {
        "rai:hasSyntheticData": True,
        "rai:dataCollection": (
            f"Sampled from {models} after learning from references ({origin.source}): {curate['candidates']} "
            f"candidates, of which {curate['accepted']} passed the filters and {answer['answered']} were answered."
        ),
        "rai:dataCollectionType": ["Others"],
        "rai:dataCollectionTimeFrame": frame,
        "rai:dataPreprocessingProtocol": steps,
        "rai:dataAnnotationProtocol": [f"Answers are machine-generated, by {answered}; no person has read them."],
        "rai:machineAnnotationTools": [f"domino_lightning {origin.manifest['versions']['domino_lightning']}"],
        "rai:dataLimitations": [
            "Texts are samples of a language model: fluent and possibly wrong in what they say about the world.",
            f"An answer is as right as the means that gave it: {answered}.",
            "Duplicates and overlaps with the references and the test split are removed as far as the filters see.",
        ],
        "rai:dataBiases": [
            "Follows the reference data and the language model, and has whatever biases they have, more narrowly."
        ],
        "rai:personalSensitiveInformation": [
            "Not screened for. Names, addresses or secrets in the reference data or in what the language model was "
            "trained on can reappear."
        ],
        "rai:dataUseCases": [
            f"Fine-tuning of language models on {origin.domain.kind} tasks, and studies of synthetic data.",
            "Not for evaluation: the answers were not checked by people.",
        ],
        "rai:dataSocialImpact": (
            "Makes small models better at a narrow task with little human data; errors and biases of the generating "
            "model are passed on to models trained on it."
        ),
    }


def _provenance(origin: Origin) -> Json:
    """What it was derived from, and the stages that made it."""
    derived = [
        {"@id": _urn(str(row["content"])), "@type": "prov:Entity", "prov:label": row["name"]}
        for row in {row["name"]: row for row in origin.contents}.values()
    ]
    version = origin.manifest["versions"]["domino_lightning"]
    activities = [
        {
            "@id": f"urn:domino:{name}:{manifest['fingerprint']}",
            "@type": "prov:Activity",
            "prov:label": f"{name} {manifest['fingerprint']}",
            "prov:endedAtTime": manifest["finished_at"],
            "prov:wasInformedBy": [
                {"@id": f"urn:domino:{stage}:{digest}"} for stage, digest in manifest["inputs"].items()
            ],
            "prov:wasAssociatedWith": {"@type": "prov:SoftwareAgent", "prov:label": f"domino_lightning {version}"},
        }
        for name, manifest in origin.stages.items()
    ]
    return {"prov:wasDerivedFrom": derived, "prov:wasGeneratedBy": activities}


def _urn(name: str) -> str:
    from urllib.parse import quote

    digest = len(name) == 64 and all(character in "0123456789abcdef" for character in name)
    return f"urn:sha256:{name}" if digest else f"urn:domino:content:{quote(name, safe='')}"
