"""Pictures decoded and shrunk one at a time, those that cannot be read told apart."""

import numpy as np
import torch
from PIL import Image

from pyro_sib.data.images import each_image, resize
from pyro_sib.data.pictures.decode import decode_image
from pyro_sib.errors import InputError


def test_each_picture_is_made_of_or_says_why_not(tmp_path):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(random.integers(0, 2**16, (20, 30), dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(random.random((20, 30), dtype=np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    names = ["a.png", "b.jpg", "deep.png", "float.tif", "nowhere.png"]
    found = list(each_image([tmp_path / name for name in names], lambda pixels: resize(pixels[None], 8)))
    for name, one in zip(names, found, strict=True):
        if name in ("b.jpg", "nowhere.png"):
            assert isinstance(one, InputError)
            assert str(tmp_path / name) in str(one)
        else:
            assert torch.equal(one, resize(decode_image(tmp_path / name)[None], 8))
