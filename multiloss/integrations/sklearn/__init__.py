"""multiloss and scikit-learn.

    from multiloss.integrations.sklearn import as_scorer

    cross_val_score(model, X, y, scoring=as_scorer("huber"))                    # any loss or metric of multiloss
    GridSearchCV(model, grid, scoring=as_scorer(losses.SparseCategoricalCrossentropy()))

    from multiloss.integrations.sklearn import f1_score, roc_auc_score          # instead of sklearn.metrics

The functions have the names, arguments and values of `sklearn.metrics`, and take a fraction of the time, most of all on
small samples. They need no scikit-learn. Host data (NumPy arrays, lists, pandas) is computed by NumPy in float64, whatever the
active backend is; tensors of a framework on their own device, in their own precision. Numbers come back as Python's, and
several as a NumPy array.

Where they differ from scikit-learn on purpose: what it warns of and then computes all the same is an error here, if the
input is at fault (rows of probabilities that do not sum to 1, a `pos_label` that cannot act); a value that is not defined
(nothing predicted, one class only) warns and is what it is there.
"""

from multiloss.integrations.sklearn import _classification, _probabilities, _rankings, _regression, _scorer
from multiloss.integrations.sklearn._classification import *
from multiloss.integrations.sklearn._probabilities import *
from multiloss.integrations.sklearn._rankings import *
from multiloss.integrations.sklearn._regression import *
from multiloss.integrations.sklearn._scorer import *

__all__: list[str] = []
__all__ += _classification.__all__
__all__ += _probabilities.__all__
__all__ += _rankings.__all__
__all__ += _regression.__all__
__all__ += _scorer.__all__
