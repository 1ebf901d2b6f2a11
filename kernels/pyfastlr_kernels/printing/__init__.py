"""Plain Python functions as text of another language.

Rules, folds, curves and the other plain functions of this package are printed from their own source, so that a library
in C has no second text of any formula. `Printer` reads a function's syntax tree, infers the types of all names from the
types of its parameters, and prints the function, after the functions that it calls. A language is a table of names
(`target.Target`). What cannot be printed is refused with file and line (`Unprintable`).

Neither numba nor a compiler is needed.
"""

from .printer import Printed as Printed
from .printer import Printer as Printer
from .sources import Unprintable as Unprintable
from .sources import scaled as scaled
from .target import C as C
from .target import Target as Target
from .types import BOOL as BOOL
from .types import FLOAT32 as FLOAT32
from .types import FLOAT64 as FLOAT64
from .types import INT64 as INT64
from .types import Array as Array
from .types import Callback as Callback
from .types import Native as Native
from .types import Opaque as Opaque
from .types import Record as Record
from .types import Scalar as Scalar
from .types import Struct as Struct
from .types import Tuple as Tuple
