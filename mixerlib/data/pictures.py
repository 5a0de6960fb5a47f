"""One photograph: a file of a kind that is meant, opened and made red, green and blue of 8 bits.

As torchvision's `ImageFolder` does it: of an animation or of many pages the first is taken, what
lies under a transparent pixel is shown, colour profiles are not looked at, and no image is turned
by its EXIF orientation. (Pillow itself turns TIFFs.)
"""

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, TiffTags

from mixerlib.data.download import DataDamaged, DataNotFound

# What a file may hold, whatever its suffix. Pillow knows more kinds, and starts another program for
# some: an EPS file would run in ghostscript.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 89_478_485  # Pillow warns of more, as they may be an attack on the memory
MOST_BYTES = 2**30
OTHER_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = (TiffTags.lookup(number).value for number in (262, 258, 339))


def read_image(file: str) -> Image.Image:
    """The image in a file, in red, green and blue.

    Raises `DataDamaged`, with the file's name, when it is no ordinary file, cannot be decoded, or
    is too large, and `DataNotFound` when it is gone.
    """
    try:
        status = os.stat(file)  # noqa: PTH116 (a Path for each of a million images takes time)
        if not stat.S_ISREG(status.st_mode):  # to open one might wait for ever
            kind = OTHER_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise DataDamaged(f"{file} is {kind}, not a file with an image")
        if status.st_size > MOST_BYTES:
            raise DataDamaged(f"{file} has {status.st_size:,} bytes; up to {MOST_BYTES:,} are read")
        content = Path(file).read_bytes()
    except FileNotFoundError:
        raise DataNotFound(
            f"{file} is missing, or a link that leads nowhere: it was there when the data set was "
            f"opened"
        ) from None
    try:
        with warnings.catch_warnings():  # ImageNet has files with odd metadata and whole images
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            return in_rgb(image)
    except Image.DecompressionBombError:
        raise DataDamaged(
            f"{file} has more than {MOST_PIXELS:,} pixels, the most that are read; make it smaller"
        ) from None
    except Exception as error:  # Pillow has many kinds for broken files
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"no image of the kinds that are read: {', '.join(FORMATS)}"
        raise DataDamaged(f"{file} cannot be decoded ({reason}); replace it") from None


def in_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode of Pillow in red, green and blue of 8 bits.

    Pillow cuts off what 8 bits do not hold, so that 16-bit grey would be white. It is divided by
    257 instead, which maps 0..65535 to 0..255. `ValueError` for signed, floating-point and other
    values whose white nobody knows.
    """
    tags = getattr(image, "tag_v2", {})  # of a TIFF, which says more than the mode
    signed = any(kind != 1 for kind in _as_tuple(tags.get(_SAMPLE_FORMAT, 1)))
    if signed or image.mode == "F" or (image.mode == "I" and tags):
        raise ValueError(
            f"its values, of Pillow's mode {image.mode}, have no known white: "
            f"whole numbers of 8 or 16 bits without a sign are read"
        )
    if not image.mode.startswith("I"):
        return _from_8_bits(image)
    white = 2 ** _as_tuple(tags.get(_BITS, 16))[0] - 1
    values = np.asarray(image).astype(np.float64)
    if tags.get(_PHOTOMETRIC) == 0:  # there 0 is white, which Pillow minds for 8 bits only
        values = white - values
    return Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8)).convert("RGB")


def _from_8_bits(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # colours times their opacity; Pillow undoes it in this one step only
        image = image.convert("LA")
    if image.mode == "RGBa":
        image = image.convert("RGBA")
    return image.convert("RGB")


def _as_tuple(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def refuse_narrow(file: str, image: Image.Image, side: int) -> None:
    """Raise `DataDamaged` if an image whose shorter side becomes `side` would be too large.

    One pixel by ten thousand would become 256 by 2,560,000.
    """
    shorter, longer = sorted(image.size)
    if side * (longer * side / shorter) > MOST_PIXELS:
        raise DataDamaged(
            f"{file} is too narrow: with its shorter side of {shorter} pixels resized to {side} it "
            f"would have more than {MOST_PIXELS:,} pixels"
        )
