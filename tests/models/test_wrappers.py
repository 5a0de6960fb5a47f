"""Models inside what PyTorch puts round them: saved, loaded, folded and exported as themselves."""

import copy
import warnings

import pytest
import torch
from helpers import trained_look
from safetensors import safe_open
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from mixerlib import costs
from mixerlib.models import SplitMixer, create_model, unwrapped
from mixerlib.models.wrappers import is_hooked
from mixerlib.pages import steps
from mixerlib.speed.inference import check, fold, optimize_for_inference
from mixerlib.weights import load_weights, save_weights

# of torch.compile and of what it imports
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def compiled_blocks(model: nn.Module) -> nn.Module:
    """As PyTorch advises for networks of many equal blocks."""
    model = copy.deepcopy(model)
    for i, block in enumerate(model.blocks):
        model.blocks[i] = torch.compile(block)
    return model


def checkpointed_blocks(model: nn.Module) -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = copy.deepcopy(model)
    for i, block in enumerate(model.blocks):
        model.blocks[i] = checkpoint_wrapper(block)
    return model


WRAPS = {
    "compiled": torch.compile,
    "DataParallel": nn.DataParallel,
    "AveragedModel": AveragedModel,
    "compiled DataParallel": lambda model: torch.compile(nn.DataParallel(model)),
    "AveragedModel of compiled": lambda model: AveragedModel(torch.compile(model)),
    "compiled blocks": compiled_blocks,
    "checkpointed blocks": checkpointed_blocks,
    "DataParallel of compiled blocks": lambda model: nn.DataParallel(compiled_blocks(model)),
}
every_wrap = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())


def new(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return trained_look(create_model("splitmixer_i", dim=12, depth=2)).eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(s, t) for (a, s), (b, t) in pairs)


@every_wrap
def test_the_model_comes_out(wrap):
    model = new()
    inner = unwrapped(wrap(model))
    assert type(inner) is type(model) and same(inner, model)
    assert unwrapped(model) is model


@every_wrap
def test_weights_are_saved_and_loaded_as_the_models_own(wrap, tmp_path):
    model, path = new(), tmp_path / "weights.safetensors"
    save_weights(wrap(copy.deepcopy(model)), path)
    save_weights(model, tmp_path / "plain.safetensors")
    files = [safe_open(file, "pt") for file in (path, tmp_path / "plain.safetensors")]
    assert files[0].metadata() == files[1].metadata()
    assert list(files[0].keys()) == list(files[1].keys())
    wrapped = wrap(new(seed=1))
    assert not same(unwrapped(wrapped), model)
    assert load_weights(wrapped, path) == "mixerlib"
    assert same(unwrapped(wrapped), model)


@every_wrap
def test_a_wrapped_model_has_a_fast_form(wrap):
    model, images = new(), torch.randn(2, 3, 8, 8)
    assert type(fold(wrap(model), images)) is type(fold(model, images))
    fast = optimize_for_inference(wrap(model), images, compile=False, remember=False)
    assert check(model, fast, images) < 1e-5
    assert "SplitMixer" in fast.choice.setting


@every_wrap
def test_a_wrapped_model_costs_what_it_does_alone(wrap):
    model = new()
    wrapped, expected = wrap(model), costs.measure(model, 8)
    assert costs.measure(wrapped, 8) == expected and expected.macs["spatial mixing"]
    assert costs.by_scope(wrapped, 8) == costs.by_scope(model, 8)
    assert costs.mixing_steps(wrapped) == costs.mixing_steps(model)
    assert costs.measured_directions(wrapped) == costs.measured_directions(model)
    reach = costs.measured_reach(wrapped, torch.randn(1, 3, 8, 8), 2)
    assert (reach == costs.reach(12, costs.mixing_steps(model))).all()


def test_a_model_in_distributed_training_costs_what_it_does_alone():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(new())
        for module in (wrapped, torch.compile(wrapped)):
            assert costs.measure(module, 8) == costs.measure(new(), 8)
    finally:
        torch.distributed.destroy_process_group()


@every_wrap
def test_a_wrapped_model_is_drawn_and_takes_its_own_state_dict(wrap, tmp_path):
    model = new()
    wrapped = wrap(model)
    assert [s.path for s in steps(wrapped, 8)] == [s.path for s in steps(model, 8)]
    torch.save(wrapped.state_dict(), tmp_path / "w.pt")
    plain = new(seed=1)
    assert load_weights(plain, tmp_path / "w.pt") == "mixerlib"
    assert same(plain, unwrapped(wrapped))


def test_layers_out_of_their_wrappers_are_the_models_own():
    wrapped = compiled_blocks(new())
    inner = unwrapped(wrapped)
    pairs = zip(wrapped.parameters(), inner.parameters(), strict=True)
    assert all(one is other for one, other in pairs)
    assert hasattr(wrapped.blocks[0], "_orig_mod") and not hasattr(inner.blocks[0], "_orig_mod")
    for one, other in zip(wrapped.buffers(), inner.buffers(), strict=True):
        assert one is other


# Models that PyTorch has changed from within


def pruned(model: nn.Module) -> nn.Module:
    prune.l1_unstructured(model.stem[0], "weight", 0.5)
    prune.random_unstructured(model.blocks[0].spatial[0], "bias", 0.5)
    model(torch.randn(2, 3, 8, 8))  # its weights are now results of a graph
    return model


def normalised(model: nn.Module) -> nn.Module:
    nn.utils.parametrizations.weight_norm(model.head)
    nn.utils.parametrizations.spectral_norm(model.stem[0])
    return model.eval()


def normalised_by_hooks(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has newer ones
        nn.utils.weight_norm(model.head)
    nn.utils.spectral_norm(model.stem[0])
    model.train()(torch.randn(2, 3, 8, 8))
    return model.eval()


CHANGES = (pruned, normalised, normalised_by_hooks)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_computed_weights_are_saved_and_folded_as_they_come_out(change, tmp_path):
    model, images = change(new()), torch.randn(2, 3, 8, 8)
    state, expected = copy.deepcopy(model.state_dict()), model(images).detach()
    save_weights(model, tmp_path / "w.safetensors")
    plain = new(seed=1)
    load_weights(plain, tmp_path / "w.safetensors")
    torch.testing.assert_close(plain(images), expected)
    fast = optimize_for_inference(model, images, compile=False, remember=False)
    torch.testing.assert_close(fast(images), expected, rtol=1e-4, atol=1e-5)
    assert type(fold(model, images)) is type(fold(plain, images))
    # the model itself is as it was, and works on
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert torch.equal(model(images), expected)
    with pytest.raises(
        ValueError, match=r"must have its weights as parameters, and computes `\S+`"
    ):
        load_weights(model, tmp_path / "w.safetensors")


class Mine(SplitMixer):
    """A user's own subclass."""


def test_a_subclass_has_the_files_of_its_class(tmp_path):
    model = new()
    model.__class__ = Mine
    save_weights(model, tmp_path / "w.safetensors")
    assert load_weights(new(seed=1), tmp_path / "w.safetensors") == "mixerlib"
    assert load_weights(model, tmp_path / "w.safetensors") == "mixerlib"


def half_on_meta(model: nn.Module) -> nn.Module:
    model.head.to("meta")
    return model


def quantized(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


def traced(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(model, torch.randn(2, 3, 8, 8))


class Sharded(torch.Tensor):
    """Stands for a tensor of which a part is here, such as DTensor."""


def sharded(model: nn.Module) -> nn.Module:
    model.head.weight = nn.Parameter(model.head.weight.detach().as_subclass(Sharded))
    return model


OTHERS = {
    "on meta": lambda model: model.to("meta"),
    "half on meta": half_on_meta,
    "quantized": quantized,
    "traced": traced,
    "sharded": sharded,
    "in a Sequential": nn.Sequential,
    "symbolic": torch.fx.symbolic_trace,
    "exported": lambda model: torch.export.export(model, (torch.randn(2, 3, 8, 8),)).module(),
    "folded": lambda model: fold(model, torch.randn(2, 3, 8, 8)),
    "a part": lambda model: model.blocks[0],
    "another": lambda model: nn.Linear(2, 2),
    "none": lambda model: None,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_what_cannot_be_saved_or_filled_is_refused_at_once(make, tmp_path):
    save_weights(new(), tmp_path / "plain.safetensors")
    other = make(new())
    with pytest.raises(ValueError, match=r"^`model`") as told:
        save_weights(other, tmp_path / "w.safetensors")
    assert "\n" not in str(told.value) and not (tmp_path / "w.safetensors").exists()
    with pytest.raises(ValueError, match=r"^`model`"):
        load_weights(other, tmp_path / "plain.safetensors")


@pytest.mark.parametrize("name", ["on meta", "half on meta", "quantized", "traced", "none"])
def test_what_cannot_be_made_fast_is_refused_at_once(name):
    with pytest.raises(ValueError, match=r"^`model`"):
        optimize_for_inference(OTHERS[name](new()), torch.randn(2, 3, 8, 8), compile=False)


def test_a_model_that_diverged_has_no_fast_form():
    model, images = new(), torch.randn(2, 3, 8, 8)
    model.blocks[1].norm.running_mean[3] = torch.nan
    with pytest.raises(
        ValueError, match=r"finite weights, and `blocks\.1\.norm\.running_mean` has"
    ):
        optimize_for_inference(model, images, compile=False, remember=False)
    fast = optimize_for_inference(new(), images, compile=False, remember=False)
    with pytest.raises(ValueError, match="`model` is in a fast form already"):
        optimize_for_inference(fast, images, compile=False, remember=False)


@pytest.mark.parametrize("method", ["forward", "forward_features", "forward_head"])
def test_a_method_of_ones_own_on_a_model_is_not_lost_in_its_fast_form(method):
    model, images = create_model("convmixer", dim=8, depth=1).eval(), torch.randn(2, 3, 8, 8)
    plain = getattr(model, method)
    setattr(model, method, lambda x: 2 * plain(x))
    assert is_hooked(model)
    torch.testing.assert_close(fold(model, images)(images), model(images))
