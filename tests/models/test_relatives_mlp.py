"""AS-MLP, CycleMLP, ViP, MDMLP and S-FC: against their equations, their published sizes, and what
each can hear, one step at a time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mixerlib import costs
from mixerlib.models import create_model, model_entry
from mixerlib.models.relatives import as_mlp, cycle_mlp, vip


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def tiny(name: str, **options) -> nn.Module:
    """Two blocks, on a map of 4×6 places unless it is said otherwise, in double precision."""
    sizes = {"as_mlp": {"stages": "2x10"}, "cycle_mlp": {"stages": "2x12"}}
    sizes |= {"vip": {"stages": "2x12", "image_size": (8, 12), "patch_size": 2}}
    sizes |= {"mdmlp": {"dim": 6, "depth": 2, "image_size": (8, 12), "patch_size": 2}}
    sizes |= {"s_fc": {"dim": 2, "image_size": (8, 12)}}
    return create_model(name, **(sizes[name] | options)).double().eval()


# The equations


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("dim", [5, 7, 12])
def test_steps_move_each_group_of_channels_by_its_own_number_of_places(size: int, dim: int):
    x = torch.randn(2, dim, 4, 6)
    width = -(-dim // size)
    across, down = (as_mlp.Steps(dim, size, axis)(x) for axis in (3, 2))
    for channel in range(dim):
        step = channel // width - size // 2
        for row in range(4):
            for column in range(6):
                before = column - step
                expected = x[:, channel, row, before] if 0 <= before < 6 else torch.zeros(2)
                assert torch.equal(across[:, channel, row, column], expected)
                before = row - step
                expected = x[:, channel, before, column] if 0 <= before < 4 else torch.zeros(2)
                assert torch.equal(down[:, channel, row, column], expected)


@pytest.mark.parametrize("dim", [6, 7, 8])
@pytest.mark.parametrize("axis", [2, 3])
def test_a_cycle_is_the_papers_sum_over_the_channels(dim: int, axis: int):
    layer, x = cycle_mlp.CycleFC(dim, axis).double(), torch.randn(2, dim, 4, 5).double()
    wide = F.pad(x, (1, 1, 1, 1))
    expected = layer.mix.bias[None, :, None, None].repeat(2, 1, 4, 5)
    for channel in range(dim):
        step = (channel + 1) % 3 - 1
        right, below = (step, 0) if axis == 3 else (0, step)
        heard = wide[:, channel, 1 + below : 5 + below, 1 + right : 6 + right]
        weights = layer.mix.weight[:, channel, 0, 0]
        expected = expected + weights[None, :, None, None] * heard[:, None]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_lines_matrix_mixes_its_places_with_a_segment_of_the_channels(axis: int):
    places = {2: 4, 3: 6}[axis]
    layer, x = vip.LineMLP(12, places, axis).double(), torch.randn(2, 12, 4, 6).double()
    segments = 12 // places
    matrix = layer.mix.weight.reshape(places, segments, places, segments)
    cut = x.reshape(2, places, segments, 4, 6)
    form = {2: "itjs,bgsjw->bgtiw", 3: "itjs,bgshj->bgthi"}[axis]
    torch.testing.assert_close(layer(x), torch.einsum(form, matrix, cut).reshape(x.shape))


def test_mdmlp_mixes_one_axis_at_a_time():
    block = tiny("mdmlp", stride=2).blocks[0]
    z = torch.randn(2, 4, 6, 3, 6).double()
    mixers = [*block.mlp_tokens, *block.mlp_channels]
    assert [mixer.fc1.in_features for mixer in mixers] == [4, 6, 3, 6]
    expected = z
    for mixer, form in zip(mixers, ("kr,brcof", "kc,brcof", "ko,brcof", "kf,brcof"), strict=True):
        axis = form[1]
        there, back = form + "->" + "brcof".replace(axis, "k"), "brcof".replace(axis, "k")
        shape = [-1 if letter == axis else 1 for letter in "brcof"]
        y = torch.einsum(there, mixer.fc1.weight, mixer.norm(expected))
        y = F.gelu(y + mixer.fc1.bias.reshape(shape))
        y = torch.einsum(f"{axis}k,{back}->brcof", mixer.fc2.weight, y)
        expected = expected + F.gelu(y + mixer.fc2.bias.reshape(shape))
    torch.testing.assert_close(block(z), expected)


def test_patches_of_every_colour_have_one_matrix_and_may_overlap():
    model, x = tiny("mdmlp", patch_size=4, stride=2), torch.randn(2, 3, 8, 12).double()
    table = model.stem(x)
    assert table.shape == (2, 3, 5, 3, 6)
    patch = x[:, 1, 2:6, 4:8].flatten(1)
    expected = patch @ model.stem.proj.weight.flatten(1).T + model.stem.proj.bias
    torch.testing.assert_close(table[:, 1, 2, 1], expected)


# What the authors print


@pytest.mark.parametrize(
    ("name", "millions", "billions"),
    [
        # AS-MLP's README (github.com/svip-lab/AS-MLP)
        ("as_mlp_t", 28, 4.4),
        ("as_mlp_s", 50, 8.5),
        ("as_mlp_b", 88, 15.2),
        # CycleMLP's (github.com/ShoufaChen/CycleMLP)
        ("cycle_mlp_b1", 15, 2.1),
        ("cycle_mlp_b2", 27, 3.9),
        ("cycle_mlp_b3", 38, 6.9),
        ("cycle_mlp_b4", 52, 10.1),
        ("cycle_mlp_b5", 76, 12.3),
        # ViP's (github.com/houqb/VisionPermutator), which prints no operations
        ("vip_s14", 30, None),
        ("vip_s7", 25, None),
        ("vip_m7", 55, None),
        ("vip_l7", 88, None),
    ],
)
def test_sizes_that_the_authors_print(name: str, millions: int, billions: float | None):
    """FLOPs lie between the MACs alone and those with five operations for each number that passes a
    norm, as fvcore counts them."""
    with torch.device("meta"):
        model, image = create_model(name), torch.zeros(1, 3, 224, 224)
    normed = []
    for module in model.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            module.register_forward_hook(lambda _, inputs, output: normed.append(output.numel()))
    model(image)
    entry = model_entry(name)
    size = costs.size_formulas(entry.family).counts(entry.defaults, entry.image_size)
    assert size.total("params") == sum(p.numel() for p in model.parameters())
    assert abs(size.total("params") / 1e6 - millions) < 1  # some are cut off, some are rounded
    if billions is not None:
        macs, norms = size.total("macs"), 5 * sum(normed)
        assert macs / 1e9 - 0.05 <= billions <= (macs + norms) / 1e9 + 0.05


# What one block hears


def heard(layer: nn.Module, x: torch.Tensor, row: int, column: int) -> set[tuple[int, int]]:
    """The places, as (rows down, columns to the right), that a place of a layer's map hears."""
    x = x.requires_grad_()
    made = layer(x)
    made = made if made.ndim == 4 else made.flatten(3).movedim(3, 1)
    weights = torch.randn(made.shape[1], dtype=made.dtype)
    (slopes,) = torch.autograd.grad((made[0, :, row, column] * weights).sum(), x)
    slopes = slopes if slopes.ndim == 4 else slopes.flatten(3).movedim(3, 1)
    places = slopes[0].abs().sum(0).nonzero().tolist()
    return {(i - row, j - column) for i, j in places}


def without_statistics(model: nn.Module) -> nn.Module:
    """The norms of whole maps, and the weighing by a mean, hear all of a map; both taken out."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child).__name__ == "WholeNorm":
                setattr(module, name, nn.Identity())
        if type(module).__name__ == "WeighedBranches":
            module.weigh[2].weight.data.zero_()
    return model


def cross(reach: int) -> set[tuple[int, int]]:
    steps = range(-reach, reach + 1)
    return {(0, step) for step in steps} | {(step, 0) for step in steps}


def twice(places: set[tuple[int, int]]) -> set[tuple[int, int]]:
    return {(a + c, b + d) for a, b in places for c, d in places}


@pytest.mark.parametrize(("name", "reach"), [("as_mlp", 2), ("cycle_mlp", 1)])
def test_a_step_or_a_cycle_hears_a_cross_and_two_of_them_a_cross_of_crosses(name, reach):
    model = without_statistics(tiny(name))
    x = torch.randn(1, model.num_features, 11, 12, dtype=torch.float64)
    assert heard(model.blocks[0], x, 5, 5) == cross(reach)
    assert heard(model.blocks, x, 5, 5) == twice(cross(reach))
    assert (reach, reach) in twice(cross(reach)) and (2 * reach, 1) not in twice(cross(reach))


@pytest.mark.parametrize("name", ["as_mlp", "cycle_mlp", "vip"])
def test_the_statistics_hear_the_whole_map(name: str):
    model = tiny(name)
    x = torch.randn(1, model.num_features, 4, 6, dtype=torch.float64)
    assert len(heard(model.blocks[0], x, 1, 2)) == 24
    assert len(heard(without_statistics(model).blocks[0], x, 1, 2)) < 24


def test_each_group_of_channels_is_heard_at_one_place_of_the_row():
    layer = as_mlp.Steps(10, 5, 3)
    x = torch.randn(1, 10, 1, 9, requires_grad=True)
    (slopes,) = torch.autograd.grad(layer(x)[0, :, 0, 4].sum(), x)
    assert slopes[0, :, 0].nonzero().tolist() == [[c, 4 - (c // 2 - 2)] for c in range(10)]


def test_vip_hears_its_row_and_its_column_and_after_two_blocks_all():
    model = without_statistics(tiny("vip"))
    x = torch.randn(1, 12, 4, 6, dtype=torch.float64)
    row_and_column = {(0, j - 2) for j in range(6)} | {(i - 1, 0) for i in range(4)}
    assert heard(model.blocks[0], x, 1, 2) == row_and_column
    assert len(heard(model.blocks, x, 1, 2)) == 24


def test_mdmlp_hears_all_after_one_block_by_a_column_and_a_row():
    block = tiny("mdmlp", stride=2).blocks[0]
    z = torch.randn(1, 4, 6, 3, 6, dtype=torch.float64)
    column, row = block.mlp_tokens
    assert heard(column, z, 1, 2) == {(i - 1, 0) for i in range(4)}
    assert heard(row, z, 1, 2) == {(0, j - 2) for j in range(6)}
    assert len(heard(block, z, 1, 2)) == 24


# Which orders of the patches they do not notice


def exchanged(x: torch.Tensor, p: int, rows: list[int], columns: list[int]) -> torch.Tensor:
    """Images with their rows and their columns of p×p patches in another order."""
    b, c, height, width = x.shape
    cut = x.reshape(b, c, height // p, p, width // p, p)
    return cut[:, :, rows][:, :, :, :, columns].reshape(x.shape)


ROWS, COLUMNS = [2, 0, 3, 1], [4, 1, 0, 5, 3, 2]


def test_vip_with_its_weights_does_not_notice_another_order_of_rows_and_of_columns():
    """The parts of a line's matrix change places with the places. ViP calls itself permutable."""
    model, moved, x = tiny("vip"), tiny("vip"), torch.randn(2, 3, 8, 12).double()
    moved.load_state_dict(model.state_dict())
    for block in moved.blocks:
        for layer, order in ((block.spatial.down, ROWS), (block.spatial.across, COLUMNS)):
            n, width = len(order), 12 // len(order)
            parts = layer.mix.weight.data.reshape(n, width, n, width)
            layer.mix.weight.data = parts[order][:, :, order].reshape(12, 12)
    y = exchanged(x, 2, ROWS, COLUMNS)
    torch.testing.assert_close(moved(y), model(x), rtol=1e-9, atol=1e-12)
    assert (model(y) - model(x)).abs().max() > 1e-6


def test_mdmlp_with_its_weights_does_not_notice_another_order_of_rows_and_of_columns():
    model, moved = tiny("mdmlp", stride=2), tiny("mdmlp", stride=2)
    moved.load_state_dict(model.state_dict())
    for block in moved.blocks:
        for layer, order in zip(block.mlp_tokens, (ROWS, COLUMNS), strict=True):
            layer.fc1.weight.data = layer.fc1.weight.data[:, order]
            layer.fc2.weight.data = layer.fc2.weight.data[order]
            layer.fc2.bias.data = layer.fc2.bias.data[order]
    x = torch.randn(2, 3, 8, 12).double()
    y = exchanged(x, 2, ROWS, COLUMNS)
    torch.testing.assert_close(moved(y), model(x), rtol=1e-9, atol=1e-12)
    assert (model(y) - model(x)).abs().max() > 1e-6


def test_s_fc_with_its_weights_does_not_notice_any_order_of_its_numbers():
    """Pixels, and even colours, in any order: MLP-Mixer can exchange whole patches only."""
    model, moved, x = tiny("s_fc"), tiny("s_fc"), torch.randn(2, 3, 8, 12).double()
    moved.load_state_dict(model.state_dict())
    order = torch.randperm(3 * 8 * 12)
    moved.stem.dense.weight.data = moved.stem.dense.weight.data[:, order]
    y = x.flatten(1)[:, order].reshape(x.shape)
    torch.testing.assert_close(moved(y), model(x), rtol=1e-9, atol=1e-12)
    assert (model(y) - model(x)).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["as_mlp", "cycle_mlp"])
def test_steps_and_cycles_notice_where_things_are_only_at_the_border(name: str):
    """Inside, a shifted map makes a shifted map; no order of weights makes up for another one."""
    model = without_statistics(tiny(name))
    x = torch.randn(1, model.num_features, 16, 16).double()
    moved = torch.roll(x, (1, 2), (2, 3))
    inside = slice(6, 10)
    expected = torch.roll(model.blocks(x), (1, 2), (2, 3))[:, :, inside, inside]
    torch.testing.assert_close(model.blocks(moved)[:, :, inside, inside], expected)


def test_as_mlp_mirrored_is_as_mlp_with_its_groups_in_reverse():
    """A mirrored image, and the groups that step to the left step to the right instead."""
    block = tiny("as_mlp", stages="1x10").blocks[0]
    x = torch.randn(1, 10, 4, 6).double()
    before = block(x).flip(3)
    reverse = torch.arange(10).reshape(5, 2).flip(0).flatten()  # of five groups of two channels
    steps = block.spatial.steps_across
    block.spatial.steps_across = nn.Sequential(Exchange(reverse), steps, Exchange(reverse))
    torch.testing.assert_close(block(x.flip(3)), before)


class Exchange(nn.Module):
    """Channels in another order, which undoes itself when it is done twice."""

    def __init__(self, order: torch.Tensor):
        super().__init__()
        self.order = order

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, self.order]


# Rules


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("as_mlp", {"stages": "2x8, 3x8"}, "`stages`='2x8, 3x8' must be blocks x width"),
        ("as_mlp", {"stages": "eight"}, "`stages`='eight' must be blocks x width"),
        ("as_mlp", {"stages": "2x0"}, "`dim`=0 must be a positive whole number"),
        ("as_mlp", {"stages": "2x8x0"}, "`channels_ratio`=0 must be a positive whole number"),
        ("vip", {"stages": "2x8x3x4"}, "`stages`='2x8x3x4' must be blocks x width"),
        ("as_mlp", {"shift_size": 4}, "`shift_size`=4 must be odd"),
        ("cycle_mlp", {"stages": "1x3"}, "a width of 3 must be at least 4"),
        ("cycle_mlp", {"channels_ratio": 0}, "`channels_ratio`=0 must be a positive whole number"),
        ("vip", {"stages": "2x60"}, "rows and columns must divide the width"),
        ("vip", {"stages": "2x72, 2x144", "image_size": 36}, "must divide the image's height"),
        ("mdmlp", {"stride": 3}, "`stride`=3: patches of 4 must fill (32, 32)"),
        ("s_fc", {"image_size": 31}, "`image_size`=31 must be even"),
        ("s_fc", {"depth": 3}, "`depth`=3 is not an option of 's_fc'"),
    ],
)
def test_a_broken_option_is_refused(name: str, options: dict, words: str):
    with pytest.raises(ValueError) as caught:
        create_model(name, **options)
    assert words in str(caught.value)


def test_a_map_that_cannot_be_halved_is_refused():
    model = create_model("as_mlp", stages="1x8, 1x16, 1x24", patch_size=2)
    assert model(torch.zeros(1, 3, 16, 24)).shape == (1, 10)
    with pytest.raises(ValueError, match="`x` of 6×8 patches must be such that both can be halved"):
        model(torch.zeros(1, 3, 12, 16))
