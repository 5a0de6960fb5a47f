"""What PyTorch puts into a model, how to get it out again, and which models are ours."""

import copy

import torch
from torch import nn
from torch.nn.utils import parametrize, prune


def computed_weights(model: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """The weights that are computed from others at every call, where a model is pruned, weight- or
    spectrally normalised or parametrized: the path of the module, the module, its attribute.
    """
    computed = []
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            computed += [(path, module, name) for name in module.parametrizations]
        for hook in module._forward_pre_hooks.values():
            name = getattr(hook, "_tensor_name", getattr(hook, "name", None))
            if isinstance(name, str) and isinstance(getattr(module, name, None), torch.Tensor):
                computed.append((path, module, name))
    return computed


def made_permanent(model: nn.Module) -> nn.Module:
    """A copy of a model in evaluation mode in which every weight is a parameter, and none computed:
    what pruning, weight norms and parametrizations give is kept, and how they gave it is not.
    """
    kept = {  # results of the last call, which cannot be copied as they are
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and value.grad_fn is not None
    }
    copied = copy.deepcopy(model, kept).eval()
    for _, module, name in computed_weights(copied):
        if parametrize.is_parametrized(module, name):
            _give_class_of_its_own(module)
            parametrize.remove_parametrizations(module, name)
        elif prune.is_pruned(module) and hasattr(module, f"{name}_mask"):
            prune.remove(module, name)
        else:
            _remove_norm(module, name)
    return copied


def _give_class_of_its_own(module: nn.Module) -> None:
    """A parametrized weight is a property of a class that torch makes for the module; a copy of the
    module shares the class, and taking the property out would take it from the original too.
    """
    shared = type(module)
    kept = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, kept)


def _remove_norm(module: nn.Module, name: str) -> None:
    """Take an older weight norm or spectral norm, which is a hook, out of a module."""
    for key, hook in list(module._forward_pre_hooks.items()):
        if getattr(hook, "name", None) == name and hasattr(hook, "remove"):
            hook.remove(module)
            del module._forward_pre_hooks[key]
    for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
        for key, hook in list(hooks.items()):
            if getattr(getattr(hook, "fn", hook), "name", None) == name:
                del hooks[key]


def is_hooked(module: nn.Module) -> bool:
    """Whether its user has hung something on its call, which a rewritten one would not do."""
    own = ("forward", "forward_features", "forward_head")
    rewritten = any(name in vars(module) for name in own)
    return bool(module._forward_hooks or module._forward_pre_hooks or rewritten)


def check_has_numbers(model: nn.Module) -> None:
    """Raises `ValueError` for a model of which some tensor has no numbers here, or other ones than
    plain tensors have: on the device "meta", sharded, quantized; or for what is no model.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"`model` must be a torch.nn.Module, not a {type(model).__name__}")
    kind = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(f"`model`, a {kind}, is a TorchScript program: give what it was made from")
    for name, value in model.state_dict(keep_vars=True).items():
        if type(value) not in (torch.Tensor, nn.Parameter):
            reason = f"is of type {type(value).__name__}, as in a sharded or quantized model"
        elif value.layout != torch.strided or value.is_quantized:
            reason = "is sparse or quantized"
        elif value.is_meta:
            reason = 'is on the device "meta", where no numbers are'
        else:
            continue
        raise ValueError(f"`model`, a {kind}, must have dense tensors: `{name}` {reason}")


def check_of_mixerlib(model: nn.Module) -> None:
    """Raises `ValueError` for another model than those of `mixerlib.models`, and as
    `check_has_numbers`.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"`model` must be a torch.nn.Module, not a {type(model).__name__}")
    if architecture(model) is None or not all(hasattr(model, n) for n in ("blocks", "head")):
        raise ValueError(
            f"`model`, a {type(model).__name__}, must be a model of mixerlib: give the one that it "
            "was made from"
        )
    check_has_numbers(model)


def architecture(model: nn.Module) -> str | None:
    """The name of the model's class; of the user's own subclass, that of mixerlib's class."""
    ours = (c for c in type(model).__mro__ if c.__module__.startswith("mixerlib.models."))
    return next((c.__name__ for c in ours), None)
