"""What all models share: a head that can be read, replaced or left out. The names are timm's."""

from torch import nn

from mixerlib import checks


def new_head(num_features: int, num_classes: int) -> nn.Module:
    """A linear layer, features (B, h) → logits (B, `num_classes`); the identity for no classes."""
    return nn.Linear(num_features, num_classes) if num_classes else nn.Identity()


class Classifier(nn.Module):
    """A model with `head`, the last of its modules, and the two numbers that this is made from."""

    num_features: int  # h: how many features of an image the head is given
    num_classes: int  # 0: there is no head, and the model gives the features
    head: nn.Module

    def get_classifier(self) -> nn.Module:
        """The head: `nn.Linear`, or `nn.Identity` where there are no classes."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Put a fresh head in place of the old one, for other classes; with 0, leave it out.

        The new one has the dtype, the device and the mode of the model. Raises `ValueError` for
        anything else than a whole number of at least 0.
        """
        self.num_classes = checks.count("num_classes", num_classes)
        weight = next(self.parameters())  # the stem's
        head = new_head(self.num_features, self.num_classes)
        self.head = head.to(weight.device, weight.dtype).train(self.training)
