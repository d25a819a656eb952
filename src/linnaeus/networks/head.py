"""What ends a classifier: dense layers, or the nearest neighbours among the training images."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


def build_head(inputs: int, dense_widths: Sequence[int], dropouts: Sequence[float], classes: int) -> nn.Sequential:
    """Dense layers with ReLU (and dropout where it is above 0), then one of `classes` logits.

    Takes (batch, inputs), gives (batch, classes). Weights start as in Keras, Glorot uniform and zero biases.
    """
    layers: list[nn.Module] = []
    for position, width in enumerate(dense_widths):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropouts and dropouts[position] > 0:
            layers.append(nn.Dropout(dropouts[position]))
        inputs = width
    layers.append(nn.Linear(inputs, classes))
    head = nn.Sequential(*layers)
    head.apply(start_as_keras)
    return head


def start_as_keras(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases for a convolution or a dense layer. Source: Glorot and Bengio 2010."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class NearestNeighbours(nn.Module):
    """Votes of the `count` training images whose features are most alike, weighted by exp(cosine / 0.07).

    Takes (batch, inputs), gives (batch, classes): the logarithms of the votes, so that their softmax is the votes'
    shares. Source: the weighted nearest neighbours of Wu et al. 2018, section 3.4.
    """

    temperature = 0.07
    least_vote = 1e-6  # of the nearest image's, for classes without any
    references: torch.Tensor
    labels: torch.Tensor
    count: torch.Tensor

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.register_buffer("references", torch.zeros(0, inputs))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("count", torch.tensor(1))

    def make_room(self, images: int) -> None:
        """Make place for the features of so many images, which are then loaded or set."""
        self.references = self.references.new_zeros(images, self.references.shape[1])
        self.labels = self.labels.new_zeros(images)

    def remember(self, features: torch.Tensor, labels: torch.Tensor, count: int) -> None:
        """Take these (images, inputs) features and their labels for references, of which `count` vote."""
        self.references = functional.normalize(features)
        self.labels = labels
        self.count = torch.tensor(count)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The logarithms of the votes."""
        return self.log_votes(functional.normalize(inputs) @ self.references.T)

    def log_votes(self, cosines: torch.Tensor) -> torch.Tensor:
        """The logarithms of the votes (batch, classes), by the cosines (batch, references)."""
        nearest, places = cosines.topk(min(int(self.count), len(self.labels)), dim=1)
        weights = ((nearest - nearest[:, :1]) / self.temperature).exp()
        votes = cosines.new_full((cosines.shape[0], self.classes), self.least_vote)
        return votes.scatter_add(1, self.labels[places], weights).log()
