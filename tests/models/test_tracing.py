"""Every model can be traced and counted by the tools that others use, and gives the same outputs.

Traced graphs are run on another batch than they were traced with: nothing of that one is in them.
"""

import copy
import logging
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from mixerlib import costs
from mixerlib._torchvision import import_torchvision
from mixerlib.models import create_model, list_models, model_entry

OPTIONS = {  # of the models beside the registry's names: options that change the graph
    "splitmixer_i": [{"ratio": 1}],
    "splitmixer_ii": [{"segments": 3}, {"segments": 5}, {"segments": 3, "shuffle": True}],
    "splitmixer_iii": [{"shuffle": True}],
    "splitmixer_iv": [{"segments": 3}, {"segments": 5}, {"segments": 2, "shuffle": True}],
    "splitmixer_v": [{"ratio": "6/11", "dim": 11}, {"ratio": "51/100", "dim": 5}],
    "splitmixer_3d": [{"segments": 3}],
    "splitmixer_i_ablated": [
        {"norm": "layer", "residual": "both"},
        {"mixes": "spatial", "residual": "none"},
        {"mixes": "channels", "segments_mixed": "first"},
    ],
}
CASES = [(name, {}) for name in list_models()]
CASES += [(name, options) for name, several in OPTIONS.items() for options in several]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=str)
# a preset has the graph of its family, so the slower tools are asked about families alone
FAMILIES = [case for case in CASES if case[0] == model_entry(case[0]).family]
CONVOLUTIONAL = [case for case in FAMILIES if case[0] != "mlp_mixer"]
every_family = pytest.mark.parametrize(("name", "options"), FAMILIES, ids=str)


def model_and_images(name: str, options: dict) -> tuple[nn.Module, torch.Tensor]:
    """A model in evaluation mode, 12 channels and three blocks; two images of 2×3 patches."""
    torch.manual_seed(0)
    p = model_entry(name).defaults["patch_size"]
    if "image_size" in model_entry(name).defaults:
        options = {"image_size": (2 * p, 3 * p)} | options
    if "tokens_dim" in model_entry(name).defaults:
        options = {"tokens_dim": 5, "channels_dim": 20} | options
    model = create_model(name, **({"dim": 12, "depth": 3} | options)).eval()
    return model, torch.randn(2, 3, 2 * p, 3 * p)


@every_case
def test_fx(name: str, options: dict):
    model, x = model_and_images(name, options)
    traced = torch.fx.symbolic_trace(model)
    other = torch.randn(5, *x.shape[1:])
    assert torch.equal(traced(other), model(other))
    with torch.no_grad():
        assert torch.equal(traced(other), model(other))
    with pytest.raises(ValueError, match="must be a batch of images"):  # the check is in the graph
        traced(x[:, :2])
    with pytest.raises(ValueError, match="must divide the image's height"):
        traced(x[:, :, 1:])
    if getattr(model, "image_size", None):
        with pytest.raises(ValueError, match="must have `image_size`="):
            traced(torch.cat((x, x), dim=2))


@every_case
def test_torchvisions_feature_extractor(name: str, options: dict):
    import_torchvision()
    from torchvision.models.feature_extraction import create_feature_extractor

    model, x = model_and_images(name, options)
    features = create_feature_extractor(model, {"blocks.0": "first", "head": "logits"})(x)
    assert torch.equal(features["first"], model.blocks[0](model.stem(x)))
    assert torch.equal(features["logits"], model(x))


@every_family
def test_export(name: str, options: dict):
    model, x = model_and_images(name, options)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own deprecations
        program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
        exported = program.module()
    other = torch.randn(5, *x.shape[1:])
    torch.testing.assert_close(exported(other), model(other), rtol=1e-5, atol=1e-6)


@every_family
def test_jit_trace(name: str, options: dict):
    model, x = model_and_images(name, options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # of tracing itself
        traced = torch.jit.trace(model, x)  # traces twice, with and without autograd
    other = torch.randn(5, *x.shape[1:])
    torch.testing.assert_close(traced(other), model(other), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="must divide"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.jit.trace(model, x[:, :, 1:])


@every_family
def test_tensorboards_graph(name: str, options: dict, tmp_path: Path):
    pytest.importorskip("tensorboard", reason="needs the extra `tensorboard`")
    from torch.utils.tensorboard import SummaryWriter

    model, x = model_and_images(name, options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        with SummaryWriter(str(tmp_path)) as writer:
            writer.add_graph(model, x)
    assert sum(len(file.read_bytes()) for file in tmp_path.iterdir()) > 1000


# Counters that look at modules: each convolution is called, so each is seen


@every_family
def test_every_layer_with_weights_is_called_once(name: str, options: dict):
    """What thop, ptflops and torchinfo rely on: hooks on leaves see every weight at work."""
    model, x = model_and_images(name, options)
    calls: dict[str, int] = {}
    for path, module in model.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            calls[path] = 0
            module.register_forward_hook(
                lambda *_, path=path: calls.__setitem__(path, calls[path] + 1)
            )
    model(x)
    assert set(calls.values()) == {1}
    owners = {key.rpartition(".")[0] for key in model.state_dict()}
    assert calls.keys() == owners


def biases(model: nn.Module, x: torch.Tensor) -> int:
    """Biases added to the outputs of convolutions and linear layers, for one image."""
    added = 0

    def hook(module: nn.Module, _, output: torch.Tensor) -> None:
        nonlocal added
        added += output.numel() // len(x)

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(hook)
    model(x)
    return added


@every_family
def test_thop(name: str, options: dict):
    thop = pytest.importorskip("thop", reason="needs the extra `count`")
    model, x = model_and_images(name, options)
    measured = costs.measure(model, tuple(x.shape[2:]))
    counts = thop.profile(copy.deepcopy(model), (x[:1],), verbose=False)[0]
    by_hand = costs.macs(measured) + 4 * measured.total("normalized")  # as chapter 04 says
    if measured.total("buffers") == 0:  # LayerNorm
        assert counts >= costs.macs(measured)
    else:
        assert counts == by_hand


@pytest.mark.parametrize(("name", "options"), CONVOLUTIONAL, ids=str)
def test_torchinfo(name: str, options: dict):
    """Of linear layers torchinfo takes the weights once, so MLP-Mixer is not for it."""
    torchinfo = pytest.importorskip("torchinfo", reason="needs the extra `count`")
    model, x = model_and_images(name, options)
    macs = costs.macs(costs.measure(model, tuple(x.shape[2:])))
    counts = torchinfo.summary(copy.deepcopy(model), input_data=x[:1], verbose=0).total_mult_adds
    assert macs <= counts <= macs + biases(model, x) + sum(p.numel() for p in model.parameters())


@every_family
def test_ptflops(name: str, options: dict, caplog):
    import_torchvision()
    ptflops = pytest.importorskip("ptflops", reason="needs the extra `count`")
    model, x = model_and_images(name, options)
    measured = costs.measure(model, tuple(x.shape[2:]))
    with caplog.at_level(logging.CRITICAL):
        counts, _ = ptflops.get_model_complexity_info(
            copy.deepcopy(model), tuple(x.shape[1:]), as_strings=False, print_per_layer_stat=False
        )
    macs = costs.macs(measured)
    assert macs <= counts <= macs + 10 * biases(model, x)  # biases, norms, activations, sums


def test_no_check_of_a_model_looks_at_a_proxy():
    """A graph has its checks as calls of one function each, which do not look inside."""
    model, _ = model_and_images("mlp_mixer", {})
    code = torch.fx.symbolic_trace(model).code
    assert len(re.findall(r"checks_images\(", code)) == 1
    assert len(re.findall(r"checks_sides\(", code)) == 1
