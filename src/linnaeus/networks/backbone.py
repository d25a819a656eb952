"""Pretrained backbones of timm: their features, their preprocessing, and their last layers."""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from copy import deepcopy
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import timm
import torch
from timm.models import get_notrace_functions, get_notrace_modules, group_parameters
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

    Raises RecipeError for a name that timm does not know and an input size that the backbone cannot take, and
    WeightsError where its weights cannot be had.
    """
    name = timm_name(recipe.backbone)
    if pretrained and recipe.weights != "random":
        model = load_pretrained(timm.create_model, name, recipe.weights)
        model.reset_classifier(0)  # type: ignore[operator]  # every timm model has it
    else:
        model = timm.create_model(name, pretrained=False, num_classes=0)
    return _taking(model.eval(), recipe.input_size)


def _taking(backbone: nn.Module, size: int | None) -> nn.Module:
    """The backbone for images of another size than its own: transformers have their embeddings of places resampled."""
    own = backbone_preprocessing(backbone, None).size
    if size is None or size == own:
        return backbone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about how timm resamples relative positions
            if hasattr(backbone, "set_input_size"):
                backbone.set_input_size(img_size=(size, size))  # type: ignore[operator]
        with torch.inference_mode():
            backbone(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # each model has its own ways to refuse
        reason = str(error).rstrip(".") or type(error).__name__
        raise RecipeError(
            f"this backbone cannot take images of {size} pixels; its own are of {own} ({reason}). "
            "Leave out input_size, or choose another"
        ) from None
    return backbone


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
    if "." in name and not timm.is_model_pretrained(name):
        tagged = timm.list_models(name.split(".")[0], pretrained=True)
        raise RecipeError(f"timm has no weights {backbone!r}; there are {', '.join(tagged) or 'none'}")
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


def _traced(backbone: nn.Module) -> tuple[list[fx.Node], nn.Module]:
    """What the backbone computes, step by step, its optional arguments left at their defaults; and the copy of it that
    was followed, which has the constants that the steps use.

    The copy shares the tensors, but not what the model's Python code remembers of its last input (as LeViT's does).
    """
    tensors = {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())}
    followed = deepcopy(backbone, tensors)  # the memo: what is not copied but shared
    _, *options = inspect.signature(backbone.forward).parameters.values()
    return list(_Tracer().trace(followed, {option.name: option.default for option in options}).nodes), followed


def split_backbone(backbone: nn.Module, last_layers: int) -> tuple[nn.Module | None, nn.Module]:
    """The backbone as (trunk, tail), where the tail holds at least its last `last_layers` layers.

    tail(trunk(images)) computes the same as the backbone, in evaluation mode, with the same parameters. The cut is
    the nearest place above those layers where a single tensor carries everything. The trunk is None where there is
    no such place (or none can be found), and then the tail is the whole backbone.
    """
    try:
        nodes, followed = _traced(backbone)
    except Exception:  # tracing runs the model's Python code on placeholders, which may raise anything
        return None, backbone
    first = nodes.index(_last_layer_nodes(nodes, backbone, last_layers)[0])
    cuts = [place for place, live in enumerate(_live_values(nodes)) if place <= first and len(live) == 1]
    place = max(cuts, default=0)
    if place <= 1:  # only the input itself
        return None, backbone
    carried = _live_values(nodes)[place][0]
    roots = (backbone, followed)
    return _part(roots, nodes[:place], carried, is_trunk=True), _part(roots, nodes[place:], carried, is_trunk=False)


def last_layer_parameters(backbone: nn.Module, last_layers: int) -> Iterator[nn.Parameter]:
    """The parameters of the last `last_layers` layers, in the order in which the backbone computes.

    As in Keras, a layer is a convolution, a normalisation, an activation, a pooling or an addition. Dropout and
    identity are none (Keras counts those that drop whole blocks of EfficientNetV2). timm's joined normalisation and
    activation counts as two. A model that cannot be traced is taken in the order in which its modules are registered.
    """
    try:
        nodes, _ = _traced(backbone)
    except Exception:
        for module in _layers_as_registered(backbone)[-last_layers:]:
            yield from module.parameters()
        return
    parameters = dict(backbone.named_parameters())
    for node in _last_layer_nodes(nodes, backbone, last_layers):
        yield from _parameters_of(node, backbone, parameters)


def last_blocks(backbone: nn.Module, blocks: int) -> int:
    """How many of its last layers, as `last_layer_parameters` counts, are its last `blocks` blocks and all after them.

    A block is what timm takes for one: an inverted residual, residual or transformer block; a stage where it looks no
    closer. Of more blocks than there are, everything. Raises RecipeError where timm does not tell the blocks.
    """
    depths, head = _depths(backbone)
    levels = sorted({depth for depth in depths.values() if 0 < depth < head})
    lowest = levels[-blocks] if blocks <= len(levels) else 0
    parameters = dict(backbone.named_parameters())
    trained = {id(parameter) for name, parameter in parameters.items() if depths[name] >= lowest}
    try:
        nodes, _ = _traced(backbone)
    except Exception:
        layers = [[*module.parameters()] for module in _layers_as_registered(backbone)]
        counts = [1] * len(layers)
    else:
        layers = [[*_parameters_of(node, backbone, parameters)] for node in nodes]
        counts = [_layers_in(node, backbone) for node in nodes]
    first = next(place for place, used in enumerate(layers) if trained & {id(parameter) for parameter in used})
    return sum(counts[first:]) + (counts[first] == 0)


def layer_depths(backbone: nn.Module) -> dict[str, int]:
    """The depth of every parameter by its name: 0 in the stem, one more with each block, the most after the last one.

    Raises RecipeError for a backbone whose blocks timm does not tell.
    """
    return _depths(backbone)[0]


def _depths(backbone: nn.Module) -> tuple[dict[str, int], int]:
    """The depths, and that of what comes after the last block in a group of its own (which there need not be)."""
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        raise RecipeError(
            f"timm does not tell the blocks of {type(backbone).__name__}; give unfrozen_last_layers instead"
        )
    unmatched = ""  # a name that belongs to no block
    named = SimpleNamespace(named_parameters=lambda: [*backbone.named_parameters(), (unmatched, None)])
    depths: dict[str, int] = group_parameters(named, matcher(coarse=False), reverse=True)
    return depths, depths.pop(unmatched)


def _layers_as_registered(backbone: nn.Module) -> list[nn.Module]:
    leaves = [module for module in backbone.modules() if not list(module.children())]
    return [module for module in leaves if not isinstance(module, NOT_COUNTED)]


def _parameters_of(
    node: fx.Node, backbone: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> Iterator[nn.Parameter]:  # fmt: skip
    """The parameters that a step uses: those of its module, and those that it is handed."""
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


def _part(
    roots: tuple[nn.Module, nn.Module], nodes: list[fx.Node], carried: fx.Node, *, is_trunk: bool
) -> fx.GraphModule:  # fmt: skip
    """The nodes as a module of their own that ends in, or starts from, the carried value; it has the very layers and
    tensors of the first root, and constants of the second."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if not is_trunk:
        copies[carried] = graph.placeholder("carried")
    attributes = [node for node in carried.graph.nodes if node.op == "get_attr" and node.users.keys() & {*nodes}]
    steps = [node for node in nodes if node.op != "get_attr"]
    for node in [*attributes, *steps]:
        copies[node] = graph.node_copy(node, lambda used: copies[used])
    if is_trunk:
        graph.output(copies[carried])
    backbone, followed = roots
    targets = {str(node.target) for node in (*attributes, *steps) if node.op in {"call_module", "get_attr"}}
    own = {target: attrgetter(target)(followed if _is_constant(target, backbone) else backbone) for target in targets}
    part = fx.GraphModule(own, graph)
    part.graph.eliminate_dead_code()
    part.recompile()
    part.delete_all_unused_submodules()
    return part


def _is_constant(target: str, backbone: nn.Module) -> bool:
    return "." not in target and not hasattr(backbone, target)


def count_parameters(module: nn.Module) -> tuple[int, int]:
    """(trainable, non-trainable) parameters; running statistics count as non-trainable, as in Keras."""
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in module.parameters() if not p.requires_grad)
    return trainable, frozen + sum(statistic.numel() for statistic in running_statistics(module))


def running_statistics(module: nn.Module) -> list[torch.Tensor]:
    """The means and variances that normalisation layers keep (not their count of batches)."""
    return [value for name, value in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
