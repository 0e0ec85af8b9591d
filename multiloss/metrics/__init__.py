"""Metrics: functions that return one value per sample, classes that accumulate them, and look-up by name.

    from multiloss import metrics

    metrics.binary_accuracy(y_true, y_pred)                 # one value per sample
    auc = metrics.AUC()                                     # or metrics.get("auc")
    auc.update_state(y_true, y_pred, sample_weight)         # for each batch
    auc.result()                                            # one number for all of them

Every metric is four pure functions, `init`, `update`, `merge` and `compute`, over a state that is a `NamedTuple` of
tensors; the verbs above are a shell around them. Every function and alias of `multiloss.losses` is a metric function too.
"""

from typing import TYPE_CHECKING, Any

from multiloss import losses
from multiloss.losses._spec import spec_of
from multiloss.metrics import (
    _accuracy,
    _auc,
    _confusion,
    _correlation,
    _fscore,
    _iou,
    _losses,
    _means,
    _operating_points,
    _r2,
)
from multiloss.metrics._accuracy import *
from multiloss.metrics._auc import *
from multiloss.metrics._base import Metric
from multiloss.metrics._confusion import *
from multiloss.metrics._correlation import *
from multiloss.metrics._fscore import *
from multiloss.metrics._iou import *
from multiloss.metrics._lookup import deserialize, get, serialize
from multiloss.metrics._losses import *
from multiloss.metrics._means import *
from multiloss.metrics._operating_points import *
from multiloss.metrics._r2 import *

__all__ = ["Metric", "deserialize", "get", "serialize"]
__all__ += _accuracy.__all__
__all__ += _auc.__all__
__all__ += _confusion.__all__
__all__ += _correlation.__all__
__all__ += _fscore.__all__
__all__ += _iou.__all__
__all__ += _losses.__all__
__all__ += _means.__all__
__all__ += _operating_points.__all__
__all__ += _r2.__all__

# A new loss of targets and predictions is a metric function without being named here; its class is not a metric class.
_functions = {
    name: getattr(losses, name)
    for name in losses.__all__
    if name not in __all__ and (spec := spec_of(getattr(losses, name))) is not None and not spec.required
}
globals().update(_functions)
__all__ += _functions

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
