"""Cross-entropy of hidden states on NumPy: a chunk of rows has its logits, its gradient and its products, then the next.

Matrix products run between the pools of threads, not in them: the library that multiplies has threads of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from multiloss.interface import CrossentropyOptions

from multiloss_numpy._crossentropy import Rows, statistics_dtype

Array = Any
Slopes = tuple[Any, Any, Any]

_CHUNK = 768
"""Rows that have their logits at a time. With fewer, reading the weights once more for each chunk is what takes the time."""

_STRIP = 8000
"""Classes whose gradient is added at a time: NumPy adds no product to an array, and a temporary this small stays in the
cache."""


class Linear:
    """The operands of one cross-entropy of hidden states."""

    def __init__(
        self,
        target: Array,
        hidden: Array,
        weight: Array,
        bias: Array,
        row_weight: Array,
        options: CrossentropyOptions,
        memory_budget: int | None,
    ) -> None:
        classes, columns = weight.shape
        self.lead = hidden.shape[:-1]
        target = target.reshape((-1,) if target.ndim < hidden.ndim else (-1, classes))
        if row_weight is not None and not isinstance(row_weight, (int, float)):
            row_weight = row_weight.reshape(-1)
        self.hidden, self.weight = hidden.reshape(len(target), columns), weight
        self.dtypes = hidden.dtype, weight.dtype, hidden.dtype if bias is None else bias.dtype
        self.dtype = statistics_dtype(np.result_type(*self.dtypes))
        bias = None if bias is None else bias.astype(self.dtype, copy=False)
        self.rows = Rows(target, row_weight, classes, self.dtype, bias=bias, **options)
        held = _CHUNK if memory_budget is None else memory_budget // (classes * self.dtype.itemsize)
        self.held = max(1, min(held, len(target)))

    def values(self) -> Array:
        """Return what each row costs."""
        values = np.zeros(len(self.hidden), self.dtype)
        for chunk, _, z in self._chunks(self.rows):
            of_chunk = np.empty(len(z), self.dtype)
            self.rows.at(chunk).run(z, of_chunk)
            values[chunk] = of_chunk
        return values

    def values_and_slopes(self, rows: Rows, wanted: tuple[bool, ...]) -> tuple[Array, list[Array]]:
        """Return what each row costs, and the gradients of their sum for hidden states, weights and bias, as wanted.

        The gradients are in the dtype that they are computed in.
        """
        (count, columns), classes = self.hidden.shape, len(self.weight)
        values = np.zeros(count, self.dtype)
        of_hidden = np.zeros((count, columns), self.dtype) if wanted[0] else None
        of_weight = of_bias = None
        for chunk, x, z in self._chunks(rows):
            of_chunk = np.empty(len(z), self.dtype)
            rows.at(chunk).run(z, of_chunk, z)
            values[chunk] = of_chunk
            if of_hidden is not None:
                of_hidden[chunk] = self._back(z)
            if wanted[1]:
                of_weight = self._gathered(of_weight, z, x)
            if wanted[2]:
                of_bias = z.sum(0) if of_bias is None else np.add(of_bias, z.sum(0), out=of_bias)
        if wanted[1] and of_weight is None:
            of_weight = np.zeros((classes, columns), self.dtype)
        if wanted[2] and of_bias is None:
            of_bias = np.zeros(classes, self.dtype)
        return values, [of_hidden, of_weight, of_bias]

    def narrow(self, slopes: list[Array]) -> tuple[Array, ...]:
        """Return the gradients in the dtypes of what they are gradients of, shaped like it."""
        of_hidden, of_weight, of_bias = (
            None if each is None else each.astype(dtype, copy=False)
            for each, dtype in zip(slopes, self.dtypes, strict=True)
        )
        if of_hidden is not None:
            of_hidden = of_hidden.reshape((*self.lead, of_hidden.shape[-1]))
        return of_hidden, of_weight, of_bias

    def _chunks(self, rows: Rows) -> Iterator[tuple[Any, Array, Array]]:
        """Yield which rows a chunk has, of those that count, and their hidden states and logits, less the bias.

        Logits are in one array for all chunks.
        """
        live = None
        if rows.row_weight is not None and not (rows.row_weight != 0).all():
            live = np.flatnonzero(rows.row_weight)
        count = len(self.hidden) if live is None else len(live)
        held = min(self.held, count)
        if not count:
            return
        logits = np.empty((held, len(self.weight)), self.dtype)
        for start in range(0, count, held):
            here = slice(start, min(start + held, count))
            chunk = here if live is None else live[here]
            x = self.hidden[chunk].astype(self.dtype, copy=False)
            z = logits[: len(x)]
            for strip in self._strips():
                np.matmul(x, self.weight[strip].astype(self.dtype, copy=False).T, out=z[:, strip])
            yield chunk, x, z

    def _strips(self) -> Iterator[slice]:
        """Yield classes that are multiplied at a time: all, but for weights that have to be converted."""
        classes = len(self.weight)
        step = classes if self.weight.dtype == self.dtype else _STRIP
        return (slice(start, start + step) for start in range(0, classes, step))

    def _back(self, z: Array) -> Array:
        """Return the gradient for the hidden states of a chunk, from that for its logits."""
        parts = (z[:, strip] @ self.weight[strip].astype(self.dtype, copy=False) for strip in self._strips())
        result = next(parts)
        for part in parts:
            result += part
        return result

    def _gathered(self, of_weight: Array, z: Array, x: Array) -> Array:
        """Return the gradient for the weights with a chunk's part added."""
        if of_weight is None:
            return z.T @ x
        part = np.empty((min(_STRIP, len(of_weight)), x.shape[1]), self.dtype)
        for start in range(0, len(of_weight), _STRIP):
            strip = of_weight[start : start + _STRIP]
            strip += np.matmul(z[:, start : start + _STRIP].T, x, out=part[: len(strip)])
        return of_weight
