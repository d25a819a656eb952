"""Which of a classifier's parameters learn how fast, and from when on."""

from linnaeus.networks.backbone import layer_depths
from linnaeus.networks.classifier import Classifier, Network
from linnaeus.recipe import Recipe
from linnaeus.recipe_sections import ScratchRecipe
from linnaeus.training.optimization import ParameterPlan


def parameter_plan(classifier: Classifier, network: Network, recipe: Recipe) -> ParameterPlan:
    """The plan for the trained network by the recipe's `backbone_rate`, `layer_decay` and `unfreeze_epochs`.

    Blocks count from the top: the first above the trunk has the backbone's rate and begins first. The head is trained
    from the start at the whole rate.
    """
    training = recipe.training
    is_plain = training.backbone_rate == 1 and training.layer_decay == 1 and training.unfreeze_epochs == 0
    if isinstance(classifier.facts.model, ScratchRecipe) or is_plain:
        return ParameterPlan()
    depths = layer_depths(classifier.body)
    trained = [name for name, parameter in network.body.named_parameters() if parameter.requires_grad]
    blocks = sorted({depths[name] for name in trained}, reverse=True)
    from_top = {depth: number for number, depth in enumerate(blocks)}
    shares, first_epochs = {}, {}
    for name in trained:
        number = from_top[depths[name]]
        shares[f"body.{name}"] = training.backbone_rate * training.layer_decay**number
        if training.unfreeze_epochs:
            first_epochs[f"body.{name}"] = 1 + number * training.unfreeze_epochs // len(blocks)
    return ParameterPlan(shares, first_epochs)
