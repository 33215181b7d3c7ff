"""The record of a run: `record.json` (the document) and `samples.jsonl` (what was measured).

A run folder holds

    record.json      versioned document: configuration, environment, status; replaced atomically
    samples.jsonl    one JSON object a line, appended and flushed as it is measured

so that a run that is killed can be read up to the kill. Schema history:

    1   first version
    2   recipes in the workload; where a resumed run starts; digests of a teacher
    3   the contenders' dtype; the speed phase: replicates of three roles, blocks in pairs, interim
        analyses, conditions, and its settings
    4   the contenders' graph options and runtime profiles; whose initial weights a contender has
    5   contenders of several ranks: their strategy, their cores, times and memory of each rank; a
        reference; batches of a contender's own; which strategies were not available
    6   a checksum in each line of samples, and the last one in the document; checkpoints as events;
        a checksum of the document
    7   scores of training images and a teacher; parameters after steps; kept checkpoints in words
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, List, Optional, Sequence, Type, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Literal

from ..config import Contender, Measuring, Workload
from ..errors import InputError, RecordError
from .checksum import KEY, check_intact, format_document
from .events import AtLeastOne, Count
from .machine import Environment
from .names import Contenders, RunId, Time
from .samples import SampleLines, load_events

Model = TypeVar("Model", bound=BaseModel)


def find_cache_folder() -> Optional[Path]:
    """The folder, which may not be there yet; None where nothing is to be kept."""
    chosen = os.environ.get("BENCH_CACHE_DIR")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(caches, "oneflow-bench") if chosen is None else chosen
    return Path(folder) if os.path.isabs(folder) else None  # not so without a home


def load_document(
    path: Path,
    kind: Type[Model],
    versions: Sequence[Union[int, str]],
    name: str,
    remedy: str,
    version_key: str = "schema_version",
) -> Model:
    """Read a JSON document of one of the schema `versions` as an instance of `kind`.

    `name` is what the document is called in errors ("record"), `remedy` what to give where there is
    none. Raises RecordError for a missing file, damage, or another schema version.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        check_intact(raw, path, name)
    except OSError as error:
        raise RecordError(f"no {name} at {path} ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError):
        raise RecordError(
            f"{path} is not JSON; the {name} is damaged, make it again or take it from its source"
        ) from None
    version = raw.get(version_key) if isinstance(raw, dict) else None
    if version is None:
        raise RecordError(f"{path} has no {version_key}, so it is not a {name}; {remedy}")
    if version not in versions:
        raise RecordError(
            f"{path} has schema version {version}, this program reads "
            f"{', '.join(map(str, versions))}; "
            "use the version of the suite that wrote it, or make it again"
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path} is not a valid {name}: {where}: {first['msg']}") from None


def create_run_id(*words: str) -> str:
    """The words, the time in UTC and four digits, as two runs may start in the same second."""
    now = datetime.now(timezone.utc)
    whole = "-".join([*words, f"{now:%Y%m%d-%H%M%S}", secrets.token_hex(2)])
    return whole.replace(":", "-")  # of a model module:name


def ensure_folder(folder: Path) -> Path:
    """The folder, created where it is not there. Raises InputError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {folder} cannot be created ({error.strerror}); give another folder"
        ) from None
    return folder


def create_run_folder(folder: Path) -> None:
    """Create a run's folder. Raises InputError where it exists or cannot be created."""
    try:
        folder.mkdir(parents=True, exist_ok=False)
    except FileExistsError:
        raise InputError(
            f"the run folder {folder} exists already; give --out another folder"
        ) from None
    except OSError as error:
        raise _refuse_run_folder(folder, error) from None


def _refuse_run_folder(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write the run folder {folder} ({error.strerror}); "
        "give --out a folder you may write to"
    )


SCHEMA_VERSION = 7
READABLE_VERSIONS = (1, 2, 3, 4, 5, 6, 7)  # what came later has defaults
CHECKSUM_VERSION = 6  # the first with checksums
DOCUMENT_NAME = "record.json"
SAMPLES_NAME = "samples.jsonl"


class Document(BaseModel):
    """`record.json`."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    run_id: RunId
    command: str  # eager | graph | compare
    status: Literal["running", "complete", "interrupted", "failed"] = "running"
    error: Optional[str] = None
    created: Time  # in UTC
    finished: Optional[str] = None
    workload: Workload
    measuring: Measuring
    contenders: Contenders  # the first is the baseline
    train_samples: Count
    val_samples: Count
    steps_per_epoch: AtLeastOne
    start_epoch: Count = 0  # epochs done before, in the run that this one resumes
    unavailable: Dict[str, str] = Field(default_factory=dict)  # contender left out -> why
    environment_start: Environment = Field(default_factory=dict)
    environment_end: Environment = Field(default_factory=dict)
    samples_crc32: Optional[str] = None  # of the last line of samples; None while it runs

    @property
    def racing(self) -> List[Contender]:
        """The contenders without the reference, the baseline first."""
        return [contender for contender in self.contenders if not contender.reference]


@dataclass
class RunRecord:
    """A document with its samples; what comparison, report and plot work on."""

    document: Document
    events: List[Any]
    folder: Optional[Path] = None

    def contender_names(self) -> List[str]:
        return [c.name for c in self.document.contenders]

    def racing_names(self) -> List[str]:
        """The baseline's and those that are set against it."""
        return [c.name for c in self.document.racing]

    def of_kind(self, kind: type, contender: Optional[str] = None) -> List[Any]:
        """Events of one class in the order they were measured, of one contender if given."""
        kinds = {one for one in set(map(type, self.events)) if issubclass(one, kind)}
        chosen = (event for event in self.events if type(event) in kinds)
        return [e for e in chosen if contender in (None, getattr(e, "contender", None))]


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place once it is on the disk.

    After an error or a kill `path` is as it was.
    """
    handle, temporary = tempfile.mkstemp(dir=str(path.parent), prefix=f".{path.name}-")
    os.close(handle)
    try:
        yield Path(temporary)
        os.chmod(temporary, 0o644)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
        _flush_to_disk(path.parent)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _flush_to_disk(path: Union[str, Path]) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replace_atomically(path: Path) -> Iterator[BinaryIO]:
    """A stream for the new content of `path`; after an error `path` is as it was."""
    with replace_file(path) as temporary, open(temporary, "wb") as stream:
        yield stream


def write_atomically(path: Path, text: str) -> None:
    """Write to a temporary file beside `path` and rename it, so that no reader sees half a file."""
    with replace_atomically(path) as stream:
        stream.write(text.encode("utf-8"))


def save_text(path: Path, text: str, remedy: str) -> None:
    """`write_atomically` for what a user asked for: InputError with a remedy where it fails."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); {remedy}") from None


class RecordWriter:
    """Creates a run folder and appends to it. Raises InputError where it cannot be written."""

    def __init__(self, folder: Path, document: Document) -> None:
        self.folder, self.document = folder, document
        document.schema_version = SCHEMA_VERSION  # which it had where it was read from an old run
        self._lines = SampleLines()
        create_run_folder(folder)
        try:
            self.save()
            self._samples = open(folder / SAMPLES_NAME, "a", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise _refuse_run_folder(folder, error) from None

    def save(self) -> None:
        write_atomically(self.folder / DOCUMENT_NAME, format_document(self.document))

    def append(self, *events: Any) -> None:
        """Write a line for each; no end of this process, however sudden, takes them away."""
        self._samples.write("".join(map(self._lines.format, events)))
        self._samples.flush()

    def close(self) -> None:
        """Put the samples on the disk and save the document, also where there is no more room."""
        try:
            self._samples.close()
            _flush_to_disk(self.folder / SAMPLES_NAME)
        finally:
            self.document.samples_crc32 = self._lines.checksum
            self.save()


def load_record(folder: Path) -> RunRecord:
    """Read a run folder (or the `record.json` in it).

    A last line of samples cut short by a kill is left out. Damage anywhere else, samples that are
    missing from a complete run, or another schema version raises RecordError.
    """
    if folder.name == DOCUMENT_NAME:
        folder = folder.parent
    document = load_document(
        folder / DOCUMENT_NAME,
        Document,
        READABLE_VERSIONS,
        "record",
        "give a folder made by bench eager, bench graph or bench compare",
    )
    samples = folder / SAMPLES_NAME
    events, checksum = load_events(samples, document.schema_version >= CHECKSUM_VERSION)
    if document.status == "complete" and (
        not events or document.samples_crc32 not in (None, checksum)
    ):
        raise RecordError(
            f"{samples} lacks samples of the complete run; the record is damaged, run it again, or "
            f"in {DOCUMENT_NAME} set status to interrupted and delete {KEY} to read what is left"
        )
    return RunRecord(document, events, folder)
