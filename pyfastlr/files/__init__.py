"""Files of named arrays in safetensors' layout, with checksums, and replaced as a whole. It knows no optimizers.

Why not safetensors' own writer: from Python it can neither write live arrays piece by piece (it needs a second copy of
all of them), nor add checksums, nor replace a file so that a crash leaves the old or the new one. Its reader accepts
duplicate names, and a flipped bit in a tensor goes unnoticed. The layout is short, and with it every program that reads
safetensors reads our files.
"""

from .errors import BadFile as BadFile
from .reading import Reader as Reader
from .replacing import remove_leftovers as remove_leftovers
from .writing import write as write
