"""The roofline machine against `mixerlib.speed`: bills, bands, who overtakes whom; and driven."""

import itertools
import json
import re

import numpy as np
import pytest

from mixerlib.speed import (
    DATA_SHEETS,
    Machine,
    Rates,
    bills,
    roofline,
    roofline_machine,
    speed_band,
)
from mixerlib.speed.roof_page import FORMS, MODELS, STEPS, WIDTHS, rows_of

MINE = {"a <machine> of mine": Rates(8.7e10, 6.4e10)}
RIVALS = [family for family in MODELS if family != "convmixer"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", MODELS)
def test_the_rows_are_all_of_the_bills(family, form):
    bill = bills(MODELS[family], fused=form == "fused")
    rows = np.array(
        [
            [many * n for n in counts]
            for _, many, *counts in rows_of(MODELS[family], form == "fused")
        ]
    )
    expected = [bill.macs.sum(), bill.moved.sum(), bill.weights.sum()]
    assert rows.sum(axis=0) == pytest.approx(expected, rel=1e-12)


def test_times_and_speeds_are_those_of_the_library(run_script):
    cases = list(itertools.product(MODELS, FORMS, (1, 8, 512), DATA_SHEETS, ("float32", "float16")))
    cases = [case for case in cases if case[4] in DATA_SHEETS[case[3]].macs_per_second]
    asked, expected = [], []
    for family, form, batch, key, dtype in cases:
        rates, width = DATA_SHEETS[key].rates(dtype), WIDTHS[dtype]
        one, base = (
            bills(MODELS[f], fused=form == "fused").of_batch(batch) for f in (family, "convmixer")
        )
        v = {"family": family, "form": form, "batch": batch, "width": width}
        asked.append(v | {"macs": rates.macs_per_second, "bytes": rates.copy_bytes_per_second})
        ratio = base.at_balance(rates.balance, width) / one.at_balance(rates.balance, width)
        an_image = [seconds / batch for seconds in one.band(rates, width)]
        expected.append([*an_image, *speed_band(one, base, rates, width), ratio])
    answers = run_script(
        roofline_machine(),
        f"return {json.dumps(asked)}.map(v => [...api.band(api.bills("
        "api.data.rows[v.family][v.form], v, v.width, v.batch)), ...api.speeds(v, v),"
        "api.speed_at(v, v.macs / v.bytes)])",
    )
    assert len(cases) > 300
    np.testing.assert_allclose(answers, expected, rtol=1e-12)


def test_the_least_time_is_the_prediction_of_a_measured_roofline(run_script):
    rates = Machine(2e9, 64, 5e8, 1000, 4e8)
    report = roofline("splitmixer_i_256_8", batch=2, rounds=1, machine=rates)
    v = {"macs": rates.macs_per_second, "bytes": rates.copy_bytes_per_second}
    least, most = run_script(
        roofline_machine(),
        f"return api.band(api.bills(api.data.rows.splitmixer_i.alone, {json.dumps(v)}, 4, 2))",
    )
    assert 2 * least == pytest.approx(sum(layer.predicted for layer in report.layers))
    both = sum(layer.by_macs + layer.by_bytes for layer in report.layers)
    assert 2 * most == pytest.approx(both)


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("form", FORMS)
def test_one_overtakes_the_other_where_it_says_and_nowhere_else(run_script, form, batch):
    asked = [{"family": f, "form": form, "batch": batch, "width": 4} for f in RIVALS]
    answers = run_script(
        roofline_machine(),
        f"return {json.dumps(asked)}.map(api.crossings)",
    )
    base = bills(MODELS["convmixer"], fused=form == "fused").of_batch(batch)
    for family, found in zip(RIVALS, answers, strict=True):
        one = bills(MODELS[family], fused=form == "fused").of_batch(batch)

        def ahead(balance, one=one):
            return base.at_balance(balance) > one.at_balance(balance)

        for balance in found:
            assert base.at_balance(balance) == pytest.approx(one.at_balance(balance), rel=1e-9)
            assert ahead(0.999 * balance) != ahead(1.001 * balance)
        grid = np.geomspace(1e-3, 1e5, 700)
        changes = sum(ahead(a) != ahead(b) for a, b in itertools.pairwise(grid))
        assert len(found) == changes
    assert any(answers)


def test_a_batch_reads_its_weights_once():
    bill = bills("splitmixer_i_256_8")
    one, many = bill.of_batch(1), bill.of_batch(64)
    assert (one.moved - bill.moved).sum() == bill.weights.sum() > 0
    assert many.moved == pytest.approx(64 * bill.moved + bill.weights)
    assert many.macs == pytest.approx(64 * bill.macs)
    assert many.of_batch(1).moved == pytest.approx(many.moved)  # they are counted in already
    with pytest.raises(ValueError, match="`batch`=0"):
        bill.of_batch(0)


def test_a_recorded_machine_is_among_the_choices():
    page = roofline_machine(MINE)._repr_html_()
    assert '<option value="recorded0">a &lt;machine&gt; of mine</option>' in page


def test_the_still_figure_says_what_the_bills_say():
    seconds = bills("splitmixer_i_256_8").seconds(DATA_SHEETS["V100"].rates())
    assert f"SplitMixer-I {1e6 * seconds:.1f} µs" in roofline_machine().still


@pytest.fixture
def opened(tab, tmp_path):
    page = tmp_path / "page.html"
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title>'
    page.write_text(head + roofline_machine(MINE)._repr_html_(), encoding="utf-8")
    tab.goto(page.as_uri())
    yield tab
    assert tab.failed == [] and tab.left == [] and tab.said == []


def value(tab, name):
    return tab.locator(f"[data-name={name}]").input_value()


def test_a_machine_is_chosen_or_dragged(opened):
    said = opened.locator(".said")
    machine, dtype = (opened.locator(f"[data-name={name}]") for name in ("machine", "dtype"))
    machine.select_option("A100")
    dtype.select_option("bfloat16")
    balance = DATA_SHEETS["A100"].rates("bfloat16").balance
    assert f"a balance of {balance:.1f} MACs a byte" in said.inner_text()
    pair = bills("splitmixer_i_256_8").of_batch(64), bills("convmixer_256_8").of_batch(64)
    low, high = speed_band(*pair, DATA_SHEETS["A100"].rates("bfloat16"), 2)
    assert f"{low:.2f} to {high:.2f} times as fast as ConvMixer" in said.inner_text()
    machine.select_option("recorded0")  # which was measured in float32
    assert value(opened, "dtype") == "float32"
    assert dtype.locator("option[value=bfloat16]").is_disabled()
    assert said.inner_text().startswith("a <machine> of mine: 87 G MACs and 64 GB a second")
    opened.locator("[data-name=bytes]").press("End")
    assert value(opened, "machine") == "own"
    assert said.inner_text().startswith("Your machine: 87 G MACs and 10 TB a second")
    place = round(STEPS * np.log10(87))
    assert value(opened, "macs") == str(place)
    assert not dtype.locator("option[value=bfloat16]").is_disabled()


def test_a_race_ends_with_the_times_that_are_said(opened):
    bars, button = opened.locator(".race"), opened.locator("[data-name=race]")
    words = bars.get_attribute("aria-label")
    times = re.findall(r"[\d.]+ [µm]s", words)
    before = bars.inner_html()
    opened.emulate_media(reduced_motion="reduce")
    button.press("Enter")
    assert bars.inner_html() == before  # at once
    opened.emulate_media(reduced_motion="no-preference")
    button.press("Enter")
    opened.wait_for_function("() => document.querySelector('.race').textContent.includes('…')")
    opened.wait_for_function("() => !document.querySelector('.race').textContent.includes('…')")
    assert bars.inner_html() == before and len(times) == 2
    assert all(time in bars.text_content() for time in times)


def test_letters_of_both_drawings_stay_readable_on_a_phone(opened):
    opened.set_viewport_size({"width": 390, "height": 844})
    small = """() => [...document.querySelectorAll(".sights text")].filter(text =>
        parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a < 9).length"""
    assert opened.locator(".sights text").count() > 20 and opened.evaluate(small) == 0
