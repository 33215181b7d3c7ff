"""The rows of the model registry: plain data, no OneFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict


@dataclass(frozen=True)
class ModelSpec:
    """A registered model.

    Sizes in pixels. `num_params` is at `num_classes` outputs; `num_macs` are the multiply-adds of
    the convolutions and linear layers for one image of the default size (`counting.py`).
    `min_image_size` is the smallest square input with which an evaluation and a training step run.
    """

    name: str
    family: str  # also the module in this package
    stem: str  # imagenet: for 224 px and the like; cifar: for 32 px
    num_params: int
    num_macs: int
    num_classes: int
    default_image_size: int
    min_image_size: int

    @property
    def paper(self) -> str:
        return _PAPERS[self.family]


_PAPERS: Dict[str, str] = {
    "lenet": "LeCun et al. 1998",
    "cnn": "none; a usual student in distillation code",
    "alexnet": "Krizhevsky 2014, arXiv:1404.5997",
    "vgg": "Simonyan and Zisserman 2014, arXiv:1409.1556",
    "resnet": "He et al. 2015, arXiv:1512.03385",
    "resnet_cifar": "He et al. 2015, arXiv:1512.03385",
    "resnext": "Xie et al. 2016, arXiv:1611.05431",
    "wide_resnet": "Zagoruyko and Komodakis 2016, arXiv:1605.07146",
    "densenet": "Huang et al. 2016, arXiv:1608.06993",
    "googlenet": "Szegedy et al. 2014, arXiv:1409.4842",
    "inception": "Szegedy et al. 2015, arXiv:1512.00567",
    "mobilenet_v2": "Sandler et al. 2018, arXiv:1801.04381",
    "mobilenet_v3": "Howard et al. 2019, arXiv:1905.02244",
    "shufflenet_v2": "Ma et al. 2018, arXiv:1807.11164",
    "squeezenet": "Iandola et al. 2016, arXiv:1602.07360",
    "mnasnet": "Tan et al. 2018, arXiv:1807.11626",
    "efficientnet": "Tan and Le 2019, arXiv:1905.11946",
}


def _imagenet(
    name: str, family: str, num_params: int, num_macs: int, min_size: int, default_size: int = 224
) -> ModelSpec:
    sizes = (num_params, num_macs, 1000, default_size, min_size)
    return ModelSpec(name, family, "imagenet", *sizes)


def _cifar(name: str, family: str, num_params: int, num_macs: int, min_size: int) -> ModelSpec:
    return ModelSpec(name, family, "cifar", num_params, num_macs, 10, 32, min_size)


# name, family, parameters, multiply-adds, smallest and default size; tools/measure_models.py checks
TABLE = [
    _cifar("lenet", "lenet", 62_006, 651_720, 16),
    _cifar("cnn", "cnn", 357_514, 10_585_344, 8),
    _imagenet("alexnet", "alexnet", 61_100_840, 714_188_480, 63),
    _imagenet("alexnet_owt_bn", "alexnet", 61_110_184, 714_188_480, 63),
    _cifar("alexnet_cifar", "alexnet", 2_472_266, 14_957_056, 29),
    _imagenet("vgg11", "vgg", 132_863_336, 7_609_090_048, 32),
    _imagenet("vgg11_bn", "vgg", 132_868_840, 7_609_090_048, 32),
    _imagenet("vgg13", "vgg", 133_047_848, 11_308_466_176, 32),
    _imagenet("vgg13_bn", "vgg", 133_053_736, 11_308_466_176, 32),
    _imagenet("vgg16", "vgg", 138_357_544, 15_470_264_320, 32),
    _imagenet("vgg16_bn", "vgg", 138_365_992, 15_470_264_320, 32),
    _imagenet("vgg19", "vgg", 143_667_240, 19_632_062_464, 32),
    _imagenet("vgg19_bn", "vgg", 143_678_248, 19_632_062_464, 32),
    _cifar("vgg11_cifar", "vgg", 9_225_610, 152_769_536, 32),
    _cifar("vgg11_bn_cifar", "vgg", 9_231_114, 152_769_536, 32),
    _cifar("vgg13_cifar", "vgg", 9_410_122, 228_267_008, 32),
    _cifar("vgg13_bn_cifar", "vgg", 9_416_010, 228_267_008, 32),
    _cifar("vgg16_cifar", "vgg", 14_719_818, 313_201_664, 32),
    _cifar("vgg16_bn_cifar", "vgg", 14_728_266, 313_201_664, 32),
    _cifar("vgg19_cifar", "vgg", 20_029_514, 398_136_320, 32),
    _cifar("vgg19_bn_cifar", "vgg", 20_040_522, 398_136_320, 32),
    _imagenet("resnet18", "resnet", 11_689_512, 1_814_073_344, 1),
    _imagenet("resnet34", "resnet", 21_797_672, 3_663_761_408, 1),
    _imagenet("resnet50", "resnet", 25_557_032, 4_089_184_256, 1),
    _imagenet("resnet101", "resnet", 44_549_160, 7_801_405_440, 1),
    _imagenet("resnet152", "resnet", 60_192_808, 11_513_626_624, 1),
    _cifar("resnet18_cifar", "resnet", 11_173_962, 555_422_720, 1),
    _cifar("resnet34_cifar", "resnet", 21_282_122, 1_159_402_496, 1),
    _cifar("resnet50_cifar", "resnet", 23_520_842, 1_297_829_888, 1),
    _cifar("resnet101_cifar", "resnet", 42_512_970, 2_509_983_744, 1),
    _cifar("resnet152_cifar", "resnet", 58_156_618, 3_722_137_600, 1),
    _cifar("resnet20", "resnet_cifar", 272_474, 40_813_184, 1),
    _cifar("resnet26", "resnet_cifar", 369_690, 54_968_960, 1),
    _cifar("resnet32", "resnet_cifar", 466_906, 69_124_736, 1),
    _cifar("resnet44", "resnet_cifar", 661_338, 97_436_288, 1),
    _cifar("resnet56", "resnet_cifar", 855_770, 125_747_840, 1),
    _cifar("resnet110", "resnet_cifar", 1_730_714, 253_149_824, 1),
    _cifar("resnet20_optionA", "resnet_cifar", 269_722, 40_551_040, 1),
    _cifar("resnet26_optionA", "resnet_cifar", 366_938, 54_706_816, 1),
    _cifar("resnet32_optionA", "resnet_cifar", 464_154, 68_862_592, 1),
    _cifar("resnet44_optionA", "resnet_cifar", 658_586, 97_174_144, 1),
    _cifar("resnet56_optionA", "resnet_cifar", 853_018, 125_485_696, 1),
    _cifar("resnet110_optionA", "resnet_cifar", 1_727_962, 252_887_680, 1),
    _imagenet("resnext50_32x4d", "resnext", 25_028_904, 4_230_479_872, 1),
    _cifar("resnext29_8x64d", "resnext", 34_426_698, 5_387_266_048, 1),
    _imagenet("resnext101_32x8d", "resnext", 88_791_336, 16_414_015_488, 1),
    _cifar("resnext101_8x64d", "resnext", 128_155_466, 19_077_474_304, 1),
    _imagenet("wide_resnet50_2", "wide_resnet", 68_883_240, 11_398_021_120, 1),
    _cifar("wide_resnet_cifar", "wide_resnet", 36_479_194, 5_243_328_768, 1),
    _imagenet("densenet121", "densenet", 7_978_856, 2_834_161_664, 29),
    _cifar("densenet121_cifar", "densenet", 6_956_298, 888_350_720, 8),
    _cifar("densenet_bc_cifar", "densenet", 769_162, 287_929_692, 4),
    _imagenet("googlenet", "googlenet", 13_004_888, 1_498_376_192, 15),
    _imagenet("googlenet_noaux", "googlenet", 6_624_904, 1_498_376_192, 15),
    _cifar("googlenet_cifar", "googlenet", 6_166_250, 1_521_756_160, 1),
    _imagenet("inception_v3", "inception", 27_161_264, 5_713_216_096, 299, 299),
    _imagenet("inception_v3_noaux", "inception", 23_834_568, 5_713_216_096, 75, 299),
    _imagenet("mobilenet_v2", "mobilenet_v2", 3_504_872, 300_774_272, 1),
    _cifar("mobilenet_v2_cifar", "mobilenet_v2", 2_254_090, 44_020_224, 1),
    _imagenet("mobilenet_v3_small", "mobilenet_v3", 2_542_856, 56_510_400, 1),
    _imagenet("mobilenet_v3_large", "mobilenet_v3", 5_483_032, 216_589_760, 1),
    _imagenet("shufflenet_v2_x1_0", "shufflenet_v2", 2_278_604, 144_907_992, 1),
    _cifar("shufflenet_v2_cifar", "shufflenet_v2", 1_268_646, 43_583_360, 1),
    _imagenet("squeezenet1_0", "squeezenet", 1_248_424, 818_924_576, 21),
    _imagenet("squeezenet1_1", "squeezenet", 1_235_496, 349_151_936, 17),
    _imagenet("mnasnet1_0", "mnasnet", 4_383_312, 314_415_872, 1),
    _imagenet("efficientnet_b0", "efficientnet", 5_288_548, 385_814_752, 1),
]
