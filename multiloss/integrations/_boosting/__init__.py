"""What the adapters to libraries of gradient boosting share: a loss as a function of raw scores.

Trees add up to raw scores, real numbers without bounds; an inverse link makes of them what a loss predicts: probabilities,
counts. `_link` has the links, `_raw` the loss of raw scores with its derivatives, `_constant` the score to start from.
"""

from multiloss.integrations._boosting._constant import best_constant
from multiloss.integrations._boosting._link import LINKS, Link
from multiloss.integrations._boosting._metric import RawMetric
from multiloss.integrations._boosting._raw import RawLoss, column, to_host, weights_or_none

__all__ = ["LINKS", "Link", "RawLoss", "RawMetric", "best_constant", "column", "to_host", "weights_or_none"]
