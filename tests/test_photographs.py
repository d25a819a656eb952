"""The main job on real photographs, where they are beside the checkout."""

from pathlib import Path

import pytest

import linnaeus


@pytest.mark.slow
def test_transfer_names_at_least_95_percent_of_unseen_photographs(shared: Path, tmp_path: Path) -> None:
    plan = linnaeus.Plan(rename="animals10", recipes=(linnaeus.load_recipe("lite0-dense256"),))
    outcome = linnaeus.run(shared / "data" / "animals9", tmp_path / "project", plan)
    assert len(outcome.catalogue.images) == 2379
    assert outcome.evaluations[0].metrics["accuracy"] >= 0.95
