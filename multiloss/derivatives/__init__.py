"""First and second derivatives of losses for their predictions, all rows at once.

`grad_and_hessian` is for whoever trains by Newton's method: gradient boosting, iteratively reweighted least squares.
Where a closed form is registered (`_closed_forms`) it is used; everything else is differentiated automatically.
"""

from multiloss.derivatives._transform import grad_and_hessian

__all__ = ["grad_and_hessian"]
