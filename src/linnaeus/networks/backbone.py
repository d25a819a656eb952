"""Pretrained backbones of timm: their features, their preprocessing, and their last layers."""

import inspect
from collections.abc import Iterator
from typing import Any

import timm
import torch
from timm.models import get_notrace_functions, get_notrace_modules
from torch import fx, nn

from linnaeus.errors import RecipeError
from linnaeus.networks.weights import load_pretrained
from linnaeus.recipe_sections import TransferRecipe
from linnaeus.records import Preprocessing

# The deck's (Keras's) names for what timm calls otherwise.
ALIASES = {
    "MobileNetV2": "mobilenetv2_100",
    "ResNet50V2": "resnetv2_50",
    "EfficientNetV2S": "tf_efficientnetv2_s",
}
NOT_COUNTED = (nn.Identity, nn.Dropout, nn.Flatten)
COUNTED_FUNCTIONS = {"add", "iadd", "mul", "layer_norm", "scaled_dot_product_attention"}


def build_backbone(recipe: TransferRecipe, *, pretrained: bool) -> nn.Module:
    """The backbone without its classification layer: (batch, 3, size, size) to (batch, features), pooled.

    Raises RecipeError for a name that timm does not know, and WeightsError where its weights cannot be had.
    """
    name = timm_name(recipe.backbone)
    if pretrained and recipe.weights != "random":
        model = load_pretrained(timm.create_model, name, recipe.weights)
        model.reset_classifier(0)  # type: ignore[operator]  # every timm model has it
    else:
        model = timm.create_model(name, pretrained=False, num_classes=0)
    return model.eval()


def feature_width(backbone: nn.Module) -> int:
    """The length of the backbone's pooled features, which some models widen after `num_features` (MobileNetV3)."""
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def timm_name(backbone: str) -> str:
    """timm's name of a backbone. Raises RecipeError, with the nearest names, where timm has none."""
    name = ALIASES.get(backbone, backbone)
    if name.startswith(("hf-hub:", "local-dir:")):  # timm's own forms for what it has no name for
        return name
    if not timm.is_model(name.split(".")[0]):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:6]
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise RecipeError(f"timm has no backbone {backbone!r}{hint}")
    return name


def backbone_preprocessing(backbone: nn.Module, input_size: int | None) -> Preprocessing:
    """The backbone's own mean, standard deviation and, unless `input_size` is given, side in pixels."""
    config: dict[str, Any] = timm.data.resolve_model_data_config(backbone)
    mean, std = tuple(config["mean"]), tuple(config["std"])
    return Preprocessing(input_size or config["input_size"][-1], mean, std)


class _Tracer(fx.Tracer):
    """Follows a timm model as far as timm says it can be followed."""

    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self.leaves = tuple(get_notrace_modules())

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, self.leaves) or super().is_leaf_module(module, name)


def _traced_nodes(backbone: nn.Module) -> list[fx.Node]:
    """What the backbone computes, step by step, its optional arguments left at their defaults."""
    _, *options = inspect.signature(backbone.forward).parameters.values()
    return list(_Tracer().trace(backbone, {option.name: option.default for option in options}).nodes)


def split_backbone(backbone: nn.Module, last_layers: int) -> tuple[nn.Module | None, nn.Module]:
    """The backbone as (trunk, tail), where the tail holds at least its last `last_layers` layers.

    tail(trunk(images)) computes the same as the backbone, in evaluation mode, with the same parameters. The cut is
    the nearest place above those layers where a single tensor carries everything. The trunk is None where there is
    no such place (or none can be found), and then the tail is the whole backbone.
    """
    try:
        nodes = _traced_nodes(backbone)
    except Exception:  # tracing runs the model's Python code on placeholders, which may raise anything
        return None, backbone
    first = nodes.index(_last_layer_nodes(nodes, backbone, last_layers)[0])
    cuts = [place for place, live in enumerate(_live_values(nodes)) if place <= first and len(live) == 1]
    place = max(cuts, default=0)
    if place <= 1:  # only the input itself
        return None, backbone
    carried = _live_values(nodes)[place][0]
    return _part(backbone, nodes[:place], carried, is_trunk=True), _part(
        backbone, nodes[place:], carried, is_trunk=False
    )


def last_layer_parameters(backbone: nn.Module, last_layers: int) -> Iterator[nn.Parameter]:
    """The parameters of the last `last_layers` layers, in the order in which the backbone computes.

    As in Keras, a layer is a convolution, a normalisation, an activation, a pooling or an addition. Dropout and
    identity are none (Keras counts those that drop whole blocks of EfficientNetV2). timm's joined normalisation and
    activation counts as two. A model that cannot be traced is taken in the order in which its modules are registered.
    """
    try:
        nodes = _traced_nodes(backbone)
    except Exception:
        modules = [module for module in backbone.modules() if not list(module.children())]
        for module in [module for module in modules if not isinstance(module, NOT_COUNTED)][-last_layers:]:
            yield from module.parameters()
        return
    parameters = dict(backbone.named_parameters())
    for node in _last_layer_nodes(nodes, backbone, last_layers):
        if node.op == "call_module":
            yield from backbone.get_submodule(str(node.target)).parameters()
        yield from (parameters[str(used.target)] for used in node.all_input_nodes if str(used.target) in parameters)


def _last_layer_nodes(nodes: list[fx.Node], backbone: nn.Module, last_layers: int) -> list[fx.Node]:
    """The nodes of the last layers and whatever lies between them, in order; the pooling at the end counts none."""
    chosen: list[fx.Node] = []
    left = last_layers
    for node in reversed(nodes):
        if left <= 0:
            break
        chosen.append(node)
        left -= _layers_in(node, backbone)
    return chosen[::-1]


def _layers_in(node: fx.Node, backbone: nn.Module) -> int:
    if node.op == "call_function":
        return int(getattr(node.target, "__name__", "") in COUNTED_FUNCTIONS)
    if node.op != "call_module":
        return 0
    name = str(node.target)
    module = backbone.get_submodule(name)
    if isinstance(module, NOT_COUNTED) or "drop" in name or "global_pool" in name:
        return 0
    activation = getattr(module, "act", None)
    return 2 if isinstance(activation, nn.Module) and not isinstance(activation, nn.Identity) else 1


def _live_values(nodes: list[fx.Node]) -> list[list[fx.Node]]:
    """For each place between nodes, the values computed before it that something after it needs."""
    places = {node: place for place, node in enumerate(nodes)}
    last_use = {node: max((places[user] for user in node.users), default=-1) for node in nodes}
    computed = [node for node in nodes if node.op != "get_attr"]
    return [[node for node in computed if places[node] < place <= last_use[node]] for place in range(len(nodes))]


def _part(backbone: nn.Module, nodes: list[fx.Node], carried: fx.Node, *, is_trunk: bool) -> fx.GraphModule:
    """The nodes as a module of their own that ends in, or starts from, the carried value."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if not is_trunk:
        copies[carried] = graph.placeholder("carried")
    constants = [node for node in carried.graph.nodes if node.op == "get_attr" and node not in nodes]
    for node in [*(() if is_trunk else constants), *nodes]:
        copies[node] = graph.node_copy(node, lambda used: copies[used])
    if is_trunk:
        graph.output(copies[carried])
    part = fx.GraphModule(backbone, graph)
    part.graph.eliminate_dead_code()
    part.recompile()
    part.delete_all_unused_submodules()
    return part


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trainable, non-trainable) parameters; running statistics count as non-trainable, as in Keras."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return trainable, frozen + sum(statistic.numel() for statistic in running_statistics(module))


def running_statistics(module: nn.Module) -> list[torch.Tensor]:
    """The means and variances that normalisation layers keep (not their count of batches)."""
    return [value for name, value in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
