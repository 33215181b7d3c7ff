"""Measures what models/table.py says of each model: parameters, multiply-adds, smallest image.

    python tools/measure_models.py            # check every row
    python tools/measure_models.py 'vgg*'     # some of them

Prints a line for each model and exits with status 1 if one differs from its row.
"""

from __future__ import annotations

import sys

from oneflow_bench.models import create_model, get_model_spec, list_models
from oneflow_bench.models.counting import count_macs, count_parameters, find_min_image_size


def main() -> int:
    status = 0
    for name in list_models(*sys.argv[1:2]):
        spec = get_model_spec(name)
        model = create_model(name, num_classes=spec.num_classes)
        measured = (
            count_parameters(model),
            sum(count_macs(model, spec.default_image_size).values()),
            find_min_image_size(model, spec.default_image_size),
        )
        agrees = measured == (spec.num_params, spec.num_macs, spec.min_image_size)
        print(name, *measured, "" if agrees else "differs", flush=True)
        status |= not agrees
    return status


if __name__ == "__main__":
    sys.exit(main())
