"""What the landing page and the README's head say is so, and both say the same."""

import html
import json
import re

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, load_file
from torch.utils.flop_counter import FlopCounterMode

from mixerlib.models import create_model
from mixerlib.pages import LABELS, SHORT_LABELS, audit
from mixerlib.records import read_records
from mixerlib.training import list_recipes

INDEX, README = (ROOT / name for name in ("book/index.md", "README.md"))
RECORDS = read_records(ROOT / "book" / "records")


@pytest.fixture(scope="module")
def front():
    return load_file(ROOT / "book" / "assets" / "front.py")


def deaf(family: str) -> bool:
    """Whether in a deep model some channel's output does not depend on some channel's input: by
    the zeros of the Jacobian, not by segments."""
    torch.manual_seed(0)
    model = create_model(family, dim=24, depth=12).double().eval()
    jacobian = torch.autograd.functional.jacobian(
        lambda x: model.blocks(x)[0, :, 0, 0], torch.randn(1, 24, 1, 1, dtype=torch.double)
    )
    return bool((jacobian[:, 0, :, 0, 0] == 0).any())


def test_the_strategies_that_are_said_to_be_separate_networks_are_those(front):
    deaf_ones = [SHORT_LABELS[family] for family in list(LABELS)[1:] if deaf(family)]
    finding = front.separate()
    assert re.findall(r"\b[IV]+\b|3-D", finding.sentence) == deaf_ones
    said = finding.headline.lower().split()
    assert [front.WORDS.index(said[0]), front.WORDS.index(said[3])] == [len(deaf_ones), 6]


@pytest.mark.parametrize("family", LABELS)
def test_news_is_what_a_change_of_the_last_channel_changes(front, family):
    torch.manual_seed(1)
    model = create_model(family, depth=3).double().eval()
    width = model.num_features
    before = torch.randn(1, width, 1, 1, dtype=torch.double)
    after = before.clone()
    after[0, -1] += 1
    for block, heard in zip(model.blocks, front.news(family, 3), strict=True):
        with torch.no_grad():
            before, after = block(before), block(after)
        assert ((before != after)[0, :, 0, 0]).tolist() == heard


def test_the_audits_tally_is_told(front):
    published = audit.load(ROOT / "book" / "published.yaml")
    others = audit.read_others(ROOT / "book" / "records" / "counts" / "others.json")
    verdicts = audit.check(published, RECORDS, others)
    finding = front.not_reproduced(RECORDS)
    wrong, decided = map(int, re.findall(r"\d+", finding.headline))
    whole, right, rest = map(int, re.findall(r"\d+", finding.sentence))
    assert whole == len(published.entries) == decided + rest
    assert decided == wrong + right
    assert wrong == sum(v.kind == audit.NOT_REPRODUCED for v in verdicts.values())
    assert right == sum(v.kind == audit.REPRODUCED for v in verdicts.values())


def test_multiplications_and_times_are_those_of_the_modules_and_the_records(front):
    names, work = ("splitmixer_i_256_8_224", "convmixer_256_8_224"), []
    for name in names:
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            create_model(name).eval()(torch.zeros(1, 3, 224, 224))
        work.append(counter.get_total_flops())
    times: dict[str, list[float]] = {}
    for path in sorted(ROOT.glob("book/records/bench/*/table3*.json")):
        runs, record = {}, json.loads(path.read_text())
        for result in record["results"]:
            case = result["case"]
            if case["task"] == "inference" and case["options"].get("ratio", "2/3") == "2/3":
                runs[case["model"]] = np.array(result["seconds"]["runs"])
        device = record["provenance"]["device_name"]
        times.setdefault(device, []).append(np.median(runs[names[0]] / runs[names[1]]))
    finding = front.fewer_but_not_faster()
    share, *said = re.findall(r"\d+", finding.headline)
    assert int(share) == round(100 * work[0] / work[1])
    longer = [time for of_device in times.values() for time in of_device]
    assert {int(time) for time in said} == {round(100 * min(longer)), round(100 * max(longer))}
    for device, of_device in times.items():  # each machine with its own
        ends = dict.fromkeys(f"{end:.0%}" for end in (min(of_device), max(of_device)))
        assert f"{' to '.join(ends)} on {device}" in finding.sentence
    printed = yaml.safe_load((ROOT / "book" / "published.yaml").read_text(encoding="utf-8"))
    table = printed["tables"]["slides-throughput"]["rows"]
    whole, split = (float(table[row]["values"][0]) for row in ("convmixer", "i-2-3"))
    assert f"printed for a V100 it would be {whole / split:.0%}." in finding.sentence


def test_a_gpu_is_named_before_a_cpu(front):
    sentence = front.fewer_but_not_faster().sentence
    assert 0 < sentence.index("NVIDIA") < sentence.index("AMD")


def test_what_is_trained_is_told_with_its_scale_and_what_is_not_too(front):
    text = front.trained()
    runs = {record.recipe for record in RECORDS}
    whole = all(f"cpu/{family}_64_4" in runs for family in LABELS)
    assert text.startswith("ConvMixer and every strategy of SplitMixer have been") == whole
    assert (
        f"{max(len(r.curve) for r in RECORDS if r.recipe == 'cpu/convmixer_64_4')} epochs" in text
    )
    devices = {record.provenance.device for record in RECORDS}
    assert ("GPUs" in text) == (devices != {"cpu"})
    large = [record for record in RECORDS if "256_8" in record.recipe]
    assert ("nothing is trained yet" in text) == (not large)
    assert not any("imagenet" in record.recipe for record in RECORDS)


def test_the_readme_says_the_same_as_the_landing_page(front):
    readme = README.read_text(encoding="utf-8")
    between = re.search(r"<!-- findings -->\n(.*)\n<!-- /findings -->", readme, re.S)[1]
    assert between == front.readme(), "the README is old: run python book/assets/draw.py"
    assert between.splitlines()[0] in readme[:2500]  # in its head
    page = front.html()
    for finding in front.findings():
        assert html.escape(finding.headline) in page
        assert html.escape(finding.sentence) in page
        assert (ROOT / f"{finding.page}.md").is_file()
        assert f'href="../{finding.page}.html"' in page


def test_the_commands_of_the_doors_exist():
    commands = re.findall(r"```bash\n(.*?)```", INDEX.read_text(encoding="utf-8"), re.S)
    lines = [line for block in commands for line in block.strip().splitlines()]
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {line.split()[1] for line in lines if line.startswith("make ")} <= {*targets}
    recipes = [line.split()[2] for line in lines if line.startswith("mixerlib train ")]
    assert recipes and {*recipes} <= {*list_recipes()}


def test_where_the_book_is_described_its_scale_is_said():
    described = yaml.safe_load((ROOT / "CITATION.cff").read_text())["abstract"]
    bibtex = re.search(r"note\s+= \{(.*)\}", README.read_text(encoding="utf-8"))[1]
    card = (ROOT / "book" / "assets" / "draw.py").read_text(encoding="utf-8")
    large = [record for record in RECORDS if "256" in record.recipe]
    for text in (described, bibtex, card):
        assert ("trained at a small scale" in text) == (not large)
