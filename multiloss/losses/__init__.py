"""Losses: functions that return one value per sample, classes that reduce them, and look-up by name.

    from multiloss import losses

    losses.mean_squared_error(y_true, y_pred)                     # one value per sample
    losses.MeanSquaredError()(y_true, y_pred, sample_weight)      # one number
    losses.get("mse")                                             # by any of its names
    0.5 * losses.Dice() + losses.BinaryFocalCrossentropy()        # a loss made of losses

Every name that Keras 2, tf.keras or Keras 3 accepts for these losses is an attribute here and works in `get`.
"""

from multiloss.losses import (
    _crossentropy,
    _focal,
    _hinge,
    _linear,
    _metric_learning,
    _regression,
    _segmentation,
    _sequence,
    _similarity,
)
from multiloss.losses._base import Loss, LossFunctionWrapper
from multiloss.losses._composition import Sum
from multiloss.losses._crossentropy import *
from multiloss.losses._focal import *
from multiloss.losses._hinge import *
from multiloss.losses._inputs import Shared as Shared
from multiloss.losses._linear import *
from multiloss.losses._lookup import deserialize, get, serialize
from multiloss.losses._metric_learning import *
from multiloss.losses._regression import *
from multiloss.losses._segmentation import *
from multiloss.losses._sequence import *
from multiloss.losses._similarity import *

__all__ = ["Loss", "LossFunctionWrapper", "Sum", "deserialize", "get", "serialize"]
__all__ += _crossentropy.__all__
__all__ += _focal.__all__
__all__ += _hinge.__all__
__all__ += _linear.__all__
__all__ += _metric_learning.__all__
__all__ += _regression.__all__
__all__ += _segmentation.__all__
__all__ += _sequence.__all__
__all__ += _similarity.__all__
