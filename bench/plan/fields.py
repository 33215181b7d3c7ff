"""The settings that a user can make, read from the fields of the configuration.

The command line's flags, the recipe reader's messages and the documentation's table of a contender
are made from them.
"""

from __future__ import annotations

from typing import (
    Any,
    Dict,
    List,
    Literal,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Type,
    Union,
    cast,
    get_args,
    get_origin,
)

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..config import (
    DATASET_FIELDS,
    IMAGE_FIELDS,
    LOSS_ARGUMENTS,
    READ_WITH,
    STEP_DATA,
    SYNTHETIC_DATA,
    Contender,
    Measuring,
    Workload,
)

_KIND_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list of whole numbers",
    dict: "a table",
}
_BOUND_WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class Setting(NamedTuple):
    name: str
    flag: str
    heading: Optional[str]  # of its flag in the help; None: it has no flag of its own
    description: str
    default: Any
    kind: type  # bool, int, float, str, list or dict
    choices: Tuple[str, ...]
    bounds: Dict[str, float]  # by ge, gt, le, lt, as pydantic names them
    metavar: Optional[str]
    shown: Optional[str]
    share: bool

    def describe_default(self, default: Any = None) -> str:
        """A default as a user reads it, or the field's own; empty where there is none."""
        if default is None:
            default = self.default
            if self.shown is not None:
                return self.shown.format(default)
        if default in (None, [], {}):
            return ""
        if isinstance(default, bool):
            return "on" if default else "off"
        if self.share:
            return f"{100 * default:g}%"
        return f"{default:g}" if isinstance(default, float) else str(default)

    def describe_values(self) -> str:
        """The values that it takes, such as "a number above 0 and at most 1"."""
        if self.choices:
            return f"{', '.join(self.choices[:-1])} or {self.choices[-1]}"
        if self.share:
            return "a share such as 3% or 0.03"
        bounds = [f"{_BOUND_WORDS[name]} {bound:.10g}" for name, bound in self.bounds.items()]
        return f"{_KIND_WORDS[self.kind]} {' and '.join(bounds)}".strip()


def list_settings(model: Type[BaseModel]) -> List[Setting]:
    """The settings of a configuration class, in the order of its fields."""
    return [_read_field(name, field) for name, field in model.model_fields.items()]


def _read_field(name: str, field: FieldInfo) -> Setting:
    extra = cast(Dict[str, Any], field.json_schema_extra or {})
    kind: Any = field.annotation
    if get_origin(kind) is Union and type(None) in get_args(kind):
        kind = get_args(kind)[0]
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    word = name[:-2] if name.endswith("_s") else name  # a time in seconds
    return Setting(
        name=name,
        flag=extra.get("flag") or "--" + word.replace("_", "-"),
        heading=extra.get("heading"),
        description=field.description or "",
        default=None if field.is_required() else field.default,
        kind=str if choices else get_origin(kind) or kind,
        choices=choices,
        bounds={
            bound: getattr(one, bound)
            for one in field.metadata
            for bound in _BOUND_WORDS
            if hasattr(one, bound)
        },
        metavar=extra.get("metavar") or ("SECONDS" if word != name else None),
        shown=extra.get("shown") or _LOSS_DEFAULTS.get(name),
        share=extra.get("share", False),
    )


_LOSS_DEFAULTS = {
    name: f"{default:g} with {loss}"
    for loss, arguments in LOSS_ARGUMENTS.items()
    for name, default in arguments.items()
    if default is not None
}
# a flag is the workload's where a contender has a field of the same name
SETTINGS: Dict[str, Setting] = {
    setting.name: setting
    for model in (Contender, Measuring, Workload)
    for setting in list_settings(model)
}


def flag_of(field: str) -> str:
    """The flag of a field; that of the readers is --ranks, which sets their number."""
    setting = SETTINGS.get("ranks" if field == "readers" else field)
    return setting.flag if setting else "--" + field.replace("_", "-")


def list_unread(values: Mapping[str, Any]) -> Dict[str, str]:
    """The fields of a workload that are not read, each with the field whose value decides that.

    `values` are some of its fields; the others have their defaults.
    """

    def read(name: str) -> Any:
        return values.get(name, Workload.model_fields[name].default)

    found = {
        name: decisive
        for name, (decisive, readers) in READ_WITH.items()
        if read(decisive) not in readers
    }
    unread_with = {SYNTHETIC_DATA: DATASET_FIELDS, STEP_DATA: IMAGE_FIELDS}
    return {**found, **dict.fromkeys(unread_with.get(read("data"), ()), "data")}
