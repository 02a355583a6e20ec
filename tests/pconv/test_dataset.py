"""Packing, the order of the data, and what reaches the network."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pconv.dataset import (
    Batches,
    ImageSet,
    Loader,
    _fits,
    as_network_input,
    pack_images,
    pack_masks,
)
from pconv.errors import DataError, ImageError, MaskError
from pconv.images import read_image, read_mask, write_image, write_mask

CPU = torch.device("cpu")


def random_set(images: int = 5, masks: int = 4, side: int = 16) -> ImageSet:
    """Images and masks of noise."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    return ImageSet(pixels, rng.random((masks, side, side)) < 0.5)


def write_files(folder: Path, pixels: np.ndarray) -> list[Path]:
    """Write images or masks as numbered files."""
    write = write_image if pixels.ndim == 4 else write_mask
    paths = [folder / f"{number:06d}.png" for number in range(len(pixels))]
    for path, item in zip(paths, pixels, strict=True):
        write(path, item)
    return paths


class TestImageSet:
    """What can be trained on."""

    @pytest.mark.parametrize(("images", "masks", "missing"), [(0, 3, "images"), (3, 0, "masks")])
    def test_raises_empty(self, images: int, masks: int, missing: str) -> None:
        """An empty set is refused."""
        with pytest.raises(DataError, match=f"no {missing}"):
            random_set(images, masks)

    def test_raises_sizes(self) -> None:
        """Masks of another size are refused, with both sizes."""
        with pytest.raises(DataError, match="masks are 8x16 pixels but the images 16x16"):
            ImageSet(random_set().images, np.ones((2, 16, 8), dtype=bool))

    def test_digest(self) -> None:
        """One bit of one mask or image gives another digest; the same content the same one."""
        one = random_set()
        assert one.digest == random_set().digest
        masks, images = one.masks.copy(), one.images.copy()
        masks[-1, -1, -1] ^= True
        images[0, 0, 0, 0] ^= 1
        digests = {
            one.digest,
            ImageSet(one.images, masks).digest,
            ImageSet(images, one.masks).digest,
        }
        assert len(digests) == 3

    def test_digest_of_the_shape(self) -> None:
        """The same bytes as pictures of another shape, or numbers of another kind, are others."""
        images, masks = random_set().images, random_set().masks
        wide = ImageSet(images.reshape(-1, 8, 32, 3), masks.reshape(-1, 8, 32))
        signed = ImageSet(images.view(np.int8), masks)
        assert len({wide.digest, signed.digest, random_set().digest}) == 3

    def test_digest_of_a_view(self) -> None:
        """A view that is not contiguous in memory has the digest of its copy."""
        images, masks = random_set().images[..., ::-1], random_set().masks[:, ::-1]
        assert ImageSet(images, masks).digest == ImageSet(images.copy(), masks.copy()).digest

    def test_digest_in_slices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However few items are hashed at once, all are."""
        whole = random_set().digest
        monkeypatch.setattr("pconv.dataset._HASH_BYTES", 1)
        assert random_set().digest == whole


class TestPack:
    """`pack_images` and `pack_masks`."""

    def test_values(self, tmp_path: Path) -> None:
        """The arrays hold what the files hold, in the order of the list."""
        made = random_set()
        images = write_files(tmp_path / "images", made.images)
        masks = write_files(tmp_path / "masks", made.masks)
        packed = pack_images(images[::-1], tmp_path / "images.npy")
        np.testing.assert_array_equal(packed, np.stack([read_image(p) for p in images[::-1]]))
        packed = pack_masks(masks, tmp_path / "masks.npy")
        np.testing.assert_array_equal(packed, np.stack([read_mask(p) for p in masks]))
        assert packed.dtype == np.bool_

    def test_reuses(self, tmp_path: Path) -> None:
        """The same files are not decoded again, wherever they lie."""
        images = write_files(tmp_path / "0000", random_set().images)
        pack_images(images, tmp_path / "images.npy")
        before = (tmp_path / "images.npy").stat().st_mtime_ns
        (tmp_path / "0000").rename(tmp_path / "0001")
        moved = [tmp_path / "0001" / path.name for path in images]
        pack_images(moved, tmp_path / "images.npy")
        assert (tmp_path / "images.npy").stat().st_mtime_ns == before

    def test_notices_other_bytes(self, tmp_path: Path) -> None:
        """A mask file of the same name and length but other content is decoded again."""
        masks = np.zeros((2, 16, 16), dtype=bool)
        masks[0, :, ::2] = True
        masks[1, :, 1::2] = True
        first, second = write_files(tmp_path, masks)
        assert first.stat().st_size == second.stat().st_size
        pack_masks([first], tmp_path / "masks.npy")
        first.write_bytes(second.read_bytes())
        np.testing.assert_array_equal(pack_masks([first], tmp_path / "masks.npy"), masks[1:])

    @pytest.mark.parametrize(
        "damage", ["cut", "flipped", "empty", "header", "zip", "note", "missing"]
    )
    def test_repairs(self, damage: str, tmp_path: Path) -> None:
        """A damaged pack is made anew."""
        made = random_set()
        images = write_files(tmp_path / "images", made.images)
        packed, note = tmp_path / "images.npy", tmp_path / "images.json"
        pack_images(images, packed)
        content = bytearray(packed.read_bytes())
        if damage == "cut":
            packed.write_bytes(content[:-100])
        elif damage == "flipped":
            content[-1] ^= 1
            packed.write_bytes(content)
        elif damage == "empty":
            packed.write_bytes(b"")
        elif damage == "header":
            packed.write_bytes(content.replace(b"}", b"(", 1))
        elif damage == "zip":
            packed.write_bytes(b"PK\x03\x04" + content[4:])
        elif damage == "note":
            note.write_text('{"sources"')
        else:
            packed.unlink()
        np.testing.assert_array_equal(pack_images(images, packed), made.images)

    def test_raises(self, tmp_path: Path) -> None:
        """What can't be packed is named, and nothing that looks packed is left."""
        images = write_files(tmp_path / "a", random_set().images)
        small = write_files(tmp_path / "b", random_set(side=8).images)
        packed = tmp_path / "images.npy"
        with pytest.raises(DataError, match="no images were found"):
            pack_images([], packed)
        with pytest.raises(
            DataError, match=r"b/000000.png: 8x8 pixels, but .*a/000000.png has 16x16"
        ):
            pack_images([*images, small[0]], packed)
        images[1].write_bytes(images[1].read_bytes()[:60])
        with pytest.raises(ImageError, match=r"000001.png: not a readable image"):
            pack_images(images, packed)
        with pytest.raises(MaskError, match=r"000000.png: a colour image"):
            pack_masks(small, packed)
        with pytest.raises(DataError, match=r"gone.png: can't be read"):
            pack_images([tmp_path / "gone.png"], packed)
        with pytest.raises(DataError, match=r"/a: can't be read \(Is a directory"):
            pack_images([tmp_path / "a"], packed)
        assert [path for path in tmp_path.iterdir() if path.is_file()] == []


class TestBatches:
    """The order of the data."""

    @given(
        images=st.integers(1, 40),
        masks=st.integers(1, 40),
        batch=st.integers(1, 8),
        epoch=st.integers(1, 5),
    )
    @settings(deadline=None, max_examples=50)
    def test_each_image_once(self, images: int, masks: int, batch: int, epoch: int) -> None:
        """No image occurs twice in an epoch, and masks occur equally often, to one."""
        if images < batch:
            return
        batches = Batches(images, masks, batch, seed=3)
        drawn = batches.of_epoch(epoch)
        assert drawn.shape == (images // batch, batch, 2)
        of_images, of_masks = drawn.reshape(-1, 2).T
        assert len(set(of_images)) == len(of_images) <= images
        assert set(of_images) <= set(range(images))
        counts = Counter(of_masks.tolist())
        assert set(counts) <= set(range(masks))
        most = -(-images // masks)
        assert max(counts.values()) <= most

    def test_all_images(self) -> None:
        """Where the batch divides the set, an epoch has every image."""
        drawn = Batches(12, 5, 4, seed=0).of_epoch(1)
        assert sorted(drawn[..., 0].flat) == list(range(12))

    def test_epochs_and_seeds_differ(self) -> None:
        """Each epoch and each seed has an order of its own, the same when asked again."""
        for which in (0, 1):  # images and masks
            orders = [
                Batches(50, 50, 5, seed).of_epoch(epoch)[..., which].tobytes()
                for seed in (0, 1)
                for epoch in (1, 2)
            ]
            assert len(set(orders)) == 4
            assert Batches(50, 50, 5, 0).of_epoch(1)[..., which].tobytes() == orders[0]

    def test_image_and_mask_are_independent(self) -> None:
        """As many masks as images do not pair off with them, nor with those of other epochs."""
        epochs = [Batches(100, 100, 10, seed=0).of_epoch(i).reshape(-1, 2) for i in range(1, 6)]
        for images, masks in itertools.product(epochs, epochs):
            assert np.count_nonzero(images[:, 0] == masks[:, 1]) < 10

    def test_raises(self) -> None:
        """A batch larger than the set is refused."""
        with pytest.raises(DataError, match="3 training images do not fill a batch of 4"):
            Batches(3, 9, 4, seed=0)


class TestLoader:
    """Batches on the device."""

    @pytest.mark.parametrize("steps", [1, 8, 19])
    @pytest.mark.parametrize("resident", [False, True])
    def test_values(self, resident: bool, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """It yields the images and masks of the numbers, in order, a GPU's way too."""
        monkeypatch.setattr("pconv.dataset._fits", lambda *_: resident)
        made = random_set()
        shape = (steps, 2)
        rng = np.random.default_rng(steps)
        of_images, of_masks = (
            rng.integers(len(part), size=shape) for part in (made.images, made.masks)
        )
        numbers = np.stack([of_images, of_masks], axis=2)
        with Loader(made, CPU) as loader:
            batches = list(loader.batches(numbers))
            assert loader.waited_s > 0
        assert len(batches) == steps
        for (images, masks), wanted in zip(batches, numbers, strict=True):
            np.testing.assert_array_equal(images.numpy(), made.images[wanted[:, 0]])
            np.testing.assert_array_equal(masks.numpy(), made.masks[wanted[:, 1]])

    def test_fits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A set lies on a GPU that has four times as much free memory, and never on the CPU."""
        made = random_set()
        size = made.images.nbytes + made.masks.nbytes
        for free, wanted in ((4 * size, False), (4 * size + 4, True)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
            assert _fits(made, torch.device("cuda")) is wanted
            assert not _fits(made, CPU)

    @pytest.mark.parametrize("resident", [False, True])
    def test_empty(self, resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """No numbers, no batches."""
        monkeypatch.setattr("pconv.dataset._fits", lambda *_: resident)
        with Loader(random_set(), CPU) as loader:
            assert list(loader.batches(np.empty((0, 2, 2), dtype=np.int64))) == []

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("fits", [True, False])
    def test_cuda(self, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """Batches are the same from the GPU's memory and from the host's."""
        monkeypatch.setattr("pconv.dataset._SHARE_OF_FREE_MEMORY", 0.25 if fits else 0.0)
        made = random_set()
        numbers = np.array([[[0, 3], [4, 0]], [[2, 2], [2, 1]]])
        with Loader(made, torch.device("cuda")) as loader:
            for (images, masks), wanted in zip(loader.batches(numbers), numbers, strict=True):
                np.testing.assert_array_equal(images.cpu().numpy(), made.images[wanted[:, 0]])
                np.testing.assert_array_equal(masks.cpu().numpy(), made.masks[wanted[:, 1]])


class TestAsNetworkInput:
    """From stored pixels to tensors."""

    @pytest.mark.parametrize("channels_last", [False, True])
    def test_values(self, channels_last: bool) -> None:
        """255 becomes 1, channels come second, known becomes 1."""
        made = random_set(3, 3)
        image, mask = as_network_input(
            torch.tensor(made.images), torch.tensor(made.masks), channels_last=channels_last
        )
        wanted = made.images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        np.testing.assert_allclose(image.numpy(), wanted, rtol=1e-6)
        np.testing.assert_array_equal(mask.numpy(), made.masks[:, None].astype(np.float32))
        order = torch.channels_last if channels_last else torch.contiguous_format
        assert image.is_contiguous(memory_format=order)
