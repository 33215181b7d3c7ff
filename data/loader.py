"""OneFlow's own operators as one module that gives batches, eagerly or inside `nn.Graph.build`."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import oneflow as flow
from oneflow import nn

from .errors import DataError
from .files import AnyPath
from .index import RESIZE_RATIO, DatasetInfo
from .ofrecord_file import IMAGE_KEY, LABEL_KEY
from .validate import validate_dataset

# the buffer as a share of the split; results/shuffle-buffer has its measured effect
SHUFFLE_SHARE = 8
MAX_SHUFFLE_BUFFER = 1024
_CROP_SEED_OFFSET, _FLIP_SEED_OFFSET = 1, 2
SEEDS_PER_LOADER = 3  # the reader's own, and the two above


class PartLoader(nn.Module):
    """Batches of a split of a dataset, without end, with its own statistics and augmentation.

    `loader()` gives (images float32 (B, 3, S, S), labels int32 (B,), or (B, L) of 0 and 1 where a
    picture has any of L labels). The images are normalised per channel as (pixel - mean) / std in
    units of 0..255. Training shuffles within a buffer and, if asked, crops and mirrors at random.
    Validation keeps the order of the files, scales the shorter side (to S * 256 / 224 if the set is
    one for crops, else to S) and crops the centre.

    The reader is endless and has no partial batch: behind the last sample comes the first. Count
    only the samples of a validation pass that `valid_counts` gives. Then each sample counts exactly
    once, in every pass. The same arguments give the same batches, bit for bit, in any process and
    mode.

    The dataset must have passed `validate_dataset`: OneFlow ends the process on damaged files.
    """

    def __init__(
        self,
        dataset: DatasetInfo,
        *,
        train: bool,
        batch_size: int,
        image_size: int,
        seed: int,
        shuffle_buffer_size: Optional[int] = None,
    ) -> None:
        super().__init__()
        split = dataset.train if train else dataset.val
        self.num_samples = split.num_samples
        self.batch_size = batch_size
        self.is_training_feed = train
        self.reader = nn.OFRecordReader(
            str(split.folder),
            batch_size=batch_size,
            data_part_num=len(split.part_files),
            part_name_prefix="part-",
            part_name_suffix_length=split.part_name_suffix_length,
            random_shuffle=train,
            shuffle_buffer_size=shuffle_buffer_size or default_shuffle_buffer(split.num_samples),
            shuffle_after_epoch=False,
            random_seed=seed,
        )
        shape = () if dataset.labels is None else (dataset.labels,)
        self.label_decoder = nn.OFRecordRawDecoder(LABEL_KEY, shape=shape, dtype=flow.int32)
        if train and dataset.random_crop:
            self.image_decoder = nn.OFRecordImageDecoderRandomCrop(
                IMAGE_KEY, color_space="RGB", random_seed=seed + _CROP_SEED_OFFSET
            )
        else:
            self.image_decoder = nn.OFRecordImageDecoder(IMAGE_KEY, color_space="RGB")
        if train:
            self.resize = nn.image.Resize(target_size=[image_size, image_size])
        else:
            ratio = RESIZE_RATIO if dataset.random_crop else 1.0
            self.resize = nn.image.Resize(
                resize_side="shorter", keep_aspect_ratio=True, target_size=round(image_size * ratio)
            )
        flips = train and dataset.horizontal_flip
        flip_seed = seed + _FLIP_SEED_OFFSET
        self.flip = nn.CoinFlip(batch_size=batch_size, random_seed=flip_seed) if flips else None
        crop = 0 if train else image_size
        scale = {"mean": list(dataset.mean), "std": list(dataset.std)}
        self.normalise = nn.CropMirrorNormalize(
            color_space="RGB", crop_h=crop, crop_w=crop, **scale
        )

    def __len__(self) -> int:
        """Batches an epoch: whole ones in training, enough to hold every sample in validation."""
        if self.is_training_feed:
            return self.num_samples // self.batch_size
        return -(-self.num_samples // self.batch_size)

    def valid_counts(self) -> List[int]:
        """For each batch of a validation pass, how many of its first samples to count.

        All of them but in the last batch, which goes on with samples already seen; they sum to
        `num_samples`. The next pass starts behind those and is as exact.
        """
        batches = -(-self.num_samples // self.batch_size)
        last = self.num_samples - (batches - 1) * self.batch_size
        return [self.batch_size] * (batches - 1) + [last]

    def forward(self) -> Tuple[flow.Tensor, flow.Tensor]:
        """The next batch: (images float32 (B, 3, S, S), labels int32 (B,) or (B, num_labels))."""
        record = self.reader()
        labels = self.label_decoder(record)
        images = self.resize(self.image_decoder(record))[0]
        mirror = self.flip() if self.flip is not None else None
        return self.normalise(images, mirror), labels


class OFRecordDataLoader(PartLoader):
    """A split of a dataset, with the arguments that OneFlow's training scripts use.

    `mode` is train or val. The dataset at `ofrecord_root` is validated first, and a `dataset_size`
    must be the number of images in the split. Raises DataError as `validate_dataset`, and for
    another size or mode.
    """

    def __init__(
        self,
        ofrecord_root: AnyPath = "./ofrecord",
        mode: str = "train",
        dataset_size: Optional[int] = None,
        batch_size: int = 1,
        *,
        image_size: int = 224,
        seed: int = 0,
    ) -> None:
        if mode not in ("train", "val"):
            raise DataError(f"mode {mode!r} is no split of a dataset; give 'train' or 'val'")
        dataset = validate_dataset(ofrecord_root, image_size=image_size, batch_size=1)
        split = dataset.splits[mode]
        if dataset_size not in (None, split.num_samples):
            raise DataError(
                f"dataset_size {dataset_size} was given and {split.folder} holds "
                f"{split.num_samples} images; give {split.num_samples}, or leave it out"
            )
        if not 1 <= batch_size <= split.num_samples:
            raise DataError(
                f"batch_size {batch_size} does not fit; give 1 to {split.num_samples} images"
            )
        sizes = {"batch_size": batch_size, "image_size": image_size, "seed": seed}
        super().__init__(dataset, train=mode == "train", **sizes)


class JoinedLoader(nn.Module):
    """The batches of several loaders, joined along axis 0 in their order, as one loader's."""

    def __init__(self, loaders: Sequence[PartLoader]) -> None:
        super().__init__()
        self.loaders = nn.ModuleList(loaders)

    def forward(self) -> Tuple[flow.Tensor, flow.Tensor]:
        """The next batch: (images float32 (N * B, 3, S, S), labels int32 (N * B,))."""
        batches = [loader() for loader in self.loaders]
        images, labels = ([batch[item] for batch in batches] for item in (0, 1))
        return flow.cat(images, dim=0), flow.cat(labels, dim=0)


def default_shuffle_buffer(num_samples: int) -> int:
    """Records in the shuffle buffer: an eighth of the split, at most 1,024."""
    return max(1, min(MAX_SHUFFLE_BUFFER, num_samples // SHUFFLE_SHARE))
