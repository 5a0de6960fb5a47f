"""timm's own train.py and validate.py with a model of ours, and mixerlib's evaluation beside them.

    python tests/made_up_imagenet.py FOLDER
    python -m book.tools.timm_scripts SCRIPTS FOLDER/imagenet --from WORDS

runs the three commands of the row `timm-scripts` of `book/commands.yaml`, made small by the flags
of its `small`, and keeps what they print in `book/records/timm`. SCRIPTS is a folder with timm's
two scripts, which its package does not hold; WORDS say where they are from. The images lie in
folders of classes in `train` and in `val`. Needs the extra `timm`.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from book.assets.timm_run import FILE, PRINTED, TimmRun
from book.tools import ROOT
from book.tools.quiet import require_committed
from mixerlib.files import read_yaml, write_atomic
from mixerlib.records import provenance, write_record

RECORDS = ROOT / "book" / "records" / "timm"
ROW = "timm-scripts"
RECIPE = "small.yaml"  # the recipe of the evaluation, with the small model
LOSS = re.compile(r"Loss: +\S+ \( *([\d.]+)\)")  # of a batch, and in brackets of all until then


def plan() -> tuple[list[list[str]], dict[str, Any]]:
    """The row's three commands as words, small, and the recipe of the last, with the small model.

    They are train.py, validate.py and `mixerlib evaluate`.
    """
    content = read_yaml(ROOT / "book" / "commands.yaml")
    lines = map(shlex.split, content["rows"][ROW]["ours"].splitlines())
    small = {name: shlex.split(flags) for name, flags in content["small"].items()}
    train, validate, evaluate = lines
    place = evaluate.index("--recipe") + 1
    options = dict(word.split("=") for word in small["train.py"] if "=" in word)
    recipe = {"base": evaluate[place], "model_options": {k: int(v) for k, v in options.items()}}
    evaluate[place] = RECIPE
    return [
        [*train, *small["train.py"]],
        [*validate, *small["validate.py"]],
        [*evaluate, *small["evaluate"], "--json"],
    ], recipe


def trimmed(text: str, *folders: Path) -> str:
    """What a script prints, without the machine's folders."""
    for folder in (Path(sysconfig.get_path("purelib")), *folders):
        text = text.replace(f"{folder}/", "").replace(str(folder), ".")
    return text


def run(scripts: Path, images: Path, folder: Path, source: str) -> tuple[dict[str, str], TimmRun]:
    """Run the commands in an empty folder; give what both scripts print, and the record.

    `images` has `train` and `val`. Raises `RuntimeError` with the output of a command that breaks.
    """
    (folder / "data").mkdir()
    (folder / "data" / "imagenet").symlink_to(images.resolve())
    (train, validate, evaluate), recipe = plan()
    (folder / RECIPE).write_text(json.dumps(recipe))
    printed = {
        name: trimmed(output_of(words, folder, scripts), scripts.resolve(), folder.resolve(), ROOT)
        for name, words in (("train", train), ("validate", validate))
    }
    ours = json.loads(output_of(evaluate, folder, scripts, stdout_only=True))
    theirs = json.loads(printed["validate"].partition("--result\n")[2])
    digits = {name: f"{theirs[name]:.4f}" for name in ("top1", "top5")}
    return printed, TimmRun(
        timm=metadata.version("timm"),
        scripts=source,
        commands=[shlex.join(words) for words in (train, validate, evaluate)],
        train_images=sum(path.is_file() for path in (images / "train").rglob("*")),
        images=ours["images"],
        theirs=digits | {"loss": LOSS.findall(printed["validate"])[-1]},
        ours={"top1": 100 * ours["top1"], "top5": 100 * ours["top5"], "loss": ours["loss"]},
        provenance=provenance("cpu"),
    )


def output_of(words: list[str], folder: Path, scripts: Path, stdout_only: bool = False) -> str:
    """What a command of the row prints."""
    if words[0] == "mixerlib":
        given = [sys.executable, "-m", *words]
    else:
        _, module, name, script, *rest = words
        given = [sys.executable, module, name, str(scripts.resolve() / script), *rest]
    here = {key: value for key, value in os.environ.items() if key != "MIXERLIB_DATA"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        given,
        cwd=folder,
        env=here | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if stdout_only else subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = done.stdout + (done.stderr or "")
        raise RuntimeError(f"{shlex.join(words)} ended with {done.returncode}: {said}")
    return done.stdout


def main(scripts: Path, images: Path, source: str, records: Path = RECORDS) -> None:
    """Run the commands, and write the record and what both scripts printed."""
    with tempfile.TemporaryDirectory() as folder:
        printed, record = run(scripts, images, Path(folder), source)
    records.mkdir(parents=True, exist_ok=True)
    for name, file in PRINTED.items():
        write_atomic(records / file, printed[name].encode())
    write_record(record, records / FILE)
    print(f"timm: {record.theirs}\nhere: {record.as_printed()}\n{records}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m book.tools.timm_scripts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scripts", type=Path, metavar="SCRIPTS")
    parser.add_argument("images", type=Path, metavar="IMAGENET")
    parser.add_argument("--from", dest="source", required=True, metavar="WORDS")
    given = parser.parse_args()
    require_committed(parser, provenance("cpu"))
    main(given.scripts, given.images, given.source)
