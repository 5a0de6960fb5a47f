"""Commands one after the other, in the processes that torchrun has started: so that they share the
seconds that importing torch takes.

torchrun --nproc_per_node 2 tests/in_two_processes.py commands.json

The file holds a list of commands as words, and a free port for each: where the processes meet.
"""

import json
import os
import sys
from pathlib import Path

from mixerlib.cli import main

if __name__ == "__main__":
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"  # of torchrun's own there is one
    for port, words in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        os.environ["MASTER_PORT"] = str(port)
        if status := main(words):
            sys.exit(status)
