"""Pictures as people have them: depths, turns, transparency, frames, trailing bytes, sizes."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pyro_sib.data.images import fill_deferred, to_images
from pyro_sib.data.pictures.census import Census
from pyro_sib.data.pictures.decode import decode_image
from pyro_sib.data.pictures.jpeg_head import plain_jpeg_pixels
from pyro_sib.errors import InputError
from tests.data.files import pack_12_bits, png16, tiff

GREY = (np.arange(48).reshape(6, 8) * 5 + 3).astype(np.uint8)
"""Values 3 to 238, none twice."""


def decode(path, content):
    path.write_bytes(content)
    return decode_image(path)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def is_grey(image, grey=GREY):
    return torch.equal(image, torch.from_numpy(grey.astype(np.uint8)).expand(3, *grey.shape))


DEEP = {
    "16-bit png": lambda: saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"),
    "16-bit png, shifted": lambda: saved(Image.fromarray(GREY.astype(np.uint16) << 8), "PNG"),
    "16-bit tiff": lambda: saved(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"),
    "16-bit lzw tiff": lambda: saved(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF", compression="tiff_lzw"),
    "16-bit big-endian tiff": lambda: saved(Image.fromarray((GREY.astype(np.uint16) * 257).astype(">u2")), "TIFF"),
    "16-bit pgm": lambda: saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PPM"),
    "16-bit white-is-zero tiff": lambda: tiff(65535 - GREY.astype(np.uint16) * 257, 16, photometric=0),
    "signed 16-bit tiff": lambda: tiff((GREY.astype(np.int16) * 128), 16, sample_format=2),
    "signed 16-bit tiff below zero": lambda: tiff(
        (GREY.astype(np.int32) * 256 - 32768).astype(np.int16), 16, sample_format=2
    ),
    "12-bit tiff": lambda: tiff(GREY, 12, packed=pack_12_bits(GREY.astype(np.uint16) * 16)),
    "signed 32-bit tiff of bytes": lambda: saved(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "signed 32-bit tiff of 16": lambda: saved(Image.fromarray(GREY.astype(np.int32) * 257), "TIFF"),
    "signed 32-bit tiff": lambda: saved(Image.fromarray(GREY.astype(np.int32) << 23), "TIFF"),
    "unsigned 32-bit tiff": lambda: tiff(GREY.astype(np.uint32) << 24, 32),
    "float tiff of shares": lambda: saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF"),
    "float tiff of bytes": lambda: saved(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
    "float tiff of 16": lambda: saved(Image.fromarray(GREY.astype(np.float32) * 257), "TIFF"),
    "16-bit colour png": lambda: png16(np.repeat(GREY[..., None], 3, -1).astype(np.uint16) * 257),
    "16-bit grey png with alpha": lambda: png16(
        np.stack([GREY, np.full_like(GREY, 255)], -1).astype(np.uint16) * 257
    ),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_pictures_are_those_of_8_bits(tmp_path, name):
    assert is_grey(decode(tmp_path / "a.tif", DEEP[name]()))


def test_the_same_picture_at_8_and_at_16_bits_after_resizing(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (40, 52), dtype=np.uint8)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    Image.fromarray(grey).save(paths[0])
    Image.fromarray(grey.astype(np.uint16) * 257).save(paths[1])
    shallow, deep = to_images(np.array(list(map(str, paths)), dtype=object), 9)
    assert torch.equal(shallow, deep)


def write_all(folder, arrays):
    paths = [folder / f"{i}.tif" for i in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    return np.array([str(path) for path in paths], dtype=object)


def test_one_range_serves_all_splits_of_a_data_set(tmp_path):
    dark = np.full((6, 8), 0.5, np.float32)
    (tmp_path / "b").mkdir()
    rows = [write_all(tmp_path, [dark, GREY.astype(np.float32)]), write_all(tmp_path / "b", [dark])]
    census, done = Census(), []
    images = [to_images(part, 6, done.append, census) for part in rows]
    assert sum(done) == 0
    fill_deferred(census, 6, done.append)
    assert sum(done) == 3
    # Alone, half of 0..1 would have been grey.
    assert images[0][0].max() == images[1][0].max() == 0
    assert census.notes() == ("3 floating-point pictures scaled from 0..255 to 8 bits (values 0.5 to 238)",)


def test_12_bits_in_16_stay_dark_and_are_said_to(tmp_path):
    census = Census()
    images = to_images(write_all(tmp_path, [GREY.astype(np.uint16) * 16]), 8, lambda done: None, census)
    fill_deferred(census, 8)
    assert images.max() == 238 // 16
    (note,) = census.notes()
    assert note.startswith(
        "1 16-bit pictures scaled from 0..65535 to 8 bits (values 48 to 3808); they come out dark"
    )


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[0.0, np.nan]], np.float32), "NaN or infinite"),
        (np.array([[0.0, np.inf]], np.float32), "NaN or infinite"),
        (np.array([[-0.1, 1.0]], np.float32), r"values from -0.1 to 1, which no usual range holds \(0..1 or "),
        (np.array([[0, 1e6]], np.float32), "which no usual range holds"),
        (np.array([[0, 200]], np.uint16), "all of these pictures would be black"),
        (np.array([[0, 70000]], np.int32), "all of these pictures would be black"),
    ],
)
def test_what_has_no_8_bit_form_is_refused(tmp_path, array, says):
    Image.fromarray(array).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=f"a.tif .*{says}") as caught:
        decode_image(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


FORMS = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
}
_WAYS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, form, orientation):
    upright = Image.fromarray(GREY.repeat(8, 0).repeat(8, 1)).convert("RGB")
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose[_WAYS[orientation - 2]])
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(tmp_path / "a", saved(stored, form.split()[0], exif=exif, **FORMS[form]))
    expected = torch.from_numpy(np.array(upright)).permute(2, 0, 1)
    assert found.shape == expected.shape
    assert (found.int() - expected.int()).abs().max() < (8 if form == "JPEG" else 1)


def test_turns_frames_and_transparency_are_counted(tmp_path):
    picture, exif = Image.fromarray(GREY).convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    picture.save(tmp_path / "turned.tif", exif=exif)
    picture.save(tmp_path / "frames.gif", save_all=True, append_images=[picture.rotate(180)])
    picture.save(tmp_path / "frames.tif", save_all=True, append_images=[picture.rotate(180)])
    picture.putalpha(100)
    picture.save(tmp_path / "alpha.png")
    (tmp_path / "deep.png").write_bytes(png16(np.zeros((2, 2, 3), np.uint16)))
    census = Census()
    to_images(np.array([str(p) for p in sorted(tmp_path.iterdir())], dtype=object), 4, lambda done: None, census)
    assert census.notes() == (
        "2 pictures turned as their EXIF orientation says",
        "2 files hold several frames, of which the first was read",
        "1 pictures with transparency laid on white",
        "1 pictures of 16 bits a colour scaled to the upper 8",
    )


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP"])
def test_the_first_frame_is_read(tmp_path, form):
    first, second = Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())
    options = {"lossless": True} if form == "WEBP" else {}
    assert is_grey(decode(tmp_path / "a", saved(first, form, save_all=True, append_images=[second], **options)))


def test_transparency_shows_white(tmp_path):
    alpha = np.zeros_like(GREY)
    alpha[:, 4:] = 255
    picture = np.stack([GREY, GREY, GREY, alpha], -1)
    shown = np.where(alpha > 0, GREY, 255)
    assert is_grey(decode(tmp_path / "a", saved(Image.fromarray(picture), "PNG")), shown)
    assert is_grey(decode(tmp_path / "a", saved(Image.fromarray(picture[..., 2:]), "PNG")), shown)
    palette = saved(Image.fromarray(GREY), "GIF", transparency=int(GREY[0, 0]))
    assert is_grey(decode(tmp_path / "a", palette), np.where(GREY[0, 0] == GREY, 255, GREY))
    # An alpha of zeros everywhere hides all: its writer did not mean it.
    picture[..., 3] = 0
    assert is_grey(decode(tmp_path / "a", saved(Image.fromarray(picture), "PNG")))


def test_cmyk_and_one_bit(tmp_path):
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for content in (saved(red, "JPEG", quality=100), saved(red, "TIFF")):
        assert (decode(tmp_path / "a", content)[:, 8, 8] - torch.tensor([255.0, 0, 0])).abs().max() < 6
    assert is_grey(decode(tmp_path / "a", saved(Image.fromarray(GREY > 100), "PNG")), (GREY > 100) * 255)


@pytest.mark.parametrize("tail", [b"junk" * 5000, bytes(70_000), b"\xff\xd8\xff\xd9" * 9])
def test_bytes_after_the_end_are_no_part_of_a_picture(tmp_path, tail):
    whole = saved(Image.fromarray(GREY), "JPEG")
    assert torch.equal(decode(tmp_path / "a", whole + tail), decode(tmp_path / "a", whole))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("padding", [bytes(9000), b"\xff" * 9000])
def test_a_download_that_stopped_in_a_file_of_full_size(tmp_path, progressive, padding):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (84, 84, 3), dtype=np.uint8))
    content = saved(noise, "JPEG", progressive=progressive)
    with pytest.raises(InputError, match="a is truncated"):
        decode(tmp_path / "a", content[: len(content) // 2] + padding)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF"])
def test_pillows_limit_is_named(tmp_path, monkeypatch, form):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(
        InputError, match=r"a has 48 pixels, and Pillow decodes at most 40, .* make the picture smaller"
    ):
        decode(tmp_path / "a", saved(Image.fromarray(GREY), form))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # beyond it, but not by twice: Pillow warns and decodes
    assert decode(tmp_path / "a", saved(Image.fromarray(GREY), form)).shape == (3, 6, 8)


def test_a_plain_jpegs_size_is_that_of_its_decoder(tmp_path):
    for image in (Image.fromarray(GREY), Image.fromarray(GREY).convert("RGB"), Image.new("CMYK", (8, 6))):
        for progressive in (False, True):
            content = saved(image, "JPEG", progressive=progressive, comment=b"any")
            assert plain_jpeg_pixels(content) == 48
            assert plain_jpeg_pixels(content[:100]) is None
    assert plain_jpeg_pixels(saved(Image.fromarray(GREY), "JPEG", exif=b"Exif\0\0MM\0*")) is None
    assert plain_jpeg_pixels(saved(Image.fromarray(GREY), "PNG")) is None


def test_damaged_exif_does_not_matter(tmp_path):
    content = saved(Image.fromarray(GREY), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff damaged")
    assert is_grey(decode(tmp_path / "a", content))


WRITABLE = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr"),
    "JPEG": ("L", "RGB"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P", "RGB"),
    "WEBP": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "TGA": ("L", "P", "RGB", "RGBA"),
}


@given(
    choice=st.sampled_from([(form, mode) for form, modes in WRITABLE.items() for mode in modes]),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.integers(1, 20),
    brightness=st.integers(2, 255),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
    tail=st.binary(max_size=30),
)
@settings(max_examples=80, deadline=None)
def test_any_picture_is_read_rightly_or_refused_in_one_line(
    tmp_path_factory, choice, shape, size, brightness, keep, tail
):
    form, mode = choice
    grey = np.linspace(0, brightness, shape[0] * shape[1]).reshape(shape).astype(np.uint8)
    deep = {"I;16": grey.astype(np.uint16) * 257, "I": grey.astype(np.int32), "F": grey.astype(np.float32)}
    picture = Image.fromarray(deep[mode]) if mode in deep else Image.fromarray(grey).convert(mode)
    content = saved(
        picture, form, **{"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    )
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content[: int(len(content) * keep)] + tail)
    try:
        found = decode_image(path)
    except InputError:
        assert keep < 1
        return
    if keep < 1:
        return
    expected = np.array(picture.convert("L")) if mode == "1" else grey
    assert found.shape == (3, *shape)
    assert np.abs(found.numpy().astype(int) - expected).max() <= (20 if form == "JPEG" else 2)
    assert to_images(np.array([str(path)], dtype=object), size).shape == (1, 3, size, size)
