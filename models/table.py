"""The rows of the model registry: plain data, no OneFlow."""

from __future__ import annotations

from dataclasses import dataclass


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
    paper: str


_LENET = "LeCun et al. 1998"
_CNN = "Hinton et al. 2015, arXiv:1503.02531"
_ALEXNET = "Krizhevsky 2014, arXiv:1404.5997"
_VGG = "Simonyan and Zisserman 2014, arXiv:1409.1556"
_RESNET = "He et al. 2015, arXiv:1512.03385"
_RESNEXT = "Xie et al. 2016, arXiv:1611.05431"
_DENSENET = "Huang et al. 2016, arXiv:1608.06993"
_GOOGLENET = "Szegedy et al. 2014, arXiv:1409.4842"
_INCEPTION = "Szegedy et al. 2015, arXiv:1512.00567"
_MOBILENET_V2 = "Sandler et al. 2018, arXiv:1801.04381"
_MOBILENET_V3 = "Howard et al. 2019, arXiv:1905.02244"
_SHUFFLENET_V2 = "Ma et al. 2018, arXiv:1807.11164"
_SQUEEZENET = "Iandola et al. 2016, arXiv:1602.07360"
_MNASNET = "Tan et al. 2018, arXiv:1807.11626"
_EFFICIENTNET = "Tan and Le 2019, arXiv:1905.11946"

TABLE = [
    ModelSpec("lenet", "lenet", "cifar", 62_006, 0, 10, 32, 1, _LENET),
    ModelSpec("cnn", "cnn", "cifar", 357_514, 0, 10, 32, 1, _CNN),
    ModelSpec("alexnet", "alexnet", "imagenet", 61_100_840, 0, 1000, 224, 1, _ALEXNET),
    ModelSpec("alexnet_owt_bn", "alexnet", "imagenet", 61_110_184, 0, 1000, 224, 1, _ALEXNET),
    ModelSpec("alexnet_cifar", "alexnet", "cifar", 2_472_266, 0, 10, 32, 1, _ALEXNET),
    ModelSpec("vgg11", "vgg", "imagenet", 132_863_336, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg11_bn", "vgg", "imagenet", 132_868_840, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg13", "vgg", "imagenet", 133_047_848, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg13_bn", "vgg", "imagenet", 133_053_736, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg16", "vgg", "imagenet", 138_357_544, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg16_bn", "vgg", "imagenet", 138_365_992, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg19", "vgg", "imagenet", 143_667_240, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg19_bn", "vgg", "imagenet", 143_678_248, 0, 1000, 224, 1, _VGG),
    ModelSpec("vgg11_cifar", "vgg", "cifar", 9_225_610, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg11_bn_cifar", "vgg", "cifar", 9_231_114, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg13_cifar", "vgg", "cifar", 9_410_122, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg13_bn_cifar", "vgg", "cifar", 9_416_010, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg16_cifar", "vgg", "cifar", 14_719_818, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg16_bn_cifar", "vgg", "cifar", 14_728_266, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg19_cifar", "vgg", "cifar", 20_029_514, 0, 10, 32, 1, _VGG),
    ModelSpec("vgg19_bn_cifar", "vgg", "cifar", 20_040_522, 0, 10, 32, 1, _VGG),
    ModelSpec("resnet18", "resnet", "imagenet", 11_689_512, 0, 1000, 224, 1, _RESNET),
    ModelSpec("resnet34", "resnet", "imagenet", 21_797_672, 0, 1000, 224, 1, _RESNET),
    ModelSpec("resnet50", "resnet", "imagenet", 25_557_032, 0, 1000, 224, 1, _RESNET),
    ModelSpec("resnet101", "resnet", "imagenet", 44_549_160, 0, 1000, 224, 1, _RESNET),
    ModelSpec("resnet152", "resnet", "imagenet", 60_192_808, 0, 1000, 224, 1, _RESNET),
    ModelSpec("resnet18_cifar", "resnet", "cifar", 11_173_962, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet34_cifar", "resnet", "cifar", 21_282_122, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet50_cifar", "resnet", "cifar", 23_520_842, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet101_cifar", "resnet", "cifar", 42_512_970, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet152_cifar", "resnet", "cifar", 58_156_618, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet20", "resnet_cifar", "cifar", 272_474, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet26", "resnet_cifar", "cifar", 369_690, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet32", "resnet_cifar", "cifar", 466_906, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet44", "resnet_cifar", "cifar", 661_338, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet56", "resnet_cifar", "cifar", 855_770, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet110", "resnet_cifar", "cifar", 1_730_714, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet20_optionA", "resnet_cifar", "cifar", 269_722, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet26_optionA", "resnet_cifar", "cifar", 366_938, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet32_optionA", "resnet_cifar", "cifar", 464_154, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet44_optionA", "resnet_cifar", "cifar", 658_586, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet56_optionA", "resnet_cifar", "cifar", 853_018, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnet110_optionA", "resnet_cifar", "cifar", 1_727_962, 0, 10, 32, 1, _RESNET),
    ModelSpec("resnext50_32x4d", "resnext", "imagenet", 25_028_904, 0, 1000, 224, 1, _RESNEXT),
    ModelSpec("resnext29_8x64d", "resnext", "cifar", 34_426_698, 0, 10, 32, 1, _RESNEXT),
    ModelSpec("densenet121", "densenet", "imagenet", 7_978_856, 0, 1000, 224, 1, _DENSENET),
    ModelSpec("densenet121_cifar", "densenet", "cifar", 6_956_298, 0, 10, 32, 1, _DENSENET),
    ModelSpec("densenet_bc_cifar", "densenet", "cifar", 769_162, 0, 10, 32, 1, _DENSENET),
    ModelSpec("googlenet", "googlenet", "imagenet", 13_004_888, 0, 1000, 224, 1, _GOOGLENET),
    ModelSpec("googlenet_noaux", "googlenet", "imagenet", 6_624_904, 0, 1000, 224, 1, _GOOGLENET),
    ModelSpec("googlenet_cifar", "googlenet", "cifar", 6_166_250, 0, 10, 32, 1, _GOOGLENET),
    ModelSpec("inception_v3", "inception", "imagenet", 27_161_264, 0, 1000, 299, 1, _INCEPTION),
    ModelSpec(
        "inception_v3_noaux", "inception", "imagenet", 23_834_568, 0, 1000, 299, 1, _INCEPTION
    ),
    ModelSpec(
        "mobilenet_v2", "mobilenet_v2", "imagenet", 3_504_872, 0, 1000, 224, 1, _MOBILENET_V2
    ),
    ModelSpec(
        "mobilenet_v2_cifar", "mobilenet_v2", "cifar", 2_254_090, 0, 10, 32, 1, _MOBILENET_V2
    ),
    ModelSpec(
        "mobilenet_v3_small", "mobilenet_v3", "imagenet", 2_542_856, 0, 1000, 224, 1, _MOBILENET_V3
    ),
    ModelSpec(
        "mobilenet_v3_large", "mobilenet_v3", "imagenet", 5_483_032, 0, 1000, 224, 1, _MOBILENET_V3
    ),
    ModelSpec(
        "shufflenet_v2_x1_0",
        "shufflenet_v2",
        "imagenet",
        2_278_604,
        0,
        1000,
        224,
        1,
        _SHUFFLENET_V2,
    ),
    ModelSpec(
        "shufflenet_v2_cifar", "shufflenet_v2", "cifar", 1_268_646, 0, 10, 32, 1, _SHUFFLENET_V2
    ),
    ModelSpec("squeezenet1_0", "squeezenet", "imagenet", 1_248_424, 0, 1000, 224, 1, _SQUEEZENET),
    ModelSpec("squeezenet1_1", "squeezenet", "imagenet", 1_235_496, 0, 1000, 224, 1, _SQUEEZENET),
    ModelSpec("mnasnet1_0", "mnasnet", "imagenet", 4_383_312, 0, 1000, 224, 1, _MNASNET),
    ModelSpec(
        "efficientnet_b0", "efficientnet", "imagenet", 5_288_548, 0, 1000, 224, 1, _EFFICIENTNET
    ),
]
