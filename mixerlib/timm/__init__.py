"""The models of mixerlib in timm's registry: `import mixerlib.timm` enters them.

>>> import mixerlib.timm
>>> import timm
>>> model = timm.create_model("splitmixer_i_256_8", num_classes=100, drop_rate=0.1)
>>> timm.list_models("splitmixer_iv*")
['splitmixer_iv', 'splitmixer_iv_256_8', 'splitmixer_iv_256_8_224']

Every name of `mixerlib.models.list_models` is entered that timm does not have already: its
`convmixer_768_32` and `convmixer_1536_20` stay its own, with its weights. A model keeps the options
of `mixerlib.models.create_model`, in timm's words `in_chans`, `img_size` and `act_layer` too, and
has timm's `global_pool`, `drop_rate` and `features_only`. It is a model of mixerlib still, with the
same names of tensors: `load_weights` fills it, and what timm trains fits `create_model`'s.

timm's own scripts run with these models when they are started so:

    python -m mixerlib.timm train.py FOLDER --model splitmixer_i_256_8_224

timm is not among what mixerlib needs: `pip install 'mixerlib[timm]'`. Without it this room raises
`ModuleNotFoundError`, which says so. There are no published weights of these models, so
`pretrained=True` is refused by timm.
"""

from mixerlib.timm.entries import register_models
from mixerlib.timm.networks import InTimm

__all__ = ["InTimm", "register_models"]

register_models()
