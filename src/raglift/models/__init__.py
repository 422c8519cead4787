"""Language models: loading, adapters, text generation."""

import os
import warnings

# Read by OpenMP when torch starts it. Threads that spin long at a barrier while other processes hold the cores made a
# training step 8 times slower here (34 s against 4.4 s beside two busy processes); threads that sleep at once made it
# a fifth slower on idle cores. Some microseconds of spinning cost neither.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# peft still asks transformers for a name that it will rename; nothing a user could do about it.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
