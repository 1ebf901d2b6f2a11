"""Keras 3's optimizers with pyfastlr's update: the same names, arguments, defaults, state and numbers.

Change the import, and nothing else. docs/keras.md has the details.

Examples
--------
>>> import keras
>>> from pyfastlr.interop.keras import Adam
>>> x = keras.Variable([1.0, 2.0])
>>> optimizer = Adam(learning_rate=0.1)
>>> optimizer.apply([keras.ops.convert_to_tensor([1e-3, -1e3])], [x])
>>> x.value.detach().numpy().round(3)
array([0.9, 2.1], dtype=float32)
>>> isinstance(optimizer, keras.optimizers.Adam)
True
"""

from .optimizers import SGD as SGD
from .optimizers import Adadelta as Adadelta
from .optimizers import Adagrad as Adagrad
from .optimizers import Adam as Adam
from .optimizers import Adamax as Adamax
from .optimizers import AdamW as AdamW
from .optimizers import Ftrl as Ftrl
from .optimizers import Lion as Lion
from .optimizers import Nadam as Nadam
from .optimizers import RMSprop as RMSprop
from .schedule import Schedule as Schedule

__all__ = ["SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Nadam", "RMSprop", "Schedule"]
