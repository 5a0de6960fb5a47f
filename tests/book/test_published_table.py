"""Chapters 17 and 17b: what they say with records of a GPU and of a CPU, and with one of the two.

Their numbers are counted anew from the records' own files.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, Later

jupytext = Later("jupytext")
BENCH = ROOT / "book" / "records" / "bench"
DEVICES = {
    json.loads(path.read_text())["provenance"]["device"]: path.parent.name
    for path in sorted(BENCH.glob("*/table3.json"))
}
BOTH = tuple(DEVICES)
_cpu = json.loads((BENCH / DEVICES["cpu"] / "table3.json").read_text())
CPU = f"{_cpu['provenance']['device_name']} with {_cpu['settings']['instructions']}"


def told_by(stem: str, folder: Path, kinds: tuple[str, ...], monkeypatch) -> list[str]:
    """What the cells of a chapter write before its exercises, with the records of some devices."""
    book = folder / "book"
    (book / "records" / "bench").mkdir(parents=True)
    (book / "published.yaml").symlink_to(ROOT / "book" / "published.yaml")
    (book / "records" / "pages").symlink_to(ROOT / "book" / "records" / "pages")
    for kind in kinds:
        name = DEVICES[kind]
        (book / "records" / "bench" / name).symlink_to(BENCH / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MIXERBOOK_TIMES", "read")
    told: list[str] = []
    (path,) = (ROOT / "notebooks").glob(f"{stem}-*.md")
    names = {"__name__": "page"}
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "markdown" and re.search(
            "^## (Exercises|What a clock)", cell.source, re.M
        ):
            break
        if cell.cell_type == "code":
            source = re.sub(r"^Markdown\(", "_told = Markdown(", cell.source, flags=re.M)
            source = re.sub(r"^plots\.show\(", "_shown = plots.show(", source, flags=re.M)
            names |= {"_told": None, "_shown": None}
            exec(compile(source, path.name, "exec"), names)
            told += [names["_shown"].caption] if names["_shown"] else []
            told += [names["_told"].data] if names["_told"] else []
    return told


def runs(device: str, task: str) -> list[np.ndarray]:
    """Seconds of each row of table 3 on a device, ConvMixer first."""
    results = json.loads((BENCH / DEVICES[device] / "table3.json").read_text())["results"]
    return [np.array(r["seconds"]["runs"]) for r in results if r["case"]["task"] == task]


def answer_of(told: list[str]) -> str:
    (text,) = [text for text in told if "**The answer.**" in text]
    return text


@pytest.fixture
def tell(tmp_path, monkeypatch):
    return lambda stem, kinds: told_by(stem, tmp_path, kinds, monkeypatch)


def test_the_answer_is_of_the_gpu_first_and_names_every_machine(tell):
    told = tell("17b", BOTH)
    answer = answer_of(told)
    base, *others = runs("cuda", "inference")
    mean = np.mean([base / other for other in others], axis=0)
    assert re.search(
        rf"\*\*{np.median(mean):.2f} times\*\* as fast \(.*?\) on NVIDIA H200\.\n", answer
    )
    itself = np.median(base / others[0])
    assert re.search(rf"SplitMixer-I, printed as 2\.57 times, is at {itself:.2f} \(", answer)
    assert f"{CPU} (memory kept)" in answer and "(memory given back)" in answer
    whole = "\n".join(told)
    assert "H200 (memory" not in whole and "on a CPU they are" not in whole
    assert "The published table is of a GPU, and these are not" not in whole
    assert "convolutions in TF32" in whole and "a V100 has no such format" in whole


def test_the_forms_at_the_tables_size_say_of_which_models_they_are(tell):
    whole = "\n".join(tell("17b", BOTH))
    results = json.loads((BENCH / DEVICES["cuda"] / "races" / "forms-224.json").read_text())[
        "results"
    ]
    best = {}
    for r in results:
        case = r["case"]
        key = case["model"], case["implementation"], case["dtype"]
        best[key] = min(best.get(key, np.inf), r["seconds"]["median"])
    lines = [line for line in whole.splitlines() if line.startswith("| fast, bfloat16")]
    (line,) = [line for line in lines if re.search(r"\d,\d{3}", line)]  # the other has ratios
    for model in ("convmixer_256_8_224", "splitmixer_i_256_8_224"):
        assert f"{64 / best[model, 'fast', 'bfloat16']:,.0f}" in line
    assert "is surely the faster one in none of these 5 forms" in whole
    assert re.search(r"where 2\.57 is printed and its MACs promise 2\.23", whole)
    assert "**Where the time goes on NVIDIA H200.**" in whole


def test_without_a_gpu_the_page_says_that_it_has_none(tell):
    told = tell("17b", ("cpu",))
    whole = "\n".join(told)
    assert "H200" not in whole and f"{CPU} (memory kept)" in answer_of(told)
    assert "Whether the authors' ratio holds on a GPU it cannot tell" in whole
    assert "`mixerlib bench race` with these two names writes the first record" in whole


def test_without_a_cpu_nothing_is_said_of_glibc(tell):
    told = tell("17b", ("cuda",))
    whole = "\n".join(told).replace("Meanwhile glibc keeps its memory.", "")  # of the page itself
    assert "glibc" not in whole and "memory" not in answer_of(told)


@pytest.mark.parametrize("kinds", [BOTH, ("cpu",)])
def test_what_the_way_of_timing_does_is_shown_on_a_gpu_where_there_is_one(tell, kinds):
    told = tell("17", kinds)
    answer = answer_of(told)
    on_gpu = "cuda" in kinds
    assert ("on NVIDIA H200 when one model runs" in answer) == on_gpu
    assert ("Elsewhere the whole factor is" in answer) and f"{CPU} (memory" in answer
    if on_gpu:
        slow = np.array([times.mean() for times in runs("cuda", "as published")])
        later = np.array([times[1:].mean() for times in runs("cuda", "as published")])
        first = np.mean((slow[0] / slow[1:]) / (later[0] / later[1:]))
        assert f"by itself makes a factor of {first:.2f}" in answer
        caption = told[0]
        ahead = (slow[0] > slow[1:]).sum()
        assert f"as the published script does, {ahead} are faster than ConvMixer" in caption
