"""What timm has pretrained weights for, and what is known of each without fetching it."""

import difflib
import re
from pathlib import Path

import pandas as pd
import timm

from linnaeus.errors import RecipeError
from linnaeus.networks.backbone import ALIASES
from linnaeus.networks.weights import where_weights_are

# Parameters of the backbone and top-1 by model; its header says where they are from.
FACTS_FILE = Path(__file__).parent / "pretrained.csv"


def pretrained_table(pattern: str) -> pd.DataFrame:
    """The pretrained models of timm whose name matches a pattern such as "efficientnet*", the most accurate first.

    Columns: model, with the tag of its weights; params_m, the backbone's parameters without its classification layer,
    millions; top1, per cent of ImageNet-1k's validation images that the model names rightly at this input; input_px, a
    side; weights (installed, downloaded, to download). NaN where `pretrained.csv`, which has timm's own results, says
    nothing. Raises RecipeError, with near names, where nothing matches.
    """
    names = timm.list_models(ALIASES.get(pattern, pattern), pretrained=True)
    if not names:
        raise RecipeError(f"timm has no pretrained model {pattern!r}{_near(pattern)}")
    facts = pd.read_csv(FACTS_FILE, comment="#", index_col="model").reindex(names)
    table = pd.DataFrame(
        {
            "model": names,
            "params_m": (facts["parameters"] / 1e6).round(2).to_numpy(),
            "top1": facts["top1"].to_numpy(),
            "input_px": [timm.get_pretrained_cfg(name).input_size[-1] for name in names],
            "weights": [where_weights_are(name) for name in names],
        }
    )
    return table.sort_values("top1", ascending=False, kind="stable", ignore_index=True)


def _near(pattern: str) -> str:
    core = re.sub(r"[*?\[\]]", "", pattern)
    known = sorted({name.split(".")[0] for name in timm.list_models(pretrained=True)})
    near = difflib.get_close_matches(core, known, n=5)
    return f"; near it: {', '.join(near)}" if near else ""
