"""`Objective`: what Keras' `compile()` describes, without a model. Objective = losses + regularization."""

from multiloss.objective._objective import Objective

__all__ = ["Objective"]
