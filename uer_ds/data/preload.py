"""What every worker of a build needs, loaded once by the server that they are forked from.

Importing this module does it: numpy, the readers, and for the WordPiece tokenizer its compiled code and its table of
characters, which take most of a second. A tokenizer that needs none of it (sentencepiece) costs the 100 MB that the
server holds and its workers share. A machine without numba goes without.
"""

from __future__ import annotations

import uer_ds.data.shard_writer  # noqa: F401
from uer_ds.errors import UserError

try:
    from uer_ds.tokenizers.characters import character_table

    character_table(lower_case=True)
except UserError:
    pass
