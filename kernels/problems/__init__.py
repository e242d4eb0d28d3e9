"""One problem per launcher: random inputs, how it is called, and the right answer from torch.

`python -m samedge.bench.kernels` solves them before it times anything, and the tests solve them in
Triton's interpreter and on a GPU.
"""

from samedge.kernels.problems.problem import Case, Draw, Problem, error

__all__ = ["Case", "Draw", "Problem", "error"]
