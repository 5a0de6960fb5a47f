"""The sixteen image operations of RandAugment and its kin, each on a whole batch at once.

>>> import torch
>>> from mixerlib.data import OPERATIONS, apply_operations
>>> images = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
>>> operation = torch.tensor([[OPERATIONS.index("Rotate")], [OPERATIONS.index("Solarize")]])
>>> argument = torch.tensor([[-12.0], [128.0]], dtype=torch.float64)  # degrees, grey level
>>> turned, solarised = apply_operations(images, operation, argument)
>>> turned[0, 0, 0].item(), solarised[0, 0, 0].item()  # a corner from outside; 255 − 200
(0, 55)

Images are uint8 (B, 1 or 3, H, W), on any device. Every image has its own operation and argument,
and gets the bytes that `torchvision.transforms` gives one tensor on a CPU. That arithmetic goes in
single steps, each rounded by itself, so it can be done for a batch, and a GPU does the same.
(torchvision.transforms.v2 joins steps, and what comes out depends on the processor: in Color,
Contrast, Sharpness and AutoContrast some pixels differ by one grey level.) Chapter 12 shows what
the operations do.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from mixerlib._torchvision import import_torchvision

# The first fourteen are torchvision's, in its order. Those of a kind are neighbours, because images
# are sorted by operation, and each kind is one piece of work.
_MOVING = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_ENHANCING = ("Brightness", "Color", "Contrast", "Sharpness")
# The names of all operations, in the order of their numbers
OPERATIONS = (
    *("Identity", *_MOVING, *_ENHANCING),
    *("Posterize", "Solarize", "AutoContrast", "Equalize"),
    *("Invert", "SolarizeAdd"),  # timm only
)
# The operations that timm's RandAugment draws from
TIMM_OPERATIONS = tuple(name for name in OPERATIONS if name != "Identity")
MAGNITUDES = 31  # how many magnitudes torchvision's policies know, from 0 on
_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}
_OUTSIDE = 128  # where a moved image leaves nothing: timm's grey, unless it is given a mean colour


def torchvision_arguments(
    policy: str, operation: Tensor, magnitude: Tensor, negative: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """What "randaugment" or "trivialaugment" asks of operations at magnitudes 0 … 30, as float64.

    For the units see `apply_operations`. Equal to torchvision's numbers, bit by bit.

    Args:
        policy: "randaugment" or "trivialaugment".
        operation: numbers of `OPERATIONS`; the next two have its shape.
        magnitude: 0 … 30.
        negative: where an operation with two directions takes the other one.
        image_size: height and width in pixels.
    """
    height, width = image_size
    if policy == "randaugment":
        shear, turn, blend, bits = 0.3, 30.0, 0.9, 4
        right, down = 150.0 / 331.0 * width, 150.0 / 331.0 * height
    else:
        shear, turn, blend, bits = 0.99, 135.0, 0.99, 6
        right, down = 32.0, 32.0

    def between(first: float, last: float) -> Tensor:
        return torch.linspace(first, last, MAGNITUDES).double()[magnitude]

    sign = torch.where(negative, -1.0, 1.0).double()
    lost_bits = torch.arange(MAGNITUDES) / ((MAGNITUDES - 1) / bits)
    return _choose(
        operation,
        {
            "ShearX": sign * between(0.0, shear),
            "ShearY": sign * between(0.0, shear),
            "TranslateX": sign * between(0.0, right).floor(),  # whole pixels
            "TranslateY": sign * between(0.0, down).floor(),
            "Rotate": sign * between(0.0, turn),
            "Posterize": (8 - lost_bits.round()).double()[magnitude],
            "Solarize": between(255.0, 0.0),
        }
        | dict.fromkeys(_ENHANCING, 1 + sign * between(0.0, blend)),
    )


def timm_arguments(
    operation: Tensor, magnitude: Tensor, negative: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """What timm's RandAugment ("inc1") asks of operations at float64 magnitudes 0 … 10, as float64.

    Otherwise as `torchvision_arguments`. Translations are in fractions of a pixel too.
    """
    height, width = image_size
    level = magnitude / 10
    signed = torch.where(negative, -level, level)
    return _choose(
        operation,
        {
            "ShearX": signed * 0.3,
            "ShearY": signed * 0.3,
            "TranslateX": signed * 0.45 * width,
            "TranslateY": signed * 0.45 * height,
            "Rotate": signed * 30,
            "Posterize": 4 - (level * 4).floor(),
            "Solarize": 256 - (level * 256).floor(),
            "SolarizeAdd": (level * 110).floor(),
        }
        | dict.fromkeys(_ENHANCING, (1 + signed * 0.9).clamp(min=0.1)),
    )


def _choose(operation: Tensor, values: dict[str, Tensor]) -> Tensor:
    """For each operation its value in the table; 0 for one that takes no argument."""
    none = torch.zeros(operation.shape, dtype=torch.float64)
    table = torch.stack([values.get(name, none).expand(none.shape) for name in OPERATIONS])
    return table.gather(0, operation.unsqueeze(0)).squeeze(0)


def apply_operations(
    images: Tensor, operations: Tensor, arguments: Tensor, smooth: bool = False
) -> Tensor:
    """Images (B, C, H, W) after n operations each: `operations` int64, `arguments` float64 (B, n).

    `operations` number the names in `OPERATIONS`. Both tensors lie on the CPU, so that the sizes of
    the groups are known without asking the device. The arguments are: for ShearX and ShearY pixels
    of shift per pixel, for TranslateX and TranslateY pixels, for Rotate degrees counter-clockwise,
    for Brightness, Color, Contrast and Sharpness a factor (1 changes nothing), for Posterize the
    bits that are kept, for Solarize the level from which pixels are inverted, for SolarizeAdd what
    is added to pixels below 128. The others take none.

    What moves pixels takes the nearest one, and black from outside the image, in torchvision's
    directions. With `smooth` it is bilinear, takes grey from outside, and goes in timm's.
    """
    place = torch.arange(len(images))  # where each image of the sorted batch comes from
    for operation, argument in zip(operations.unbind(1), arguments.unbind(1), strict=True):
        order = operation[place].argsort(stable=True)
        place = place[order]
        images = images.index_select(0, order.to(images.device, non_blocking=True))  # a copy
        operation, argument = operation[place], argument[place]
        ends = torch.bincount(operation, minlength=len(OPERATIONS)).cumsum(0).tolist()
        for first, last, change in (
            ("ShearX", "Rotate", _move_smoothly if smooth else _move),
            ("Brightness", "Sharpness", _enhance),
            ("Posterize", "Posterize", _posterize),
            ("Solarize", "Solarize", _solarize),
            ("AutoContrast", "AutoContrast", _autocontrast),
            ("Equalize", "Equalize", _equalize),
            ("Invert", "Invert", _invert),
            ("SolarizeAdd", "SolarizeAdd", _solarize_add),
        ):
            group = slice(ends[_NUMBER[first] - 1], ends[_NUMBER[last]])
            if group.start < group.stop:
                images[group] = change(images[group], operation[group], argument[group])
    return images.index_select(0, place.argsort().to(images.device, non_blocking=True))


def take_pixels(pixels: Tensor, source: Tensor) -> Tensor:
    """Pixel p of image b becomes its pixel `source[b, p]`: (B, C, P) and int64 (B, Q) → (B, C, Q).

    A gather along the pixels, the same for every channel.
    """
    return pixels.gather(2, source.unsqueeze(1).expand(-1, pixels.shape[1], -1))


def _per_image(values: Tensor, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """One number an image, (B,) on the CPU → (B, 1, 1, 1) beside the images."""
    return values.to(dtype).to(images.device, non_blocking=True).view(-1, 1, 1, 1)


# Where the pixels go


def _move(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """Sheared, translated or rotated: every pixel a copy of another one, or black.

    Which one depends on the operation, its argument and the size alone, so it is worked out once.
    """
    kinds = list(zip(operation.tolist(), argument.tolist(), strict=True))
    number = {kind: number for number, kind in enumerate(sorted(set(kinds)))}
    tables = [
        _source_pixels(OPERATIONS[code], value, *images.shape[2:], images.device)
        for code, value in number
    ]
    kind = torch.tensor([number[kind] for kind in kinds])
    source = torch.stack(tables).index_select(0, kind.to(images.device, non_blocking=True))
    with_black = F.pad(images.flatten(2), (0, 1))  # one more pixel, for all that comes from outside
    return take_pixels(with_black, source).view_as(images)


@lru_cache(maxsize=512)  # all of TrivialAugment's five operations at 31 magnitudes, both directions
def _source_pixels(
    name: str, argument: float, height: int, width: int, device: torch.device
) -> Tensor:
    """For each pixel of the moved image the number of the pixel it shows, int64 (height · width,).

    Pixels are numbered line by line; height · width stands for outside. torchvision itself says it,
    on the CPU, by moving an image in which every pixel holds its own number.
    """
    functional = import_torchvision().transforms.functional
    numbers = torch.arange(1.0, height * width + 1).view(1, 1, height, width)
    degrees = torch.tensor(argument, dtype=torch.float64).atan().rad2deg().item()
    if name == "Rotate":
        moved = functional.rotate(numbers, argument)
    elif name == "ShearX":
        moved = functional.affine(numbers, 0.0, [0, 0], 1.0, [degrees, 0.0], center=[0, 0])
    elif name == "ShearY":
        moved = functional.affine(numbers, 0.0, [0, 0], 1.0, [0.0, degrees], center=[0, 0])
    elif name == "TranslateX":
        moved = functional.affine(numbers, 0.0, [int(argument), 0], 1.0, [0.0, 0.0])
    else:
        moved = functional.affine(numbers, 0.0, [0, int(argument)], 1.0, [0.0, 0.0])
    source = moved.flatten().long() - 1
    return source.where(source >= 0, height * width).to(device)


def _move_smoothly(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """Sheared, translated or rotated, bilinear between pixel centres; grey from outside.

    As timm and Pillow define it: a shear is about the top left corner, a rotation about the middle.
    """
    height, width = images.shape[2:]
    zero = torch.zeros_like(argument)
    shear_x, shear_y, right, down, turn = (
        torch.where(operation == _NUMBER[name], argument, zero) for name in _MOVING
    )
    cosine, sine = turn.deg2rad().cos(), turn.deg2rad().sin()
    middle_x = torch.where(operation == _NUMBER["Rotate"], width / 2, zero)
    middle_y = torch.where(operation == _NUMBER["Rotate"], height / 2, zero)
    numbers = (shear_x - sine, shear_y + sine, right, down, cosine, middle_x, middle_y)
    numbers = torch.stack(numbers).float().to(images.device, non_blocking=True)
    across, along, right, down, cosine, middle_x, middle_y = numbers.view(7, -1, 1, 1)
    y = torch.arange(height, device=images.device).view(-1, 1) + 0.5 - middle_y
    x = torch.arange(width, device=images.device) + 0.5 - middle_x
    source_y = along * x + cosine * y + middle_y + down  # (B, H, W)
    source_x = cosine * x + across * y + middle_x + right
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    grid = torch.stack([2 * source_x / width - 1, 2 * source_y / height - 1], dim=-1)
    moved = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return moved.where(inside.unsqueeze(1), _OUTSIDE).to(torch.uint8)


# What happens to the colours


def _enhance(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """factor · image + (1 − factor) · other, where other is the image without what is enhanced.

    For Brightness that is black, for Color the grey image, for Contrast the mean of the grey image,
    for Sharpness the image with neighbours averaged. A factor above 1 moves away from it.
    """
    ends = [int((operation <= _NUMBER[name]).sum()) for name in ("Brightness", "Color", "Contrast")]
    pixels = images.float()
    if images.shape[1] == 1:  # a grey image has no colour to change
        factor = factor.where(operation != _NUMBER["Color"], 1.0)
    if min(images.shape[2:]) <= 2:  # nor one of two pixels a neighbourhood
        factor = factor.where(operation != _NUMBER["Sharpness"], 1.0)
    other = torch.zeros_like(pixels)
    grey = _grey(pixels[ends[0] : ends[2]])
    other[ends[0] : ends[1]] = grey[: ends[1] - ends[0]]
    mean = grey[ends[1] - ends[0] :].sum(dim=(1, 2, 3), keepdim=True) / grey[:1].numel()
    other[ends[1] : ends[2]] = mean
    other[ends[2] :] = _blurred(pixels[ends[2] :])
    weight, rest = _per_image(factor, images), _per_image(1.0 - factor, images)
    return pixels.mul_(weight).add_(other.mul_(rest)).clamp_(0, 255).to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    """Luminance of float pixels (B, 3 or 1, H, W) in 0..255, rounded down: (B, 1, H, W)."""
    if pixels.shape[1] == 1:
        return pixels
    red, green, blue = pixels.split(1, dim=1)
    return (0.2989 * red).add_(0.587 * green).add_(0.114 * blue).floor_()


def _blurred(pixels: Tensor) -> Tensor:
    """Each inner pixel the mean of 3×3, itself counted five times, rounded; the border as it is."""
    if min(pixels.shape[2:]) <= 2:
        return pixels
    lines = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    total = lines[..., :-2] + lines[..., 1:-1] + lines[..., 2:] + 4 * pixels[..., 1:-1, 1:-1]
    blurred = pixels.clone()
    blurred[..., 1:-1, 1:-1] = (total / 13).round_()  # 13 is odd: a half never has to be rounded
    return blurred


def _posterize(images: Tensor, operation: Tensor, bits: Tensor) -> Tensor:
    return images & _per_image(256 - 2 ** (8 - bits), images, torch.uint8)


def _solarize(images: Tensor, operation: Tensor, level: Tensor) -> Tensor:
    return images ^ -(images.float() >= _per_image(level, images)).to(torch.uint8)  # −1 is 255


def _autocontrast(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    return import_torchvision().transforms.functional.autocontrast(images)


def _equalize(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    """Every channel with its levels spread so that each is about as frequent: Pillow's rule."""
    levels = images.flatten(2).long()
    counts = levels.new_zeros((*levels.shape[:2], 256), dtype=torch.int32)
    counts.scatter_add_(2, levels, torch.ones_like(levels, dtype=torch.int32))
    highest = counts.gather(2, levels.amax(dim=2, keepdim=True))  # pixels of the brightest level
    step = (levels.shape[2] - highest).div_(255, rounding_mode="floor")
    darker = counts.cumsum(dim=2, dtype=torch.int32) - counts
    table = (darker + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    unchanged = torch.arange(256, dtype=torch.int32, device=images.device)
    table = table.where(step > 0, unchanged).to(torch.uint8)
    return table.gather(2, levels).view_as(images)


def _invert(images: Tensor, operation: Tensor, argument: Tensor) -> Tensor:
    return ~images


def _solarize_add(images: Tensor, operation: Tensor, added: Tensor) -> Tensor:
    return images + (images < 128) * _per_image(added, images, torch.uint8)
