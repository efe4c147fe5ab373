"""The stages that work on images: stage 1, feature extraction, decoding."""

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor

from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import CosineClassifier
from pyro_sib.data import Split, read_images
from pyro_sib.experiments.speed.floor import network_flops
from pyro_sib.experiments.speed.row import Bench, Progress, Row, rows_of
from pyro_sib.experiments.speed.timing import Clock, Work, interleaved, peak_mib
from pyro_sib.features.augment import normalize
from pyro_sib.features.pretrain import choose_precision, extract
from pyro_sib.features.pretrain import pretrain as train_backbone
from pyro_sib.features.recipe import Precision, PretrainSettings

_CLASSES, _BATCH = 64, 64


def pretrain(bench: Bench, progress: Progress) -> Iterator[Row]:
    """A batch of stage 1: the median time between two, the first few left out.

    In params, the precision that `auto` chooses, and a bare loop of forward and backward of one ready batch in it:
    what stage 1 takes beside that are images, augmentation and the optimizer's step.
    """
    cases = _network_cases(bench)
    for done, (backbone, size) in enumerate(cases):
        batches = 6 if bench.quick else (40 if bench.device.type == "cuda" else 12)
        precision = choose_precision("auto", bench.device, size)
        seconds = median(_batch_times(backbone, size, batches, bench.device)[2:])
        bare = median(_bare_times(backbone, size, batches, precision, bench.device)[2:])
        flops = _BATCH * network_flops(backbone, size, training=True)
        peak = peak_mib(partial(_batch_times, backbone, size, 2, bench.device), bench.device, bench.threads)
        params = {
            "backbone": backbone,
            "size": size,
            "images": _BATCH,
            "precision": precision,
            "images_per_s": round(_BATCH / seconds, 1),
            "bare_images_per_s": round(_BATCH / bare, 1),
            "share_of_bare_rate": round(bare / seconds, 3),
        }
        floor = bench.rates.floor(flops, _BATCH * 3 * size**2, network=True)
        yield Row("pretrain", params, seconds, floor_s=floor, peak_mib=peak)
        progress(done + 1, len(cases))


def _network_cases(bench: Bench) -> list[tuple[str, int]]:
    return [(name, size) for name in bench.backbones for size in ((16,) if bench.quick else (42, 84))]


def _images(count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def _batch_times(backbone: str, size: int, batches: int, device: torch.device) -> list[float]:
    count = batches * _BATCH
    names = tuple(map(str, range(_CLASSES)))
    train = Split(_images(count, size), torch.arange(count) * _CLASSES // count, names)
    precision = choose_precision("auto", device, size)
    settings = PretrainSettings(
        backbone=backbone, image_size=size, epochs=1, batch_size=_BATCH, precision=precision
    )
    clock, stamps = Clock(device), []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "f.safetensors"
        train_backbone(train, None, settings, device, checkpoint, lambda done, total: stamps.append(clock.now()))
    return [later - earlier for earlier, later in pairwise(stamps)]


def _bare_times(backbone: str, size: int, batches: int, precision: Precision, device: torch.device) -> list[float]:
    """Seconds of each forward and backward pass of the same batch, all of it ready on the device."""
    network = _ready(backbone, size, device).train().requires_grad_(True)
    images = normalize(_images(_BATCH, size).to(device))
    with torch.no_grad():
        classifier = CosineClassifier(network(images[:2]).shape[1], _CLASSES).to(device)
    labels, clock, stamps = torch.arange(_BATCH, device=device) % _CLASSES, Clock(device), []
    for _ in range(batches):
        network.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            features = network(images)
        torch.nn.functional.cross_entropy(classifier(features.float()), labels).backward()
        stamps.append(clock.now())
    return [later - earlier for earlier, later in pairwise(stamps)]


def extraction(bench: Bench, progress: Progress) -> Iterator[Row]:
    """`extract` from uint8 images; beside it, in params, the bare forward pass of the same batches as floats."""
    cases = _network_cases(bench)
    for done, (backbone, size) in enumerate(cases):
        count = 128 if bench.quick else (4096 if bench.device.type == "cuda" else 512)
        images = _images(count, size)
        network = _ready(backbone, size, bench.device)
        batches = [normalize(batch.to(bench.device)) for batch in images.split(256)]
        works: dict[str, Work] = {
            "ours": partial(extract, network, images, bench.device),
            "bare": partial(_forward, network, batches, bench.device),
        }
        times = interleaved(works, Clock(bench.device), bench.seconds)
        flops = count * network_flops(backbone, size, training=False)
        peak = peak_mib(partial(_extract_once, backbone, size, count, bench.device), bench.device, bench.threads)
        params = {
            "backbone": backbone,
            "size": size,
            "images": count,
            "images_per_s": round(count / times["ours"], 1),
            "bare_forward_s": times["bare"],
            "share_of_bare_rate": round(times["bare"] / times["ours"], 3),
        }
        floor = bench.rates.floor(flops, images.numel(), network=True)
        yield Row("extract", params, times["ours"], floor_s=floor, peak_mib=peak)
        progress(done + 1, len(cases))


def _ready(backbone: str, size: int, device: torch.device) -> torch.nn.Module:
    torch.manual_seed(0)
    network = make_backbone(backbone, size).eval().requires_grad_(False).to(device)
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def _forward(network: torch.nn.Module, batches: list[Tensor], device: torch.device) -> None:
    with torch.backends.cudnn.flags(allow_tf32=False):
        for batch in batches:
            network(batch)


def _extract_once(backbone: str, size: int, count: int, device: torch.device) -> None:
    extract(_ready(backbone, size, device), _images(count, size), device)


def decode(bench: Bench, progress: Progress) -> Iterator[Row]:
    """JPEG files to tensors the first time (with the cache written) and the second, beside ImageFolder's passes."""
    size, count = (16, 128) if bench.quick else (84, 2048)
    here, clock = torch.device("cpu"), Clock(torch.device("cpu"))
    params = {"images": count, "size": size, "from": 2 * size}
    with tempfile.TemporaryDirectory() as folder:
        root = write_jpegs(Path(folder) / "images", count, 2 * size)
        reads = {"first": partial(_first_read, root, size, folder), "cached": partial(_read, root, size, folder)}
        for done, (name, read) in enumerate(reads.items()):
            works: dict[str, Work] = {"ours": read, "imagefolder": partial(imagefolder, root, size)}
            times = interleaved(works, clock, bench.seconds, most=5)
            ours, peak = times.pop("ours"), peak_mib(read, here, bench.threads)
            words = {**params, "pass": name, "images_per_s": round(count / ours, 1)}
            yield from rows_of(Row("decode", words, ours, peak_mib=peak), times)
            progress(done + 1, len(reads))


def write_jpegs(root: Path, count: int, size: int) -> Path:
    """Smooth random pictures as train/CLASS/IMAGE.jpg, eight classes."""
    generator = torch.Generator().manual_seed(0)
    for i in range(count):
        coarse = torch.randint(0, 256, (1, 3, 8, 8), generator=generator).float()
        pixels = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255).byte()
        path = root / "train" / f"class{i * 8 // count}" / f"{i:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(path, quality=90)
    return root


def imagefolder(root: Path, size: int) -> Tensor:
    """The usual way: torchvision's ImageFolder and a DataLoader of as many processes as torch has threads.

    Resized by Pillow's box filter, which is the mean over areas, as ours.
    """
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import Compose, InterpolationMode, PILToTensor, Resize

    transform = Compose([Resize((size, size), InterpolationMode.BOX), PILToTensor()])
    threads = torch.get_num_threads()
    loader = DataLoader(ImageFolder(str(root / "train"), transform), 64, num_workers=0 if threads == 1 else threads)
    return torch.cat([images for images, _ in loader])


def _first_read(root: Path, size: int, folder: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        _read(root, size, cache)


def _read(root: Path, size: int, folder: str) -> None:
    """Read, and touch every pixel, since a cache is memory-mapped."""
    for split in read_images(root, size, Path(folder) / "cache").splits.values():
        split.x.sum()
