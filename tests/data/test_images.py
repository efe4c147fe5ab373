"""Decoding and resizing."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.data import images as images_module
from pyro_sib.data.images import resize, to_images
from pyro_sib.data.pictures.decode import decode_image
from pyro_sib.errors import InputError


def smooth(height=20, width=30):
    v, u = np.mgrid[:height, :width]
    return np.stack([4 * v, 4 * u, 2 * (u + v)], -1).astype(np.uint8)


def save(path, image, **options):
    Image.fromarray(image).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_lossless(tmp_path, suffix):
    image = decode_image(save(tmp_path / f"a.{suffix}", smooth()))
    assert torch.equal(image, torch.from_numpy(smooth()).permute(2, 0, 1))


def test_jpeg_is_close(tmp_path):
    image = decode_image(save(tmp_path / "a.jpg", smooth(), quality=95))
    assert image.shape == (3, 20, 30)
    assert (image.float() - torch.from_numpy(smooth()).permute(2, 0, 1).float()).abs().mean() < 3


def test_suffix_does_not_matter(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "b.jpg")
    assert decode_image(tmp_path / "b.jpg").shape == (3, 20, 30)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.fromarray(smooth()).convert(mode).save(tmp_path / f"a.{suffix}")
    image = decode_image(tmp_path / f"a.{suffix}")
    assert image.shape == (3, 20, 30)
    assert image.dtype == torch.uint8


def test_palette_with_transparency_gives_no_warning(tmp_path):
    image = Image.fromarray(smooth()).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert decode_image(tmp_path / "a.png").shape == (3, 20, 30)


def test_grey_jpeg(tmp_path):
    image = decode_image(save(tmp_path / "a.jpg", smooth()[..., 0]))
    assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("padding", [0, 500])
def test_truncated(tmp_path, suffix, keep, padding):
    noise = np.random.default_rng(0).integers(0, 256, (84, 84, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)] + bytes(padding))
    with pytest.raises(InputError, match=rf"a\.{suffix} is (truncated|not a readable image)") as caught:
        decode_image(path)
    assert "\n" not in str(caught.value)


def test_bytes_after_the_end_of_a_jpeg_are_allowed(tmp_path):
    path = save(tmp_path / "a.jpg", smooth())
    whole = decode_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 16)
    assert torch.equal(decode_image(path), whole)


def test_damaged_jpeg_header(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8 damaged \xff\xd9")
    with pytest.raises(InputError, match="not a readable image"):
        decode_image(path)


@pytest.mark.parametrize(("content", "match"), [(b"<html>", "web page"), (b"", "is empty"), (b"text", "readable")])
def test_no_image(tmp_path, content, match):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        decode_image(tmp_path / "a.jpg")
    assert "BytesIO" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        decode_image(tmp_path / "a.jpg")


def test_resize_averages_rather_than_skips():
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 255
    image = board.to(torch.uint8).expand(1, 3, 16, 16)
    small = resize(image, 4)
    assert small.shape == (1, 3, 4, 4)
    assert (small.float() - 127.5).abs().max() < 12


@pytest.mark.parametrize(("size", "method"), [(42, Image.Resampling.BOX), (100, Image.Resampling.BILINEAR)])
def test_resize_agrees_with_pillow(size, method):
    image = smooth(84, 84)
    expected = np.asarray(Image.fromarray(image).resize((size, size), method)).astype(int)
    found = resize(torch.from_numpy(image).permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).numpy().astype(int)
    assert abs(found - expected).max() <= 1


def test_files_and_arrays_agree_across_chunks(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (300, 6, 6, 3), dtype=np.uint8)
    paths = []
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="bmp")
        (tmp_path / f"{i}.bmp").write_bytes(buffer.getvalue())
        paths.append(str(tmp_path / f"{i}.bmp"))
    done = []
    from_files = to_images(np.array(paths, dtype=object), 4, done.append)
    images.setflags(write=False)
    assert torch.equal(from_files, to_images(images, 4))
    assert sum(done) == 300


@pytest.mark.parametrize("shape", [(50, 70), (33, 31), (31, 200)])
def test_large_images_are_resized_band_by_band_to_the_same_bits(monkeypatch, shape):
    image = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8)
    whole = [resize(image, size) for size in (31, 10, 1)]
    monkeypatch.setattr(images_module, "_WHOLE", 0)
    for expected in whole:
        assert torch.equal(resize(image, expected.shape[-1]), expected)


@pytest.fixture
def mixed(tmp_path):
    """Paths of pictures of many sizes and depths."""
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{i}.png") for i in range(300)]
    for i, path in enumerate(paths):
        grey = rng.integers(0, 256, rng.integers(3, 30, 2), dtype=np.uint8)
        Image.fromarray(grey.astype(np.uint16) * 257 if i % 7 == 0 else grey).save(path)
    return np.array(paths, dtype=object)


def test_the_number_of_threads_changes_nothing(mixed, monkeypatch):
    alone = to_images(mixed, 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(images_module, "_CHUNK", 16)
    monkeypatch.setattr(images_module, "_PIXELS_AT_ONCE", 500)
    assert torch.equal(to_images(mixed, 8), alone)
    monkeypatch.setattr(images_module, "_SMALL", 200)
    assert torch.equal(to_images(mixed, 8), alone)


def test_threads_hold_no_more_pixels_than_there_is_room_for(mixed, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    monkeypatch.setattr(images_module, "_CHUNK", 16)
    monkeypatch.setattr(images_module, "_PIXELS_AT_ONCE", 500)
    monkeypatch.setattr(images_module, "_SMALL", 0)
    held, most, lock = [0], [0], threading.Lock()
    put = images_module._put

    def counted(place, picture, size, fit):
        pixels = 0 if picture.pixels is None else picture.pixels[0].numel()
        with lock:
            held[0] += pixels
            most[0] = max(most[0], held[0])
        put(place, picture, size, fit)
        with lock:
            held[0] -= pixels

    monkeypatch.setattr(images_module, "_put", counted)
    to_images(mixed, 8)
    # One that is larger than all the room is alone in it.
    assert 0 < most[0] <= 29 * 29
