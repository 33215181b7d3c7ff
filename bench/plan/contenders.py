"""Contenders as they are typed: `graph,runtime=stock,allow_fuse_add_to_output=true`.

    MODE|STRATEGY[,KEY=VALUE]...

The mode is one of `modes.MODES`, such as `eager` and `graph`. A strategy (`ddp`, `graph-dp`, ...)
is a mode in several ranks. Keys are the fields of a contender (name, runtime, blas, device, dtype,
python, ranks, accumulation_steps), `env.NAME` for a variable of its processes, and the switches of
`nn.Graph`'s `config`. A value that holds a comma stands in double quotes. docs/contenders.md and
docs/distributed.md explain each.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from itertools import chain, count
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from ..config import Contender, Workload
from ..errors import InputError
from .fields import SETTINGS
from .graph_options import OptionValue, format_option, parse_option, suggest
from .modes import MODES, ModeSpec, find_mode, list_modes, list_strategies, spell_strategy

RUNTIMES = ("tuned", "stock")
BLASES = ("mkl", "openblas")  # that are found by name
CHOICES = {name: SETTINGS[name].choices for name in ("device", "dtype")}
COUNTS = ("ranks", "accumulation_steps")
FIELDS = ["name", "runtime", "blas", "device", "dtype", "python", *COUNTS]
ENV = "env."
OPTION_PREFIXES = ("allow_", "enable_", "set_")  # of every switch of GraphConfig
LONGEST_NAME = 40
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PART = re.compile(r'(?:[^,"]|"[^"]*")+')


def parse_contenders(
    texts: Sequence[str], defaults: Optional[Mapping[str, Any]] = None
) -> List[Contender]:
    """Contenders of one comparison; those without a name get one from what sets them apart.

    `defaults` are fields that hold where a text says nothing, its `ranks` for strategies only.
    Raises InputError with the nearest match, and for a name that is given twice.
    """
    parsed = [_parse(text, dict(defaults or {})) for text in texts]
    return [Contender(**{**one, "name": n}) for n, one in zip(_choose_names(parsed), parsed)]


def _parse(text: str, defaults: Dict[str, Any]) -> Dict[str, Any]:
    """The fields of a contender, its name only where the text gives one."""
    try:
        return _read_text(text, defaults)
    except InputError as error:
        raise InputError(f"contender '{text}': {error}") from None


def _read_text(text: str, defaults: Dict[str, Any]) -> Dict[str, Any]:
    parts = [part.strip() for part in _PART.findall(text)]
    places = re.sub(r'"[^"]*"', "", text).count(",") + 1
    if text.count('"') % 2 or len(parts) != places or not all(parts):
        raise InputError(
            "it has an empty place or an open quote; give MODE,KEY=VALUE,... such as "
            "graph,runtime=stock"
        )
    first = _read_first(parts[0])
    given: Dict[str, str] = {}
    for part in parts[1:]:
        key, _, value = part.partition("=")
        if not key or not value:
            raise InputError(f"'{part}' is not KEY=VALUE, such as runtime=stock")
        if key in given:
            raise InputError(f"it gives {key} twice; leave one out")
        given[key] = value.replace('"', "")
    usual_ranks = defaults.pop("ranks", None)
    fields: Dict[str, Any] = {**defaults, "mode": first.mode, "env": {}, "graph_options": {}}
    for key, value in given.items():
        _set(fields, key, value)
    _check_mode(fields, first)
    _set_strategy(fields, first, usual_ranks)
    return fields


def _read_first(word: str) -> ModeSpec:
    if word in MODES:
        return MODES[word]
    close = difflib.get_close_matches(word, MODES, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    several = f" or with a strategy of several ranks ({', '.join(list_strategies())})"
    raise InputError(
        f"it begins with '{word}' and is expected to begin with a mode "
        f"({', '.join(list_modes())}){several if list_strategies() else ''}{hint}"
    )


def _set_strategy(fields: Dict[str, Any], first: ModeSpec, usual_ranks: Optional[int]) -> None:
    """Complete the fields of a contender of several ranks; `first` is what its text begins with."""
    ranks = fields.pop("ranks", 1 if first.strategy is None else usual_ranks)
    if first.strategy is not None and ranks in (None, 1):
        given = "one rank" if ranks else "no number of ranks"
        raise InputError(
            f"{first.name} is a way for several ranks to train together and "
            f"{given} was given; give --ranks 2 (or {first.name},ranks=2), or begin with "
            f"{first.mode}"
        )
    if ranks == 1:
        return
    if fields.get("device") == "cuda":
        raise InputError(
            f"{ranks} ranks with device=cuda have never been run and are refused; use device=cpu"
        )
    if fields.get("dtype") == "float64":
        raise InputError(
            f"dtype=float64 is the reference of one process and {ranks} ranks "
            "were given; leave one of the two out"
        )
    strategies = [first.name] if first.strategy else list_strategies(first.mode)
    if not strategies:
        raise InputError(
            f"{first.name} runs in one process and {ranks} ranks were given; leave them out"
        )
    fields["ranks"], fields["strategy"] = ranks, find_mode(strategies[0]).strategy


def _set(fields: Dict[str, Any], key: str, value: str) -> None:
    if key.startswith(ENV):
        if not _VARIABLE.fullmatch(key[len(ENV) :]):
            raise InputError(
                f"'{key}' names no variable; give env.NAME=VALUE, such as env.OMP_NUM_THREADS=1"
            )
        fields["env"][key[len(ENV) :]] = value
    elif key.startswith(OPTION_PREFIXES):
        fields["graph_options"][key] = parse_option(value)
    elif key in FIELDS:
        fields[key] = _read_field(key, value)
    else:
        raise InputError(
            f"unknown key '{key}'; {suggest(key, [*FIELDS, ENV + 'NAME'])} "
            "(or a switch of nn.Graph's config, such as allow_fuse_add_to_output)"
        )


def _read_field(key: str, value: str) -> Union[str, int]:
    if key in COUNTS:
        if not (value.isascii() and value.isdigit() and int(value) > 0):
            raise InputError(f"{key}={value} cannot be used; give a whole number from 1")
        return int(value)
    if key in CHOICES and value not in CHOICES[key]:
        raise InputError(f"{key}={value} cannot be used; it is one of {', '.join(CHOICES[key])}")
    if key == "name" and not (_NAME.fullmatch(value) and len(value) <= LONGEST_NAME):
        raise InputError(
            f"name={value} cannot be used; a name has at most {LONGEST_NAME} "
            "letters, digits and . _ + = -, and begins with a letter or digit"
        )
    if key in READERS:
        return READERS[key](value, f"{key}={value}")
    if key == "python":
        return read_python(value)
    return value


def read_side(side: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields that flags give to all contenders. Raises InputError for an unusable value."""
    return {
        name: READERS[name](value, f"--{name} {value}") if name in READERS else value
        for name, value in side.items()
    }


def read_runtime(value: str, given: str) -> str:
    """tuned, stock or the absolute path of a file; `given` begins the InputError for another."""
    if value in RUNTIMES:
        return value
    if not Path(value).is_file():
        close = difflib.get_close_matches(value, RUNTIMES, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise InputError(f"{given} is neither tuned nor stock nor a file that is there{hint}")
    return os.path.abspath(value)


def read_blas(value: str, given: str) -> str:
    """The name of a BLAS or the absolute path of one; `given` begins the InputError for another."""
    if value in BLASES:
        return value
    if not Path(value).is_file():
        raise InputError(
            f"{given} is neither mkl nor openblas nor a file that is there; "
            f"{suggest(value, BLASES, 'give the path of a library')}"
        )
    return os.path.abspath(value)


READERS = {"runtime": read_runtime, "blas": read_blas}  # of fields that a flag gives too


def read_python(value: str) -> str:
    """The interpreter's absolute path, links not followed: a virtual environment is one."""
    found = shutil.which(value) if os.sep not in value else None
    return os.path.abspath(found or os.path.expanduser(value))


def _check_mode(fields: Dict[str, Any], first: ModeSpec) -> None:
    if fields["graph_options"] and not first.is_compiled:
        name = next(iter(fields["graph_options"]))
        raise InputError(
            f"{name} is a switch of nn.Graph and has no effect on "
            f"{first.mode}; leave it out, or begin with graph"
        )
    dtype = fields.get("dtype", "float32")
    if dtype not in find_mode(first.mode).dtypes:
        raise InputError(
            f"dtype={dtype} cannot be trained as {first.mode}, which has no "
            f"{dtype} kernel; use eager"
        )


def _choose_names(parsed: Sequence[Mapping[str, Any]]) -> List[str]:
    """The names given, and for the others the mode with whatever is not alike in all of them."""
    given = [fields["name"] for fields in parsed if "name" in fields]
    for name in given:
        if given.count(name) > 1:
            raise InputError(f"two contenders are called {name}; give each a name of its own")
    for fields in parsed:
        own = spell_strategy(fields["mode"], fields.get("strategy"))
        if fields.get("name") in set(MODES) - {own}:
            raise InputError(
                f"a contender of {own} is called {fields['name']}, which is another mode; give it "
                "another name"
            )
    facts = [_list_facts(fields) for fields in parsed]
    keys = list(dict.fromkeys(key for each in facts for key in each))
    apart = [key for key in keys if _sets_apart(key, facts)]
    names: List[str] = []
    for fields, each in zip(parsed, facts):
        labels = [_label(key, each[key]) for key in apart if key in each]
        name = _join_labels(spell_strategy(fields["mode"], fields.get("strategy")), labels)
        names.append(fields.get("name") or _make_unique(name, [*given, *names]))
    return names


def _join_labels(word: str, labels: Sequence[str]) -> str:
    """A name of as many whole labels as fit; one is cut only if it is the first."""
    safe = [re.sub(r"[^A-Za-z0-9._+=-]+", "_", label) for label in labels]
    name = "-".join([word, *safe[:1]])[:LONGEST_NAME].rstrip("._-")
    for label in safe[1:]:
        if len(f"{name}-{label}") > LONGEST_NAME:
            break
        name = f"{name}-{label}".rstrip("._-")
    return name


def _sets_apart(key: str, facts: Sequence[Mapping[str, str]]) -> bool:
    """Whether contenders differ in it; of ranks those that have them, as their word says so."""
    return len({each.get(key) for each in facts if key != "ranks" or key in each}) > 1


def _make_unique(name: str, taken: Sequence[str]) -> str:
    others = (f"{name}-{number}" for number in count(2))
    return next(one for one in chain([name], others) if one not in taken)


def _list_facts(fields: Mapping[str, Any]) -> Dict[str, str]:
    """What a contender is besides its mode, by key; without what is so where nothing is said."""
    usual = {"runtime": RUNTIMES[0], **{key: words[0] for key, words in CHOICES.items()}}
    facts = {
        key: str(fields[key]) for key in FIELDS[1:] if fields.get(key) not in (None, usual.get(key))
    }
    facts.update({ENV + name: value for name, value in fields["env"].items()})
    options: Dict[str, OptionValue] = fields["graph_options"]
    return {**facts, **{name: format_option(value) for name, value in options.items()}}


def _label(key: str, value: str) -> str:
    if key in ("runtime", "blas"):
        return value if value in (*RUNTIMES, *BLASES) else Path(value).stem
    if key == "python":
        folder = Path(value).parent
        return folder.parent.name if folder.name == "bin" else Path(value).name
    if key in COUNTS:
        return f"{key}={value}"
    if key.startswith(ENV):
        return f"{key[len(ENV) :]}={value}"
    if key.startswith(OPTION_PREFIXES):
        short = key.partition("_")[2]
        return short if value == "true" else f"{short}={value}"
    return value


def workload_of(workload: Workload, contender: Contender) -> Workload:
    """The workload as this contender runs it: with its own parts, its own batch, and one reader."""
    update: Dict[str, int] = {}
    if contender.accumulation_steps is not None:
        update["accumulation_steps"] = contender.accumulation_steps
    if contender.batch_size is not None:
        update.update(batch_size=contender.batch_size, readers=1)
    return workload.model_copy(update=update)
