"""Random attacks on all that people hand to mixerlib: options, files, images, command lines.

    make fuzz MINUTES=10                      # all of them in turn, until the time is up
    python -m tests.fuzz --minutes 10 images  # one of them
    python -m tests.fuzz images --seed 1234   # one attack again, with its traceback

An attack makes one input from a seed, a hostile one more often than not, and holds the answer
against one rule: it works, or a single line says what is wrong. `test_fuzz.py` runs a few of each
in every `make test`.
"""
