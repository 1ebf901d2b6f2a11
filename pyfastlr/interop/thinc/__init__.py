"""pyfastlr's optimizers for thinc 8.3 and 9, and so for spaCy. docs/thinc.md shows how to use them.

Every optimizer of pyfastlr has a class here, registered as "pyfastlr.Adam.v1" and so on, and every schedule a name such
as "pyfastlr.Cosine.v1". thinc finds an installed pyfastlr by these names without an import.

Examples
--------
>>> import numpy as np
>>> from pyfastlr import schedules as S
>>> from pyfastlr.interop import thinc
>>> opt = thinc.SGD(S.Linear(0.5, 0.0, steps=2), grad_clip=0.0)
>>> w, g = np.ones(3, "f4"), np.full(3, 0.5, "f4")
>>> for _ in range(2):  # batches
...     w, g = opt((0, "W"), w, g)
...     opt.step_schedules()
...     print(w, g)
...     g += 0.5
[0.75 0.75 0.75] [0. 0. 0.]
[0.625 0.625 0.625] [0. 0. 0.]
"""

from typing import TYPE_CHECKING

from thinc.config import registry

from .optimizers import CLASSES
from .optimizers import Optimizer as Optimizer
from .schedules import FACTORIES as FACTORIES

__all__ = ["Optimizer", *CLASSES]

for _name, _made in CLASSES.items():
    registry.optimizers(f"pyfastlr.{_name}.v1", func=_made)
for _name, _make in vars(FACTORIES).items():
    registry.schedules(f"pyfastlr.{_name}.v1", func=_make)

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[Optimizer]: ...
else:
    globals().update(CLASSES)
