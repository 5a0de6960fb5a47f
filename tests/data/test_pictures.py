"""One photograph at a time: every mode and depth, other kinds of files, and broken ones."""

import io
import os
import socket
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixerlib._torchvision import import_torchvision
from mixerlib.data import DataDamaged, DataNotFound, pictures
from mixerlib.data.pictures import FORMATS, in_rgb, read_image, refuse_narrow

GREY = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 1))
DEEP = GREY.astype(np.uint16) * 257  # white is 65,535
COLORS = np.stack([GREY, GREY.T[:48, :48].repeat(2, 1)[:, :64], 255 - GREY], axis=2)


def saved(file: Path, image: Image.Image, kind: str, **options) -> str:
    image.save(file, kind, **options)
    return str(file)


def shades(file: str) -> np.ndarray:
    """The image's grey, in 0..255, once it is sure that it is grey."""
    pixels = np.asarray(read_image(file))
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].astype(int)


def converted(mode: str) -> Image.Image:
    image = Image.fromarray(COLORS)
    if mode in ("La", "RGBa"):
        return image.convert(mode.upper()).convert(mode)
    return image.convert("P" if mode == "PA" else "RGB").convert(mode)


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"],
)
def test_every_mode_of_eight_bits_becomes_red_green_and_blue(mode):
    pixels = np.asarray(in_rgb(converted(mode))).astype(int)
    expected = COLORS.astype(int)
    if mode in ("1", "L", "LA", "La"):
        expected = np.asarray(Image.fromarray(COLORS).convert("L")).astype(int)[..., None]
    most = {"1": 255, "P": 60, "PA": 60, "LAB": 60, "HSV": 6}.get(
        mode, 3
    )  # of few colours; a rough space
    assert pixels.shape == (48, 64, 3)
    assert abs(pixels - expected).max() <= most and abs((pixels - expected).mean()) < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", ["<u2", ">u2"])
def test_sixteen_bits_of_grey_keep_their_shades(tmp_path, kind, bits):
    if (kind, bits) == ("PNG", ">u2"):
        image = Image.fromarray(DEEP).convert("I").convert("I;16")
    else:
        image = Image.fromarray(DEEP.astype(bits))
    assert np.array_equal(shades(saved(tmp_path / "deep", image, kind)), GREY)


@pytest.mark.parametrize("white", [1, 3, 15, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_portable_greymaps_have_any_white(tmp_path, white, plain):
    values = np.rint(GREY * (white / 255)).astype(int)
    body = values.astype(">u2" if white > 255 else "u1").tobytes()
    if plain:
        body = "\n".join(" ".join(map(str, row)) for row in values).encode()
    (tmp_path / "x.pgm").write_bytes(f"P{2 if plain else 5}\n64 48\n{white}\n".encode() + body)
    expected = np.rint(values * (255 / white))
    assert abs(shades(str(tmp_path / "x.pgm")) - expected).max() <= 1


def tiff(file: Path, samples: bytes, **tags: int) -> str:
    """A TIFF of 64 × 48 as written by hand: one strip, and these tags."""
    names = {"bits": 258, "photometric": 262, "sign": 339}
    entries = {256: 64, 257: 48, 258: 8, 259: 1, 262: 1, 277: 1, 278: 48, 279: len(samples)}
    entries |= {names[name]: value for name, value in tags.items()}
    entries[273] = 8 + 2 + 12 * (len(entries) + 1) + 4
    directory = b"".join(
        number.to_bytes(2, "little")
        + (4).to_bytes(2, "little")
        + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for number, value in sorted(entries.items())
    )
    head = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    file.write_bytes(head + directory + bytes(4) + samples)
    return str(file)


def packed_in_12_bits(values: np.ndarray) -> bytes:
    first, second = values.reshape(-1, 2).astype(int).T
    three = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    return three.astype(np.uint8).tobytes()


def test_tiffs_of_12_bits_and_with_white_at_zero(tmp_path):
    twelve = np.rint(GREY * (4095 / 255)).astype(np.uint16)
    file = tmp_path / "x.tif"
    assert np.array_equal(shades(tiff(file, packed_in_12_bits(twelve), bits=12)), GREY)
    inverted = (65535 - DEEP).astype("<u2").tobytes()
    assert np.array_equal(shades(tiff(file, inverted, bits=16, photometric=0)), GREY)
    assert np.array_equal(shades(tiff(file, (255 - GREY).tobytes(), photometric=0)), GREY)
    assert np.array_equal(shades(tiff(file, DEEP.astype("<u2").tobytes(), bits=16)), GREY)


@pytest.mark.parametrize(
    "values, tags",
    [
        (GREY.astype("<f4") / 255, {"bits": 32, "sign": 3}),
        (DEEP.astype("<u4"), {"bits": 32}),
        (DEEP.astype("<i4"), {"bits": 32, "sign": 2}),
        ((DEEP // 2).astype("<i2"), {"bits": 16, "sign": 2}),
        ((GREY // 2).astype("i1"), {"bits": 8, "sign": 2}),
    ],
    ids=["float", "32", "32-signed", "16-signed", "8-signed"],
)
def test_values_whose_white_nobody_knows_are_refused(tmp_path, values, tags):
    file = tiff(tmp_path / "values.tif", values.tobytes(), **tags)
    with pytest.raises(
        DataDamaged, match=r"values\.tif cannot be decoded \(its values, of .* no k"
    ):
        read_image(file)


def test_a_portable_floatmap_is_refused(tmp_path):
    (tmp_path / "x.ppm").write_bytes(b"Pf\n64 48\n-1.0\n" + GREY.astype("<f4").tobytes())
    with pytest.raises(DataDamaged, match=r"x\.ppm .*mode F"):
        read_image(str(tmp_path / "x.ppm"))


RED, BLUE = (Image.new("RGB", (8, 6), color) for color in ("red", "blue"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_many_images_in_a_file_the_first_is_taken(tmp_path, kind):
    file = saved(tmp_path / "x", RED, kind, save_all=True, append_images=[BLUE])
    with Image.open(file) as image:
        assert image.n_frames == 2
    red = np.asarray(read_image(file))
    assert (red[..., 0] > 240).all() and (red[..., 1:] < 15).all()


@pytest.mark.parametrize("mode, kind", [("RGBA", "PNG"), ("LA", "PNG"), ("RGBA", "TIFF")])
def test_what_a_transparent_pixel_hides_is_shown_as_torchvision_shows_it(tmp_path, mode, kind):
    image = Image.fromarray(COLORS).convert(mode)
    image.putalpha(Image.fromarray(GREY))
    file = saved(tmp_path / "x", image, kind)
    assert np.array_equal(np.asarray(read_image(file)), by_torchvision(file))


def by_torchvision(file: str) -> np.ndarray:
    return np.asarray(import_torchvision().datasets.folder.pil_loader(file))


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(COLORS).quantize(16)
    for transparency in (3, bytes(range(0, 160, 10))):
        file = saved(tmp_path / "x.png", image, "PNG", transparency=transparency)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, which read_image does not show
            expected = by_torchvision(file)
        assert np.array_equal(np.asarray(read_image(file)), expected)


@pytest.mark.parametrize("orientation", [3, 6])
def test_nothing_is_turned_by_its_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path / "x.jpg", Image.fromarray(COLORS), "JPEG", exif=exif)
    assert np.array_equal(np.asarray(read_image(file)), by_torchvision(file))
    assert read_image(file).size == (64, 48)


# Files that are not meant


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 10 10
%%EndComments
"""


def test_an_eps_file_starts_no_program(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "x.JPEG").write_bytes(EPS)
    with pytest.raises(DataDamaged, match=r"x\.JPEG cannot be decoded \(no image of the kinds"):
        read_image(str(tmp_path / "x.JPEG"))
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "JPEG2000", "PALM", *FORMATS])
def test_only_the_kinds_that_are_meant_are_opened(tmp_path, kind):
    file = saved(tmp_path / "x.jpg", RED.convert("1" if kind == "PALM" else "RGB"), kind)
    if kind in FORMATS:
        assert read_image(file).size == RED.size
    else:
        with pytest.raises(DataDamaged, match=r"x\.jpg cannot be decoded \(no image of the kinds"):
            read_image(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        listening.bind("socket.png")
        for name in ("fifo", "folder", "socket"):
            with pytest.raises(DataDamaged, match=rf"(?i){name}\.png is a {name}, not a file"):
                read_image(str(tmp_path / f"{name}.png"))
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(DataDamaged, match=r"zero\.png is a device"):
        read_image(str(tmp_path / "zero.png"))
    (tmp_path / "nowhere.png").symlink_to("gone")
    with pytest.raises(
        DataNotFound, match=r"nowhere\.png is missing, or a link that leads nowhere"
    ):
        read_image(str(tmp_path / "nowhere.png"))
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(OSError, match=r"loop\.png"):
        read_image(str(tmp_path / "loop.png"))


# What is too large


@pytest.mark.parametrize("side", [9_460, 13_500])  # above the number that Pillow warns of; above
def test_too_many_pixels_are_refused_without_a_warning(tmp_path, side):  # that which it refuses
    file = tmp_path / "huge.png"
    small = io.BytesIO()
    Image.new("1", (8, 8)).save(small, "PNG")
    content = bytearray(small.getvalue())
    content[16:24] = side.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    file.write_bytes(content)
    with pytest.raises(DataDamaged, match=r"huge\.png has more than 89,478,485 pixels"):
        read_image(str(file))


def test_the_limit_is_pillows():
    assert pictures.MOST_PIXELS == (1024**3 // 4 // 3)


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path):
    with open(tmp_path / "x.png", "wb") as file:  # noqa: PTH123
        file.truncate(pictures.MOST_BYTES + 1)  # no disk space is used
    with pytest.raises(DataDamaged, match=r"x\.png has 1,073,741,825 bytes; up to"):
        read_image(str(tmp_path / "x.png"))


def test_a_narrow_image_does_not_grow_without_end():
    refuse_narrow("x.png", Image.new("1", (500, 375)), 256)
    refuse_narrow("x.png", Image.new("1", (1365 * 48, 48)), 256)
    with pytest.raises(DataDamaged, match=r"x\.png is too narrow: .* of 1 pixels resized to 256"):
        refuse_narrow("x.png", Image.new("1", (1, 1366)), 256)


def test_no_memory_says_so(tmp_path, monkeypatch):
    def full(image):
        raise MemoryError

    monkeypatch.setattr(pictures, "in_rgb", full)
    with pytest.raises(DataDamaged, match=r"x\.png cannot be decoded \(MemoryError\)"):
        read_image(saved(tmp_path / "x.png", RED, "PNG"))
