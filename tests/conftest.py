"""For all tests: torchvision, and with it timm, can be imported whatever torch it was built for."""

from mixerlib.data import import_torchvision

import_torchvision()
