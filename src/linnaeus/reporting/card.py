"""The model card: what a stranger should know before using the chosen model, from the report's own facts.

Its head has the metadata of the Hugging Face Hub (huggingface.co/docs/hub/model-cards).
"""

import shlex
from typing import Any

import yaml

from linnaeus.evaluation.paired import sentence
from linnaeus.records import PART_NAMES
from linnaeus.reporting.facts import ReportFacts
from linnaeus.reporting.templates import template
from linnaeus.reporting.trust import how_far_to_trust
from linnaeus.reporting.worries import worries

# The Hub's names of the figures that it knows.
HUB_METRICS = {
    "top_1": "accuracy",
    "f1_macro": "f1",
    "precision_macro": "precision",
    "recall_macro": "recall",
    "matthews_correlation": "matthews_correlation",
    "roc_auc_macro": "roc_auc",
}


def model_card(facts: ReportFacts) -> str:
    """The chosen model's card, as Markdown with a YAML head."""
    chosen = facts.chosen.model_id
    pairs = [pair for pair in facts.comparison.pairs.pairs if chosen in {pair.first, pair.second}]
    head = yaml.safe_dump(_metadata(facts), sort_keys=False, allow_unicode=True)
    return template("card.md").render(
        head=head,
        facts=facts,
        chosen=facts.chosen,
        part=PART_NAMES[facts.chosen.part],
        worries=worries(facts),
        trust=how_far_to_trust(facts),
        compared=[said[0].upper() + said[1:] if said.startswith("these") else said for said in map(sentence, pairs)],
        commands=[line.replace(shlex.quote(facts.image_folder), shlex.quote(facts.title)) for line in facts.commands],
        settings={name: value for name, value in facts.settings.items() if name != "project folder"},
    )


def _metadata(facts: ReportFacts) -> dict[str, Any]:
    measures = facts.trust.measures
    overall = measures[measures["class"].eq("")].set_index("measure")["value"]
    metrics = [
        {
            "type": hub_name,
            "name": name.replace("_", " "),
            "value": round(float(overall[name]), 4),
            **({"args": {"average": "macro"}} if name.endswith("_macro") else {}),
        }
        for name, hub_name in HUB_METRICS.items()
        if name in overall
    ]
    dataset = {"name": facts.title, "type": "imagefolder", "split": PART_NAMES[facts.chosen.part]}
    result = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}
    backbone = {"base_model": facts.base_model} if facts.base_model else {}
    return {
        "library_name": "linnaeus",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "linnaeus"],
        **backbone,
        "metrics": [*dict.fromkeys(metric["type"] for metric in metrics)],
        "model-index": [{"name": facts.chosen.model_id, "results": [result]}],
    }
