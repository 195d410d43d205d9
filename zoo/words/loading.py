"""Word vectors of the registry: a verified file becomes an open object, compiled at the first use."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from zoo.catalogue.entry import WordModel
from zoo.errors import IntegrityError, UnknownName, UsageError
from zoo.events import Note, Report, silent
from zoo.store.local import LocalModel
from zoo.store.store import Store
from zoo.store.trust.hashing import hash_file
from zoo.words.compiling.compiler import compile_into
from zoo.words.compiling.encodings import check_encoding
from zoo.words.own_files import OWN, fetch_companions
from zoo.words.vectors.layout import HEADER_BYTES, PRECISIONS, VERSION, is_compiled
from zoo.words.vectors.word_vectors import WordVectors, open_vectors

STATIC = "words/model2vec"
KIND = f"words{VERSION}"  # of what the store derives: what another version compiled is compiled again


class Form(NamedTuple):
    """One way in which a file was compiled. member: of an archive; "" for the whole file. encoding: as it was
    named; "" where it was not. limit: the number of first words that were taken; "" for all of them."""

    precision: str
    member: str
    encoding: str = ""
    limit: str = ""

    @property
    def kind(self) -> str:
        """What the store calls it."""
        how = "~".join([self.precision, self.encoding, self.limit]).rstrip("~")
        return "-".join([KIND, how, *([self.member] if self.member else [])])


def load_words(
    local: LocalModel,
    store: Store,
    *,
    precision: str | None = None,
    strict: bool = False,
    member: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
    keep_source: bool = True,
    report: Report = silent,
) -> WordVectors:
    """The vectors of a registry entry, in milliseconds once they are compiled.

    precision: None takes what is compiled already, float32 first. The compiled file lies in the store under
    its own sha256, one per precision, member, encoding and limit. encoding: None takes that of the entry,
    else the one that was named last, if any. limit: only so many of the first words; None takes all of them.
    keep_source: False deletes the published file once the compiled one is safe. The other options are those
    of `compile_vectors`.

    Raises what `compile_vectors` raises; LicenseRefused; UsageError for an entry that is not word vectors;
    IntegrityError where the entry states another dimension than the file has, while `strict` (else a Note).
    """
    entry = local.entry
    if not isinstance(entry, WordModel):
        raise UsageError(f"{entry.name} is not word vectors: it is {entry.task}")
    if precision is not None and precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    store.check_license(entry)
    encoding = check_encoding(encoding or entry.input.encoding)
    companions, version = None, member
    if entry.architecture == STATIC and entry.family == OWN:
        companions = fetch_companions(local, store, report)
        version = _version_of(companions, member)
    path = _find_compiled(local, store, precision, version, encoding, limit)
    if path is None:
        _check_source(local)
        companions = companions or fetch_companions(local, store, report)
        wanted = precision or "float32"

        def write(path: Path) -> None:
            with path.open("r+b" if path.exists() else "w+b") as file:
                compile_into(
                    file,
                    local.path,
                    name=_published_name(entry),
                    format=entry.architecture,
                    precision=wanted,
                    strict=strict,
                    member=member,
                    source_sha256=local.sha256,
                    encoding=encoding,
                    companions=companions,
                    limit=limit,
                    report=report,
                )

        form = Form(wanted, version or "", encoding or "", str(limit or ""))
        path = store.derive(local, form.kind, write, keep_source=keep_source, report=report)
    vectors = open_vectors(path)
    if strict:
        _refuse_faults(vectors, entry.name)
    if vectors.vector_size != entry.input.dimension:
        message = f"{entry.name}: {vectors.vector_size} dimensions, its entry states {entry.input.dimension}"
        if strict:
            raise IntegrityError(message)
        report(Note(message, hint="Correct `input: dimension` in the registry.", level="warning"))
    return vectors


def compiled_forms(local: LocalModel, store: Store) -> dict[Form, Path]:
    """Every compiled form of the vectors that is here, float32 first."""
    forms = {}
    for kind, path in store.derivations(local).items():
        made, _, rest = kind.partition("-")
        if made == KIND:
            how, _, member = rest.partition("-")
            precision, encoding, limit, *_ = [*how.split("~"), "", ""]
            forms[Form(precision, member, encoding, limit)] = path
    return dict(sorted(forms.items(), reverse=True))


def _find_compiled(
    local: LocalModel,
    store: Store,
    precision: str | None = None,
    member: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
) -> Path | None:
    """The compiled file of a precision, a member and an encoding, if it is here; None also where several
    members fit.

    precision, member, encoding: None takes any, float32 first, the whole file before a member of it, the
    encoding that was named last. limit: exactly this one; None takes all words.
    """
    forms = compiled_forms(local, store)
    forms = {form: path for form, path in forms.items() if form.limit == str(limit or "")}
    fitting = [f for f in forms if precision in (None, f.precision) and member in (None, f.member)]
    fitting = [form for form in fitting if not form.member] or fitting
    if encoding is not None:
        fitting = [form for form in fitting if form.encoding == encoding]
    elif named := [form for form in fitting if form.encoding]:
        fitting = sorted(named, key=lambda form: forms[form].stat().st_mtime_ns, reverse=True)
    return forms[fitting[0]] if len({form.member for form in fitting}) == 1 else None


def _version_of(companions: Mapping[str, Path] | None, member: str | None) -> str | None:
    """What distinguishes own models of equal weights: which files lie beside these. member: as named."""
    if companions is None or member is not None:
        return member
    return sha256("".join(hash_file(path).sha256 for path in companions.values()).encode()).hexdigest()[:8]


def _check_source(local: LocalModel) -> None:
    """Raise UsageError if the store kept only a compiled file, from which no other can be made."""
    with local.path.open("rb") as file:
        if is_compiled(file.read(HEADER_BYTES)):
            raise UsageError(
                f"{local.entry.name}: only its compiled vectors are here, in another form than requested "
                "or by an earlier version",
                hint=f"zoo rm {local.entry.name}, then fetch it again.",
            )


def _refuse_faults(vectors: WordVectors, name: str) -> None:
    """Raise IntegrityError for vectors whose file had faults."""
    if vectors.faults:
        listed = "\n".join(f"  {fault}" for fault in vectors.faults)
        raise IntegrityError(
            f"{name}: refused, because strict:\n{listed}",
            hint="Without strict these are reported, and the rest is used.",
        )


def _published_name(entry: WordModel) -> str:
    """The file name in the entry's first URL, for messages and to recognise a pickle by its suffix."""
    parts = urlsplit(entry.weights.urls[0])
    return Path(parts.path).name or parts.netloc or entry.name
