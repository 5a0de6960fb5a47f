"""Every registered relative: whatever `list_relatives()` lists is tested here, in a small size."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from helpers import SMALL_RELATIVES as SMALL
from helpers import small_relative as small
from torch import nn

from mixerlib.models import create_model, list_models, list_relatives, made_of, model_entry
from mixerlib.models.relatives import FAMILIES

# Options that break a rule of the family, and what the refusal says
BROKEN = [
    ("resnet_cifar", {"depth": 10}, "`depth`=10 must be a multiple of 3"),
    ("vit", {"heads": 5}, "`heads`=5 must divide `dim`=192"),
    ("vit", {"heads": 0}, "`heads`=0 must be a positive whole number"),
    ("vit", {"qkv_bias": 1}, "`qkv_bias`=1 must be True or False"),
    ("deit", {"image_size": 30}, "`patch_size`=4 must divide"),
    ("resmlp", {"channels_dim": 0}, "`channels_dim`=0 must be a positive whole number"),
    ("gmlp", {"channels_dim": 7}, "`channels_dim`=7 must be even"),
    ("convnext", {"activation": "tanh"}, "`activation`='tanh' must be one of 'gelu', 'relu'"),
    ("resmlp", {"kernel_size": 3}, "`kernel_size`=3 is not an option of 'resmlp'"),
]
every_relative = pytest.mark.parametrize("name", list_relatives())
every_family = pytest.mark.parametrize("name", list(FAMILIES.values()))


@pytest.fixture(autouse=True)
def _one_seed():
    torch.manual_seed(0)


def images(name: str, size: int = 4) -> torch.Tensor:
    return torch.randn(size, 3, *SMALL[name][1])


def test_the_relatives_are_no_mixers_and_each_family_is_tested():
    assert not set(list_relatives()) & set(list_models())
    assert set(SMALL) == set(FAMILIES.values()) <= set(list_relatives())
    assert {model_entry(name).family for name in list_relatives()} == set(SMALL)


@every_relative
def test_a_name_without_options_is_a_model_of_its_size(name: str):
    with torch.device("meta"):
        model = create_model(name)
    defaults = model_entry(name).defaults
    assert len(model.blocks) == defaults.get("depth", len(model.blocks))
    assert model.head.weight.shape == (defaults["num_classes"], model.num_features)
    assert made_of(model) == (name, dict(defaults))
    side = model_entry(name).image_size
    logits = model.eval()(torch.zeros(2, 3, side, side, device="meta"))
    assert logits.shape == (2, defaults["num_classes"])


@every_family
def test_stem_blocks_and_head_make_the_logits(name: str):
    model, x = small(name).eval(), images(name)
    tops = {key.split(".")[0] for key in model.state_dict()}
    assert {"stem", "blocks", "head"} <= tops <= {"stem", "blocks", "norm", "head", "head_teacher"}
    features = model.forward_features(x)
    assert torch.equal(model.forward_head(features), model(x))
    pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (4, model.num_features)
    bare = small(name, num_classes=0).eval()
    bare.load_state_dict({k: v for k, v in model.state_dict().items() if "head" not in k})
    assert torch.equal(bare(x), pooled)
    model.reset_classifier(7)
    assert model(x).shape == (4, 7) and made_of(model)[1]["num_classes"] == 7


@every_family
def test_weights_round_trip_and_another_seed_differs(name: str):
    model, x = small(name), images(name)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    twin = small(name)
    assert not torch.equal(twin.eval()(x), model.eval()(x))
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(x), model(x))


@every_family
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_every_weight_learns_and_a_batch_can_be_learned_by_heart(name: str, activation: str):
    model, x, y = small(name, activation=activation), images(name, 8), torch.arange(8) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses = []
    for step in range(60):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        if step == 1:
            still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
            assert still == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05


@every_family
def test_an_image_does_not_depend_on_its_batch(name: str):
    model, x = small(name).eval().double(), images(name).double()
    torch.testing.assert_close(model(x)[1:2], model(x[1:2]), rtol=1e-10, atol=1e-10)


@every_family
def test_bfloat16_and_memory_formats(name: str):
    model, x = small(name).eval(), images(name)
    logits = model(x).detach()
    half = copy.deepcopy(model).bfloat16()(x.bfloat16())
    torch.testing.assert_close(half.float(), logits, rtol=0.1, atol=0.15 * logits.std().item())
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    actual = last(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, logits, rtol=1e-4, atol=1e-5)


@every_family
def test_fx_traces_the_model_with_its_checks(name: str):
    model, x = small(name).eval(), images(name)
    traced = torch.fx.symbolic_trace(model)
    other = images(name, 3)
    assert torch.equal(traced(other), model(other))
    with pytest.raises(ValueError, match="must be a batch of images"):
        traced(x[:, :2])


@every_family
def test_every_layer_with_weights_is_called_once(name: str):
    model, x = small(name).eval(), images(name)
    calls: dict[str, int] = {}
    for path, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            calls[path] = 0
            module.register_forward_hook(
                lambda *_, path=path: calls.__setitem__(path, calls[path] + 1)
            )
    model(x)
    assert set(calls.values()) == {1}


@every_family
def test_images_of_another_size_are_taken_or_refused_with_the_reason(name: str):
    model, (height, width) = small(name).eval(), SMALL[name][1]
    wider = torch.randn(2, 3, height, 2 * width)
    if hasattr(model, "image_size"):
        with pytest.raises(ValueError, match=r"must have `image_size`=\(8, 12\): .* one|place"):
            model(wider)
    else:
        assert model(wider).shape == (2, 10)


@pytest.mark.parametrize(("name", "options", "words"), BROKEN)
def test_a_broken_option_is_refused(name: str, options: dict, words: str):
    with pytest.raises(ValueError) as caught:
        create_model(name, **options)
    assert words in str(caught.value)


# What each of them is


def moved(model: nn.Module, x: torch.Tensor) -> bool:
    """Whether the logits change when the 4×4 patches of images 8×12 change places."""
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    b, c = x.shape[:2]
    cut = x.reshape(b, c, 2, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(b, 6, c, 4, 4)[:, order]
    other = cut.reshape(b, 2, 3, c, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)
    return not torch.allclose(model(other), model(x), rtol=1e-8, atol=1e-10)


def test_attention_notices_an_order_of_the_patches_by_their_places_alone():
    for name, extra in (("vit", 1), ("deit", 2)):
        model, x = small(name).eval().double(), images(name).double()
        assert moved(model, x)
        model.stem.places.data[:, extra:] = 0.3
        assert not moved(model, x)


def test_mirrored_kernels_undo_a_mirror_but_not_the_steps_of_a_resnet():
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    sizes = {
        "convmixer": {"dim": 6, "depth": 2, "kernel_size": 3, "patch_size": 2},
        "resnet_cifar": {"dim": 4, "depth": 3},
    }
    for name, size in sizes.items():
        model = create_model(name, **size).eval().double()
        mirrored = copy.deepcopy(model)
        for w in (p for p in mirrored.parameters() if p.ndim == 4):
            w.data = w.data.flip(3)
        same = torch.allclose(mirrored(x.flip(3)), model(x), rtol=1e-9)
        assert same == (name == "convmixer")


def test_a_matrix_across_the_tokens_notices_their_order_and_without_it_nothing_does():
    for name, matrix in (("resmlp", "linear_tokens"), ("gmlp", "gate.proj")):
        model, x = small(name).eval().double(), images(name).double()
        matrices = [block.get_submodule(matrix) for block in model.blocks]
        for linear in matrices:
            linear.weight.data.zero_()
            linear.bias.data.fill_(0.7)
        assert not moved(model, x)
        matrices[0].weight.data.normal_()
        assert moved(model, x)


def test_the_skip_of_a_resnet_without_its_convolutions_is_a_smaller_image():
    model = small("resnet_cifar").eval()
    for block in model.blocks:
        block.norm2.weight.data.zero_()
        block.norm2.bias.data.zero_()
    x = images("resnet_cifar")
    stem, features = model.stem(x), model.forward_features(x)
    assert torch.equal(features[:, 6:10], stem[:, :, ::4, ::4])  # 4 channels in the middle of 16
    assert features.count_nonzero() == features[:, 6:10].count_nonzero()


def test_a_relative_says_how_many_layers_its_name_says():
    for layers in (20, 32, 44, 56, 110):
        model = create_model(f"resnet{layers}")
        counted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert len(counted) == layers


# Parameters that the papers print, in millions: ResNet's table 6, ResMLP's table 1, gMLP's table 1,
# DeiT's table 1 (Ti, S, B) and ViT's (B)
PRINTED = {
    "resnet20": "0.27",
    "resnet32": "0.46",
    "resnet44": "0.66",
    "resnet56": "0.85",
    "resnet110": "1.7",
    "vit_ti16": "5",
    "vit_s16": "22",
    "vit_b16": "86",
    "resmlp_s12": "15",
    "resmlp_s24": "30",
    "resmlp_s36": "45",
    "gmlp_ti16": "6",
    "gmlp_s16": "20",
    "gmlp_b16": "73",
}


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_are_those_that_the_papers_print(name: str):
    with torch.device("meta"):
        millions = sum(p.numel() for p in create_model(name).parameters()) / 1e6
    decimals = len(PRINTED[name].partition(".")[2])
    assert abs(millions - float(PRINTED[name])) < 0.75 * 10**-decimals
