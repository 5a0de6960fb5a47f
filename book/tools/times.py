"""How long the notebooks run: measured here, and put into words from what was measured."""

import json
import os
import time
from pathlib import Path

from book.tools import ROOT

TIMES = ROOT / "book" / "records" / "notebooks"
SCHEMA = "mixerbook notebook times 1"


def duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 100 else f"{max(seconds, 1):.0f} seconds"


def running_time(stem: str, folder: Path = TIMES) -> str:
    """How long a notebook runs on a CPU and on a T4, from the measured times; else that none is."""
    known: list[str] = []
    missing = []
    for kind, name in (("cpu", "a CPU"), ("t4", "a T4 GPU")):
        count = len(known)
        for suffix, switch in (("", ""), ("-full", " with `FULL = True`")):
            path = folder / f"{kind}{suffix}.json"
            record = json.loads(path.read_text()) if path.is_file() else {"seconds": {}}
            if stem in record["seconds"]:
                stamp = record["provenance"]
                where = f" ({stamp['device_name']}, {stamp['date'][:10]})" if not suffix else ""
                known.append(f"{duration(record['seconds'][stem])} on {name}{where}{switch}")
        missing += [name] if len(known) == count else []
    sentences = [f"It runs in {', '.join(known)}."] if known else []
    sentences += [f"It has not been timed on {' or '.join(missing)} yet."] if missing else []
    return " ".join(sentences)


def time_all(folder: Path, target: Path = TIMES) -> Path:
    """Run every notebook of a folder here and record the seconds that each takes, start to end.

    mixerlib must be importable, so that its installation does not count. The record's name is that
    of the device: cpu, or that of the GPU, with `-full` after it where MIXERBOOK_FULL is 1.
    """
    from dataclasses import asdict

    import nbformat
    import torch
    from nbclient import NotebookClient

    from mixerlib.files import write_atomic
    from mixerlib.records import provenance

    stamp = asdict(provenance("cuda" if torch.cuda.is_available() else "cpu"))
    name = stamp["device_name"].split()[-1].lower() if stamp["device"] == "cuda" else "cpu"
    full = os.environ.get("MIXERBOOK_FULL") == "1"
    seconds = {}
    for path in sorted(folder.glob("*.ipynb")):
        text = nbformat.read(path, as_version=4)
        start = time.monotonic()
        NotebookClient(text, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()
        seconds[path.stem] = round(time.monotonic() - start, 1)
        print(f"{seconds[path.stem]:8.1f} s  {path.stem}", flush=True)
    if not seconds:
        raise ValueError(f"There are no notebooks in {folder}: make notebooks")
    record = {"schema": SCHEMA, "full": full, "seconds": seconds, "provenance": stamp}
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{name}{'-full' if full else ''}.json"
    write_atomic(path, f"{json.dumps(record, indent=1, ensure_ascii=False)}\n".encode())
    return path
