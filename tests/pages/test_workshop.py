"""The kernel workshop against PyTorch: its pairs, their shares, its filtered photograph; and a
kernel that is painted."""

import json

import numpy as np
import pytest
import torch
from test_interactives_in_browser import PAGE

from mixerlib.pages import kernel_workshop
from mixerlib.pages.interactives import workshop

GAP = 1e-3  # of two singular values, squared, as a share: less, and the best pair is not one alone


def kernels() -> list[np.ndarray]:
    """Those of the workshop, random ones, and ones that would mislead a power iteration."""
    random = np.random.default_rng(0)
    rows = np.zeros((5, 5))
    rows[0, 0], rows[1:, 1] = 1.5, 1.0  # the longest row is no part of the best pair
    near = np.diag([1.0, 0.999, 0.5, 0.1, 0.01])
    return [
        *(kernel.astype(float) for kernel in workshop.KERNELS.values()),
        *random.normal(size=(20, 5, 5)),
        *random.integers(-2, 3, size=(20, 5, 5)).astype(float),
        np.outer(*random.normal(size=(2, 5))),
        rows,
        near,
        1e-6 * near,
    ]


def test_the_pairs_are_the_singular_value_decomposition(run_script):
    asked = kernels()
    code = f"return {json.dumps([k.tolist() for k in asked])}.map(api.pairs)"
    compared = 0
    for kernel, pairs in zip(asked, run_script(kernel_workshop(), code), strict=True):
        u, sigma, v = torch.linalg.svd(torch.tensor(kernel))
        shares = (sigma**2 / (sigma**2).sum()).numpy()
        rank = int((shares > 1e-12).sum())
        assert [pair["share"] for pair in pairs] == pytest.approx(shares[:rank], abs=1e-9)
        made = [np.outer(pair["u"], pair["v"]) for pair in pairs]
        np.testing.assert_allclose(sum(made), kernel, atol=2e-6 * abs(kernel).max())
        lengths = [np.linalg.norm(pair["v"]) for pair in pairs]
        assert lengths == pytest.approx(np.ones(rank), abs=1e-12)
        if rank == 1 or shares[0] - shares[1] > GAP:
            expected = sigma[0] * torch.outer(u[:, 0], v[0])
            np.testing.assert_allclose(made[0], expected, atol=1e-8 * abs(kernel).max())
            compared += 1
    assert compared > 40


def test_of_equally_good_rows_the_middle_one_is_taken(run_script):
    (first, *rest) = run_script(
        kernel_workshop(),
        f"return api.pairs({np.eye(5).tolist()})",
    )
    assert first["u"] == first["v"] == [0, 0, 1, 0, 0]
    assert len(rest) == 4 and first["share"] == pytest.approx(1 / 5)


def test_an_empty_kernel_has_no_pairs(run_script):
    nothing = np.zeros((5, 5)).tolist()
    code = f"return api.pairs({nothing})"
    assert run_script(kernel_workshop(), code) == []


@pytest.mark.parametrize("kernel", [0, 3, 4, 10], ids=str)
def test_the_photograph_is_filtered_as_by_a_convolution(run_script, kernel):
    asked = kernels()[kernel]
    grey = workshop.grey_photograph() / 127.5
    x = torch.tensor(grey - grey.mean())[None, None]
    u, sigma, v = torch.linalg.svd(torch.tensor(asked))
    rank_two = (u[:, :2] * sigma[:2]) @ v[:2]
    whole, part = (
        torch.nn.functional.conv2d(x, weights[None, None], padding="same").flatten().tolist()
        for weights in (torch.tensor(asked), rank_two)
    )
    answers = run_script(
        kernel_workshop(),
        f"""const kernel = {asked.tolist()}, {{picture, side}} = api;
        return [[...picture], [...api.convolve(picture, side, kernel)],
        [...api.by_pairs(picture, side, api.pairs(kernel).slice(0, 2))]]""",
    )
    assert answers[0] == pytest.approx(x.flatten().tolist(), abs=1e-12)
    assert answers[1] == pytest.approx(whole, abs=1e-9)
    shares = (sigma**2 / (sigma**2).sum()).tolist()
    if min(shares[1], 1) < 1e-12 or shares[1] - shares[2] > GAP:  # else the second is not one alone
        assert answers[2] == pytest.approx(part, abs=1e-7)


def test_the_still_figure_says_what_numpy_says():
    cross = torch.tensor(workshop.KERNELS["cross"]).double()
    squared = torch.linalg.svdvals(cross) ** 2
    assert f"keeps {squared[0] / squared.sum():.0%} of it" in kernel_workshop().still
    torch.testing.assert_close(
        torch.tensor(np.linalg.norm(workshop.best_pair(cross.numpy())) ** 2), squared[0]
    )


@pytest.fixture
def opened(tab, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PAGE % kernel_workshop()._repr_html_(), encoding="utf-8")
    tab.goto(page.as_uri())
    yield tab
    assert tab.failed == [] and tab.left == [] and tab.said == []


def test_a_kernel_is_painted_by_keyboard(opened):
    said, pad = opened.locator(".said"), opened.locator(".pad")
    opened.locator("[data-name=clear]").press("Enter")
    assert said.inner_text() == "The kernel is empty: paint something."
    pad.focus()
    for key in ("Space", "ArrowRight", "ArrowDown", "Space"):  # two squares on a slant
        opened.keyboard.press(key)
    assert "Row 4, column 4: 1.00" in pad.get_attribute("aria-label")
    assert said.inner_text().startswith("Your own: the best pair keeps 50.0 % of it and takes 10")
    assert "Its rank is 2" in said.inner_text()
    opened.get_by_label("brush −1").press("Enter")
    pad.focus()
    for key in ("ArrowUp", "Space", "ArrowDown", "ArrowLeft", "Space"):
        opened.keyboard.press(key)  # the other two of the square: 1 −1, −1 1
    assert said.inner_text().startswith("Your own: the best pair keeps all of it")
    assert said.inner_text().endswith("The photographs are the same.")


def test_a_kernel_is_painted_by_mouse_and_more_pairs_cost_more(opened):
    said, box = opened.locator(".said"), opened.locator(".pad").bounding_box()
    opened.locator("[data-name=clear]").click()
    for place in range(5):
        x, y = ((1.4 + place + 0.5) / 6.5 * box[side] for side in ("width", "height"))
        opened.mouse.click(box["x"] + x, box["y"] + y)
    assert said.inner_text().startswith("Your own: the best pair keeps 20.0 % of it")
    assert opened.locator("select").input_value() == "own"
    opened.locator("[data-name=pairs]").press("End")
    assert "the best 5 pairs keep all of it and take 50 multiplications" in said.inner_text()
    assert "more than the kernel's 25" in said.inner_text()


def test_the_pictures_are_those_that_are_computed(opened):
    """The middle canvas holds the shades of the pair's picture, between the kernel's extremes."""
    opened.locator("select").select_option("upright edge")
    shown, expected = opened.evaluate(
        """() => {
            const api = mixerKit.api.kernel, canvases = [...document.querySelectorAll("canvas")];
            const shades = canvases.map(c => [...c.getContext("2d")
                .getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0));
            const kernel = [1, 4, 6, 4, 1].map(u => [-1, -2, 0, 2, 1].map(v => u * v));
            const y = api.convolve(api.picture, api.side, kernel);
            const low = Math.min(...y), high = Math.max(...y);
            return [shades, [...y].map(value => 255 * (value - low) / (high - low))];
        }"""
    )
    assert max(abs(a - b) for a, b in zip(shown[1], expected, strict=True)) <= 0.5 + 1e-6
    assert shown[0] == shown[1] and set(shown[2]) <= {127, 128}
