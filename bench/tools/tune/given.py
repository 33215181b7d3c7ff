"""Settings that the user gives, `--try NAME=VALUE` and `--only PATTERN`, checked beforehand."""

from __future__ import annotations

import fnmatch
from typing import Dict, List, Mapping, Sequence

from ...errors import InputError
from ...plan.contenders import OPTION_PREFIXES
from ...plan.graph_options import parse_option, suggest
from ...worker.environment import KNOWN_VARIABLES
from .candidates import Setting, create_option, create_variable

_WHY = "given by --try"


def parse_settings(texts: Sequence[str], environment: Mapping[str, str]) -> List[Setting]:
    """Settings from NAME=VALUE, a variable or an option of a graph's config.

    Raises InputError for what is neither, for an unknown variable, and for one that the user's
    `environment` sets, which a profile would not replace. Whether OneFlow knows an option and takes
    its value only OneFlow can say.
    """
    settings: Dict[str, Setting] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise InputError(
                f"--try {text} is not NAME=VALUE, such as OMP_NUM_THREADS=1 or "
                "allow_fuse_add_to_output=true"
            )
        setting = _parse_one(name, value, environment)
        settings[setting.name] = setting
    return list(settings.values())


def _parse_one(name: str, value: str, environment: Mapping[str, str]) -> Setting:
    if name.startswith(OPTION_PREFIXES):
        return create_option(name, parse_option(value), _WHY, compiles=False)
    if name not in KNOWN_VARIABLES:
        raise InputError(
            f"--try {name}={value}: {name} is no variable known to change the speed of OneFlow, "
            f"and no option of a graph; {_suggest(name)}"
        )
    if name in environment:
        raise InputError(
            f"--try {name}={value}: {name}={environment[name]} is set in this shell, which stands "
            f"above any profile; unset {name} to search over it"
        )
    return create_variable(name, value, _WHY)


def _suggest(name: str) -> str:
    hint = suggest(name.upper(), list(KNOWN_VARIABLES))
    return hint if hint.startswith("did") else "docs/tune.md lists what is known"


def select_settings(
    settings: Sequence[Setting], patterns: Sequence[str], known: Sequence[Setting]
) -> List[Setting]:
    """The settings whose name fits one of the wildcard `patterns`; all where none is given.

    `known` are those of every mode: a pattern that fits none of them raises InputError.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(setting.name, pattern) for setting in known):
            raise InputError(
                f"--only {pattern} fits no setting; bench tune --list shows those of this machine"
            )
    if not patterns:
        return list(settings)
    return [s for s in settings if any(fnmatch.fnmatchcase(s.name, p) for p in patterns)]
