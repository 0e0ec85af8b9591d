"""A loss inside Hugging Face's `Trainer`, with gradient accumulation done right.

    from multiloss.integrations.huggingface import as_compute_loss_func

    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-100)
    trainer = Trainer(model, args, train_dataset=data, compute_loss_func=as_compute_loss_func(loss))

The trainer accumulates gradients over several batches before each step, and hands every one of them the number of labels in
all of them (`num_items_in_batch`; -100 does not count). Each batch then gives its mean, times its share of these labels: their
sum is the mean over all labels, however unequal the batches are, where the mean of the means is not. That is exact for losses
that are a mean over the labels that count, as those with `ignore_class=-100` are; a ratio of sums, such as the Dice loss, is
averaged over the batches with these shares.

Named inputs of the loss, such as a teacher's logits or a variance, are taken from the outputs of the model by their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multiloss._errors import ArgumentError
from multiloss._typing import Tensor
from multiloss.dispatch import K
from multiloss.integrations.torch import LossModule, as_module

__all__ = ["ComputeLoss", "as_compute_loss_func"]

IGNORED = -100
"""The label that the trainer does not count."""


class ComputeLoss:
    """A loss as `Trainer(compute_loss_func=)` expects one: what `as_compute_loss_func` returns.

    Args:
        module: the loss as a module.
        output: which of the model's outputs the predictions are.
        shift: whether label `t + 1` belongs to prediction `t`, as in causal language models.
    """

    def __init__(self, module: LossModule, output: str = "logits", shift: bool = False) -> None:
        self.module = module
        self.output = output
        self.shift = shift

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Tensor:
        """Return the loss of a batch: its part of the mean over `num_items_in_batch` labels, or its own mean without it.

        With reduction "sum" it is the sum either way.

        Raises:
            ArgumentError: if there are no labels, or the model does not return the predictions.
            NamedInputError: if the loss needs an input that the model does not return.
        """
        if labels is None:
            raise ArgumentError(
                "The trainer passed no labels. Expected a column 'labels' in the data set, and a model whose forward() names "
                "it: the trainer drops other columns, unless remove_unused_columns=False."
            )
        predictions, inputs = self._taken(outputs)
        if self.shift:
            predictions, labels = predictions[..., :-1, :], labels[..., 1:]
        value = self.module(predictions, labels, **inputs)
        if num_items_in_batch is None or self.module.loss.reduction == "sum":
            return value
        items = K.reshape(K.asarray(num_items_in_batch, like=value), (-1,))[0]  # one, the same, for each device
        counted = K.cast(K.sum(labels != IGNORED), K.dtype(value))
        return value * K.divide_no_nan(counted, K.cast(items, K.dtype(value)))

    def _taken(self, outputs: Any) -> tuple[Tensor, dict[str, Any]]:
        """Return the predictions and the named inputs."""
        if not isinstance(outputs, Mapping):
            return outputs[0] if isinstance(outputs, (tuple, list)) else outputs, {}
        if outputs.get(self.output) is None:
            raise ArgumentError(
                f"The model returns no {self.output!r}; it returns: {', '.join(outputs)}. Name the predictions: "
                "as_compute_loss_func(loss, output=...)."
            )
        named = {name: outputs[name] for name in self.module.named_inputs if outputs.get(name) is not None}
        return outputs[self.output], named

    def __repr__(self) -> str:
        return f"ComputeLoss({self.module.loss!r}, output={self.output!r}, shift={self.shift})"


def as_compute_loss_func(loss: Any, *, output: str = "logits", shift: bool = False) -> ComputeLoss:
    """Return a loss of multiloss for `Trainer(compute_loss_func=)`.

    Args:
        loss: an instance, class or function of a loss, a name or a config; or a module of `as_module`, which a model holds
            that learns the weights of a `Sum`: the trainer optimizes the parameters of the model.
        output: which of the model's outputs the predictions are.
        shift: whether label `t + 1` belongs to prediction `t`, as in causal language models. Class indices are then
            (N, T) and logits (N, T, C).

    Raises:
        UnknownNameError: for a name that is not known.
        ArgumentError: for something that is no loss, or one whose reduction is "none".

    >>> import torch
    >>> compute = as_compute_loss_func("mse")
    >>> outputs, labels = {"logits": torch.tensor([1.0, 3.0])}, torch.tensor([0.0, 0.0])
    >>> compute(outputs, labels).item(), compute(outputs, labels, num_items_in_batch=10).item()
    (5.0, 1.0)
    """
    module = as_module(loss)
    if module.loss.reduction == "none":
        raise ArgumentError(
            f"{module.loss!r} has reduction='none', and the trainer minimizes one number. Choose another."
        )
    return ComputeLoss(module, output, shift)
