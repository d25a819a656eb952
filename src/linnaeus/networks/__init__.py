"""CNNs from scratch, pretrained backbones, heads, and the classifier that they make."""
