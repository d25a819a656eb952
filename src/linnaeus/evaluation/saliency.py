"""Why a classifier says what it says: heat maps over images, by Grad-CAM and by integrated gradients (captum).

Both work on a copy of the classifier, so that it stays as it was, whatever happens.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from linnaeus.data.dataset import preprocessed
from linnaeus.data.decode import Pixels, resized
from linnaeus.errors import PredictionError
from linnaeus.networks.classifier import Classifier
from linnaeus.networks.concatenated import Concatenated
from linnaeus.networks.head import NearestNeighbours
from linnaeus.scale.device import best_device

Heat = NDArray[np.float32]
Method = Literal["grad-cam", "integrated-gradients"]

BATCH = 16  # images, or steps between the baseline and one image, that are in memory at a time
MID_GREY = 0.5
SMOOTHING = 1 / 56  # the standard deviation of the blur, as a share of the side
READABLE_PERCENTILE = 99
# Of heat: below the first the picture shows as it is, at the second the colour is as opaque as it becomes.
CLEAR, OPAQUE = 0.15, 0.6
MOST_OPAQUE = 0.6
COLOURS = (colormaps["inferno"](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.float32)


class ClassLikeness(nn.Module):
    """For each class the logarithm of the votes that its own nearest images cast, (batch, classes), where
    NearestNeighbours gives those of the nearest images of all classes.

    There every vote is relative to the nearest image's, so that the votes of neighbours who all agree do not depend on
    how near they are, and have no gradient that says why. Here each vote is exp(cosine / temperature) itself.
    """

    def __init__(self, head: NearestNeighbours) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The likeness of a batch to each class."""
        cosines = functional.normalize(features) @ self.head.references.T
        of_class = [cosines[:, self.head.labels == label] for label in range(self.head.classes)]
        voting = [own.topk(min(int(self.head.count), own.shape[1]), dim=1).values for own in of_class]
        return torch.stack([(own / self.head.temperature).logsumexp(dim=1) for own in voting], dim=1)


def grad_cam(classifier: Classifier, inputs: torch.Tensor, targets: Sequence[int]) -> Heat:
    """Where each image speaks for its target class, (images, side, side) from 0 to 1, the highest place at 1; all 0
    where nothing does.

    Taken from the last layer whose output is laid out as a picture, and enlarged to the image's size. Of joined
    backbones each has such a layer, and what they say is added up in logits an area. What a class is to nearest
    neighbours, ClassLikeness says.

    inputs: preprocessed images (images, 3, side, side). Raises PredictionError where a backbone ends in tokens, as
    vision transformers do. Source: Selvaraju et al. 2017, section 3.
    """
    from captum.attr import LayerGradCam  # type: ignore[import-untyped]  # here, since it takes seconds to import

    heat = np.zeros((len(inputs), *inputs.shape[2:]), np.float32)
    with torch.inference_mode(False), torch.enable_grad():
        explained = _explained(classifier)
        images, labels = _ready(inputs, targets)
        methods = [LayerGradCam(explained, layer) for layer in _picture_layers(explained.body, images[:1])]
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            maps = [_enlarged(method.attribute(images[part], labels[part]), inputs.shape[-1]) for method in methods]
            heat[part] = torch.stack(maps).sum(dim=0).relu().detach().cpu().numpy()
    return _scaled(heat, 100)


def integrated_gradients(
    classifier: Classifier, inputs: torch.Tensor, targets: Sequence[int], *, steps: int = 32
) -> Heat:  # fmt: skip
    """How much each place of each image matters to its target class, for or against it: (images, side, side) from 0 to
    1, for any classifier.

    The sizes of the attributions, added up over the colours, blurred a little, and scaled so that READABLE_PERCENTILE
    of the places lie below 1; single pixels that stand out would otherwise leave the rest dark.
    inputs, steps: as for `attributions`.
    """
    sizes = np.abs(attributions(classifier, inputs, targets, steps=steps)).sum(axis=1)
    deviation = SMOOTHING * sizes.shape[-1]
    blurred = [cv2.GaussianBlur(size, (0, 0), deviation, borderType=cv2.BORDER_REFLECT) for size in sizes]
    return _scaled(np.stack(blurred), READABLE_PERCENTILE)


def attributions(
    classifier: Classifier, inputs: torch.Tensor, targets: Sequence[int], *, steps: int = 32
) -> NDArray[np.float32]:
    """What each value of each image adds to the logit of its target class, (images, 3, side, side), in logits.

    Those of an image add up to its logit less that of the baseline, the better the more `steps` there are between the
    two: a pretrained backbone needs more than a hundred for that, though the map hardly changes after 32. The baseline
    is mid-grey: black, as in the paper, would say of black pixels that they never matter (Sturmfels et al. 2020). What
    a class is to nearest neighbours, ClassLikeness says.

    inputs: preprocessed images (images, 3, side, side). Source: Sundararajan et al. 2017.
    """
    from captum.attr import IntegratedGradients

    preprocessing = classifier.facts.preprocessing
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    with torch.inference_mode(False), torch.enable_grad():
        method = IntegratedGradients(_explained(classifier))
        images, labels = _ready(inputs, targets)
        baseline = ((MID_GREY - mean) / std).to(images.device).expand_as(images[:1])
        found = [
            method.attribute(image[None], baseline, label[None], n_steps=steps, internal_batch_size=BATCH)
            for image, label in zip(images, labels, strict=True)
        ]
        values: NDArray[np.float32] = torch.cat(found).detach().cpu().numpy()
    return values


def overlay(pixels: Pixels, heat: Heat) -> Pixels:
    """The picture (height, width, 3) under its heat (height, width) from 0 to 1: dark purple to yellow ("inferno",
    which stays in order for the colour-blind), the hotter the more opaque; as it is where heat is low."""
    colours = COLOURS[(heat * 255).round().astype(np.uint8)]
    share = np.clip((heat - CLEAR) / (OPAQUE - CLEAR), 0, 1)[..., None] * MOST_OPAQUE
    mixed: Pixels = (pixels * (1 - share) + colours * share).round().astype(np.uint8)
    return mixed


def explain(
    classifier: Classifier, pictures: Sequence[Pixels], targets: Sequence[int], method: Method = "grad-cam"
) -> list[Pixels]:
    """Each picture, (height, width, 3) of any size, under the heat for its target class. Raises PredictionError."""
    side = classifier.facts.preprocessing.size
    images = np.stack([resized(picture, side, side) for picture in pictures])
    inputs = preprocessed(images, classifier.facts.preprocessing)
    heats = (grad_cam if method == "grad-cam" else integrated_gradients)(classifier, inputs, targets)
    return [
        overlay(picture, cv2.resize(heat, picture.shape[1::-1])) for picture, heat in zip(pictures, heats, strict=True)
    ]


def _explained(classifier: Classifier) -> Classifier:
    """A copy to take gradients through, on the best device, whose logits can be explained."""
    copy = deepcopy(classifier).requires_grad_(False).eval()
    if isinstance(copy.head, NearestNeighbours):
        copy.head = ClassLikeness(copy.head)
    return copy.to(best_device())


def _ready(inputs: torch.Tensor, targets: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels on the best device; copies, since a tensor of inference mode cannot be differentiated by."""
    return inputs.clone().float().to(best_device()), torch.tensor(targets, device=best_device())


def _picture_layers(body: nn.Module, image: torch.Tensor) -> list[nn.Module]:
    """Of each backbone the last layer to run whose output is laid out as a picture. Raises PredictionError."""
    branches = [*body.members] if isinstance(body, Concatenated) else [body]
    return [_last_picture_layer(branch, image) for branch in branches]


def _last_picture_layer(branch: nn.Module, image: torch.Tensor) -> nn.Module:
    """The last layer to run on one image with several places in its output, which must be channels first."""
    ran: list[tuple[nn.Module, torch.Size]] = []

    def note(layer: nn.Module, _: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and (_is_picture(output.shape) or _is_other_layout(output.shape)):
            ran.append((layer, output.shape))

    hooks = [layer.register_forward_hook(note) for layer in branch.modules()]
    with torch.no_grad():
        branch(image)
    for hook in hooks:
        hook.remove()
    if not ran or not _is_picture(ran[-1][1]):
        ends = f"this one ends in {tuple(ran[-1][1][1:])}" if ran else "this one has none"
        raise PredictionError(
            f"Grad-CAM needs a last layer of (channels, height, width), and {ends}; "
            "use integrated-gradients, which explains any classifier"
        )
    return ran[-1][0]


def _is_picture(shape: torch.Size) -> bool:
    """Whether an output for one square image is (1, channels, side, side)."""
    return len(shape) == 4 and shape[0] == 1 and shape[2] == shape[3] > 1


def _is_other_layout(shape: torch.Size) -> bool:
    """Whether it is (1, tokens, channels), or (1, side, side, channels) as in Swin."""
    return shape[0] == 1 and shape[1] > 1 and (len(shape) == 3 or (len(shape) == 4 and shape[1] == shape[2]))


def _enlarged(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Maps (images, 1, height, width) as (images, side, side), each place's share of the logit spread over its area."""
    places = maps.shape[2] * maps.shape[3]
    return functional.interpolate(maps * places, (side, side), mode="bicubic", align_corners=False)[:, 0]


def _scaled(heat: Heat, percentile: float) -> Heat:
    """Heat (images, height, width) from 0 to 1, where a percentile of each image's own becomes 1, or its maximum if
    that percentile is 0."""
    places = heat.reshape(len(heat), -1)
    highest = places.max(axis=1, initial=0)
    top = np.percentile(places, percentile, axis=1)
    top = np.where(top > 0, top, np.where(highest > 0, highest, 1))
    scaled: Heat = np.clip(heat / top[:, None, None], 0, 1).astype(np.float32)
    return scaled
