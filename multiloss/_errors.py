"""The exceptions of multiloss: one tree, each leaf also the builtin that fits.

    MultilossError
    ├── ShapeError          (ValueError)  shapes that cannot be aligned
    ├── LabelError          (ValueError)  a class index outside [0, classes)
    ├── ArgumentError       (ValueError)  an argument outside its domain
    ├── UnknownNameError    (ValueError)  no loss, metric, reduction, ... of that name
    ├── DTypeError          (TypeError)   a dtype that the operation or the framework cannot hold
    ├── MixedBackendsError  (TypeError)   tensors of two frameworks in one call
    ├── UnknownTensorError  (TypeError)   an object that no backend owns
    ├── NamedInputError     (TypeError)   a named input that a loss does not take, or one that it needs and did not get
    ├── BackendNotFoundError (ImportError) a backend that does not exist or is not installed
    └── NotSupportedError   (NotImplementedError) an operation that this backend does not offer

Every message says what arrived, what was expected and what to do. They are raised once, at the public boundary.
"""

from __future__ import annotations

from collections.abc import Iterable


class MultilossError(Exception):
    """Base of every error that multiloss raises on purpose."""


class ShapeError(MultilossError, ValueError):
    """Shapes that cannot be aligned without broadcasting one sample against another."""


class LabelError(MultilossError, ValueError):
    """A class index outside `[0, number of classes)`, or a label of the wrong kind."""


class ArgumentError(MultilossError, ValueError):
    """An argument outside its domain, or one that cannot act in this call."""


class UnknownNameError(MultilossError, ValueError):
    """A name that no registry knows. The message lists near matches."""


class DTypeError(MultilossError, TypeError):
    """A dtype that the operation, or the framework in its present settings, cannot hold."""


class MixedBackendsError(MultilossError, TypeError):
    """Tensors of two frameworks in one call."""


class UnknownTensorError(MultilossError, TypeError):
    """An object that is neither host data nor a tensor of an installed backend."""


class NamedInputError(MultilossError, TypeError):
    """A named input that a loss does not take, or one that it needs and that is missing."""


class BackendNotFoundError(MultilossError, ImportError):
    """A backend that does not exist, or whose framework is not installed."""


class NotSupportedError(MultilossError, NotImplementedError):
    """An operation that a backend cannot offer, such as gradients without automatic differentiation."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Return the error for a name that is not in `known`, with near matches first."""
    import difflib  # only for messages

    names = sorted(known)
    spellings: dict[str, list[str]] = {}
    for each in names:
        spellings.setdefault(each.casefold(), []).append(each)
    near = [each for match in difflib.get_close_matches(str(name).casefold(), spellings) for each in spellings[match]]
    advice = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Expected one of: {', '.join(names)}."
    return UnknownNameError(f"Unknown {kind}: {name!r}. {advice}")
