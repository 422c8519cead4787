"""Language models: loading, adapters, text generation."""

import os
import warnings

# Read by OpenMP when torch starts it. Threads that spin long at a barrier while other processes hold the cores made a
# training step 8 times slower here (34 s against 4.4 s beside two busy processes); threads that sleep at once made it
# a fifth slower on idle cores. Some microseconds of spinning cost neither.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# Read by torch at its first large tensor: pages of 2 MB for it. The logits of a step over a large vocabulary are given
# to the process anew each time, and page by page of 4 KB that cost 39 ms for 70 MB here, against 9 ms.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# peft still asks transformers for a name that it will rename; nothing a user could do about it.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
