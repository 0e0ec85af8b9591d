"""`Backend`: the definition of K, declared once.

A backend adapts one framework. It implements the abstract methods (the *primitives*) and inherits every other
method (the *derived* operations) from formulas written here in terms of the primitives; it may override a derived
operation where the framework has something faster, and the conformance suite then compares the override with the
formula here. Instantiating a subclass is the completeness check.

Conventions, for every operation:

* tensors go in and come out as the framework's own type, on the device they were on;
* tensor parameters are positional-only, so that a backend can bind a native function in one line;
* `axis` and `keepdims` mean what they mean in NumPy; dtypes are names (`"float32"`);
* what Python operators already say (`+ - * / ** @`, comparisons, `&`, `|`, `~`, `.shape`, `.ndim`) is not repeated here;
  neither is indexing with numbers and slices, within bounds and with all axes or `...` written out;
* Python numbers may stand for tensors in binary operations and never change a tensor's dtype;
* nothing is changed in place;
* the derivative at a kink is the mean of the one-sided derivatives where they are finite (`abs` at 0: 0, `maximum`
  at a tie: 1/2 each), and 0 where one is infinite (`sqrt` at 0). No operation makes a nan gradient from finite input.
"""

from __future__ import annotations

from multiloss.interface._backend import Backend, HostCopies, first_rows
from multiloss.interface._crossentropy import HALVES, CrossentropyOptions, Options, split_options
from multiloss.interface._derived import EPSILON, TINY

__all__ = [
    "EPSILON",
    "HALVES",
    "TINY",
    "Backend",
    "CrossentropyOptions",
    "HostCopies",
    "Options",
    "first_rows",
    "split_options",
]
