"""Columns: records of one type as Arrow arrays, and back, column by column.

Owns which Arrow type a field has and how values get in and out; files are owned by ``core.tables``. A column is made of
all its values in one call, so that neither way makes an object for each value that is no record.

    str → string    float → double    int → int64    bool → bool    Literal → its values' type
    X | None → nullable X    tuple[X, ...], list[X] → list    a record → struct    dict, Any → JSON in a string

What tables are joined by, ``id`` and ``prompt_id``, stands first, also where a record only computes it; such a column
is written, and passed over when it is read (``JOINED_BY``).

Reading proves whole columns: no null where a value is needed, and the bounds of numbers, lengths and names. Only what
is proven becomes records without a look at each row. What is not of exactly the type's columns, or breaks a rule, is
left to ``core.tables``, which reads row by row and says what is wrong.
"""

import sys
from array import array
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from itertools import accumulate, chain, pairwise
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
import msgspec.inspect as kinds
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = [
    "JOINED_BY",
    "arrow_type",
    "computed_columns",
    "from_columns",
    "leaves",
    "optional",
    "to_columns",
    "without_pandas",
]

T = TypeVar("T")

JOINED_BY = ("id", "prompt_id")
"""Properties of records that are written as columns."""

_Writer = Callable[[Sequence[Any]], pa.Array]
_Reader = Callable[[pa.Array], list[Any]]
_Values = Sequence[Any]
_MANY = 4096
"""Values from which on pyarrow lays out an array, and the import of pandas does not count."""
_CODES = {pa.float64(): "d", pa.int64(): "q"}


class _UnprovenError(Exception):
    """The columns do not prove that each row is such a record."""


def arrow_type(info: kinds.Type) -> pa.DataType:
    """The type of the column that holds values of a type.

    Raises:
        TypeError: if no column can hold it.
    """
    if isinstance(info, kinds.UnionType):
        return arrow_type(optional(info))
    if isinstance(info, (kinds.StructType, kinds.DataclassType)):
        return pa.struct([(field.encode_name, arrow_type(field.type)) for field in info.fields])
    if isinstance(info, (kinds.VarTupleType, kinds.ListType)):
        return pa.list_(arrow_type(info.item_type))
    if isinstance(info, kinds.LiteralType):
        return pa.string() if all(isinstance(value, str) for value in info.values) else pa.int64()
    for kind, column in _PLAIN.items():
        if isinstance(info, kind):
            return column
    raise TypeError(f"there is no column for {info}; use text, numbers, lists, records, dict or Any")


def computed_columns(type: type[Any]) -> tuple[str, ...]:  # noqa: A002
    """The columns of a type that are no fields of it: those of ``JOINED_BY`` that it computes."""
    return tuple(name for name in JOINED_BY if isinstance(getattr(type, name, None), property))


def optional(info: kinds.UnionType) -> kinds.Type:
    """The one type that a union makes optional.

    Raises:
        TypeError: if it is a union of more than one type with None.
    """
    inner = [part for part in info.types if not isinstance(part, kinds.NoneType)]
    if len(inner) != 1:
        raise TypeError(f"there is no column for {info}; only the union of one type with None has one")
    return inner[0]


def to_columns(records: Sequence[Any], type: type[Any]) -> list[pa.Array]:  # noqa: A002
    """The columns of some records: what they are joined by, then one for each field of their type.

    Raises:
        pyarrow.ArrowException, UnicodeError, OverflowError, TypeError: if a value has no place in its column.
    """
    return [write(list(map(get, records))) for get, write in _columns_of(type)]


def from_columns(batch: pa.RecordBatch, type: type[T], without: frozenset[str] = frozenset()) -> list[T] | None:  # noqa: A002
    """The records that a batch holds, or None if its columns do not prove them.

    Args:
        without: dotted names of fields that were not read, which take their defaults; a text without one is empty.
    """
    read = _reader_of(type, without)
    try:
        return None if read is None else read(batch.to_struct_array())
    except (_UnprovenError, UnicodeError, msgspec.MsgspecError):
        return None


def leaves(type: type[Any], without: frozenset[str]) -> list[str]:  # noqa: A002
    """The columns of a Parquet file that hold a type, but for some fields; the names are dotted, as pyarrow takes them.

    Raises:
        TypeError: if a field that is left out is none of the type's, or neither has a default nor is a plain text.
    """
    if unknown := without - _omissible(_info(type), ""):
        raise TypeError(f"{type.__name__} has no field '{sorted(unknown)[0]}' with a default; it cannot be left out")
    return [name for field in _info(type).fields for name in _leaves(field, "", "", without)]


def without_pandas() -> None:
    """Let pyarrow make arrays of lists in this process without asking pandas whether they are its own.

    For processes of ours, in which nobody has a Series: the question imports pandas, a third of a second and tens of
    megabytes in each of them. Who asks for ``to_pandas`` is still given it.
    """
    if "pandas" not in sys.modules:
        sys.meta_path.insert(0, _NO_PANDAS)
        try:
            pa.array([])  # asked once for good
        finally:
            sys.meta_path.remove(_NO_PANDAS)


class _NoPandas(MetaPathFinder):
    """Says that there is no pandas."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


_NO_PANDAS = _NoPandas()
_PLAIN: dict[type[kinds.Type], pa.DataType] = {
    kinds.StrType: pa.string(),
    kinds.FloatType: pa.float64(),
    kinds.BoolType: pa.bool_(),
    kinds.IntType: pa.int64(),
    kinds.DictType: pa.string(),
    kinds.AnyType: pa.string(),
}
_WRITERS: dict[type[Any], list[tuple[Callable[[Any], Any], _Writer]]] = {}
_READERS: dict[tuple[type[Any], frozenset[str]], _Reader | None] = {}


def _info(type: type[Any]) -> kinds.StructType | kinds.DataclassType:  # noqa: A002
    info = kinds.type_info(type)
    if not isinstance(info, (kinds.StructType, kinds.DataclassType)):
        raise TypeError(f"{type.__name__} is neither a record nor a dataclass; its fields give the columns")
    return info


# ── records → columns ─────────────────────────────────────────────────────────────────────────────────────────────────


def _columns_of(type: type[Any]) -> list[tuple[Callable[[Any], Any], _Writer]]:  # noqa: A002
    if type not in _WRITERS:
        fields = [(attrgetter(field.name), _writer(field.type)) for field in _info(type).fields]
        computed = [(attrgetter(name), _writer(kinds.StrType())) for name in computed_columns(type)]
        _WRITERS[type] = [*computed, *fields]
    return _WRITERS[type]


def _writer(info: kinds.Type) -> _Writer:
    """A function from values, None among them where a value above them is None, to their column."""
    if isinstance(info, kinds.UnionType):
        return _writer(optional(info))
    if isinstance(info, (kinds.StructType, kinds.DataclassType)):
        return _struct_writer(info)
    if isinstance(info, (kinds.VarTupleType, kinds.ListType)):
        return _list_writer(info)
    if isinstance(info, (kinds.DictType, kinds.AnyType)):
        return _json_writer
    column = arrow_type(info)
    return lambda values: _column(values, column)


def _column(values: _Values, column: pa.DataType) -> pa.Array:
    """Values of one plain type, or None, as an array.

    A few are laid out here: ``pa.array`` asks pandas whether the list is one of its own, and for that imports it, which
    takes longer than most commands on a small file.
    """
    if len(values) > _MANY:
        return pa.array(values, column)
    missing = [value is None for value in values]
    validity = _bits([not none for none in missing]) if any(missing) else None
    if column == pa.string():
        texts = [b"" if value is None else str.encode(value) for value in values]
        ends = accumulate(map(len, texts), initial=0)
        data = [pa.py_buffer(array("i", ends)), pa.py_buffer(b"".join(texts))]
    elif column == pa.bool_():
        if wrong := next((value for value in values if not isinstance(value, bool | None)), None):
            raise TypeError(f"{wrong!r} is no truth value")
        data = [_bits([bool(value) for value in values])]
    else:
        data = [pa.py_buffer(array(_CODES[column], [0 if value is None else value for value in values]))]
    return pa.Array.from_buffers(column, len(values), [validity, *data], sum(missing))


def _bits(values: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, bool), bitorder="little").tobytes())


def _truths(values: Sequence[bool]) -> pa.Array:
    return _column(values, pa.bool_())


def _struct_writer(info: kinds.StructType | kinds.DataclassType) -> _Writer:
    parts = [(attrgetter(field.name), _writer(field.type)) for field in info.fields]
    fields = list(arrow_type(info))

    def write(values: _Values) -> pa.Array:
        missing = [value is None for value in values]
        if not any(missing):
            columns = [column(list(map(get, values))) for get, column in parts]
            return pa.StructArray.from_arrays(columns, fields=fields)
        columns = [column([None if value is None else get(value) for value in values]) for get, column in parts]
        return pa.StructArray.from_arrays(columns, fields=fields, mask=_truths(missing))

    return write


def _list_writer(info: kinds.VarTupleType | kinds.ListType) -> _Writer:
    column, item = arrow_type(info), _writer(info.item_type)

    def write(values: _Values) -> pa.Array:
        missing = [value is None for value in values]
        mask = _truths(missing) if any(missing) else None
        full = [value or () for value in values] if mask is not None else values
        ends = array("i", accumulate(map(len, full), initial=0))
        offsets = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
        return pa.ListArray.from_arrays(offsets, item(list(chain.from_iterable(full))), type=column, mask=mask)

    return write


def _json_writer(values: _Values) -> pa.Array:
    # An Any that is None is JSON's null. Below a record that is None the text is hidden, whatever it is.
    return _column(["{}" if value == {} else msgspec.json.encode(value).decode() for value in values], pa.string())


# ── columns → records ─────────────────────────────────────────────────────────────────────────────────────────────────


def _reader_of(type: type[Any], without: frozenset[str]) -> _Reader | None:  # noqa: A002
    key = type, without
    if key not in _READERS:
        try:
            _READERS[key] = _reader(_info(type), without, "")
        except _UnprovenError:
            _READERS[key] = None
    return _READERS[key]


def _reader(info: kinds.Type, without: frozenset[str], at: str) -> _Reader:
    """A function from a column to its values, of which none may be null.

    Raises:
        _UnprovenError: if the type has a rule that columns are not proven by.
    """
    if isinstance(info, kinds.UnionType):
        return _optional_reader(_reader(optional(info), without, at))
    if isinstance(info, (kinds.StructType, kinds.DataclassType)):
        return _struct_reader(info, without, at)
    if isinstance(info, (kinds.VarTupleType, kinds.ListType)):
        return _list_reader(info, without, at)
    if isinstance(info, (kinds.DictType, kinds.AnyType)):
        return _json_reader(info)
    return _plain_reader(info)


def _plain_reader(info: kinds.Type) -> _Reader:
    column, proven = arrow_type(info), _proof(info)

    def read(array: pa.Array) -> list[Any]:
        if array.type != column or array.null_count or (len(array) and not proven(array)):
            raise _UnprovenError
        values: list[Any] = array.to_pylist()
        return values

    return read


def _proof(info: kinds.Type) -> Callable[[pa.Array], bool]:
    """Whether all values of a column without nulls keep the rules of the type."""
    if isinstance(info, kinds.LiteralType):
        known = set(info.values)
        return lambda array: set(array.unique().to_pylist()) <= known
    if isinstance(info, kinds.StrType) and info.pattern is None:
        least, most = info.min_length, info.max_length
        return lambda array: _within(_lengths(array), least, most) if least or most else True
    if isinstance(info, (kinds.FloatType, kinds.IntType)) and info.multiple_of is info.gt is info.lt is None:
        least_value, most_value = info.ge, info.le
        return lambda array: _within(array, least_value, most_value)
    if isinstance(info, kinds.BoolType):
        return lambda _: True
    raise _UnprovenError


def _lengths(array: pa.Array) -> pa.Array:
    """Characters of each text."""
    from pyarrow import compute  # takes a fifth of a second to import, and few commands read such columns

    return compute.utf8_length(array)


def _numbers(array: pa.Array) -> NDArray[Any]:
    """Numbers or truth values, none of them null. Arrow's own way to NumPy imports pandas."""
    held = array.buffers()[1]
    if held is None or not len(array):
        return np.zeros(0)
    if array.type == pa.bool_():
        bits = np.unpackbits(np.frombuffer(held, np.uint8), count=array.offset + len(array), bitorder="little")
        return bits[array.offset :].astype(bool)
    numbers = np.frombuffer(held, array.type.to_pandas_dtype(), count=array.offset + len(array))
    return numbers[array.offset :]


def _within(array: pa.Array, least: float | None, most: float | None) -> bool:
    values = _numbers(array)
    return (least is None or bool((values >= least).all())) and (most is None or bool((values <= most).all()))


def _optional_reader(read: _Reader) -> _Reader:
    def optional_values(array: pa.Array) -> list[Any]:
        if not array.null_count:
            return read(array)
        found: list[Any] = [None] * len(array)
        valid = array.is_valid()
        places = np.flatnonzero(_numbers(valid)).tolist()
        for place, value in zip(places, read(array.filter(valid)), strict=True):
            found[place] = value
        return found

    return optional_values


def _struct_reader(info: kinds.StructType | kinds.DataclassType, without: frozenset[str], at: str) -> _Reader:
    if isinstance(info, kinds.StructType) and (info.tag is not None or info.array_like):
        raise _UnprovenError
    kept = [field for field in info.fields if f"{at}{field.name}" not in without]
    empty = [field.name for field in info.fields if field.required and f"{at}{field.name}" in without]
    parts = {field.encode_name: (field, _reader(field.type, without, f"{at}{field.name}.")) for field in kept}
    needed = {field.encode_name for field in kept if field.required}
    makers: dict[tuple[str, ...], Callable[..., Any]] = {}
    computed = set() if at else set(computed_columns(info.cls))

    def read(array: pa.Array) -> list[Any]:
        if not pa.types.is_struct(array.type) or array.null_count:
            raise _UnprovenError
        # Files of an earlier release lack the fields that were added since, which take their defaults.
        held = {field.name: place for place, field in enumerate(array.type) if field.name not in computed}
        names = tuple(held)
        if not needed <= set(names) <= parts.keys():
            raise _UnprovenError
        if names not in makers:
            makers[names] = _maker(info.cls, [parts[name][0].name for name in names], empty)
        flat = array.flatten()
        columns = [parts[name][1](flat[place]) for name, place in held.items()]
        return list(map(makers[names], *columns))

    return read


def _maker(cls: type[Any], names: Sequence[str], empty: Sequence[str]) -> Callable[..., Any]:
    """The constructor with its fields in order: records take them only by name, and a dict for each would cost more.

    ``empty``: fields that are given an empty text.
    """
    places = ", ".join(f"a{index}" for index in range(len(names)))
    given = ", ".join([f"{name}=a{index}" for index, name in enumerate(names)] + [f"{name}=''" for name in empty])
    make: Callable[..., Any] = eval(f"lambda {places}: cls({given})", {"cls": cls})  # noqa: S307  our own field names
    return make


def _list_reader(info: kinds.VarTupleType | kinds.ListType, without: frozenset[str], at: str) -> _Reader:
    part = _reader(info.item_type, without, at)
    kind: type[Any] = tuple if isinstance(info, kinds.VarTupleType) else list
    least, most = info.min_length, info.max_length

    def read(array: pa.Array) -> list[Any]:
        if not pa.types.is_list(array.type) or array.null_count:
            raise _UnprovenError
        lengths = _numbers(array.value_lengths())
        if len(lengths) and ((least and lengths.min() < least) or (most is not None and lengths.max() > most)):
            raise _UnprovenError
        values = part(array.flatten())
        if not values:
            return [kind() for _ in range(len(array))]
        return [kind(values[start:stop]) for start, stop in pairwise([0, *np.cumsum(lengths).tolist()])]

    return read


def _json_reader(info: kinds.DictType | kinds.AnyType) -> _Reader:
    if isinstance(info, kinds.AnyType):
        decoder = msgspec.json.Decoder[Any]()
    elif isinstance(info.key_type, kinds.StrType) and isinstance(info.value_type, kinds.AnyType):
        decoder = msgspec.json.Decoder(dict[str, Any])
    else:
        raise _UnprovenError

    def read(array: pa.Array) -> list[Any]:
        if array.type != pa.string() or array.null_count:
            raise _UnprovenError
        return [{} if text == "{}" else decoder.decode(text) for text in array.to_pylist()]

    return read


# ── columns that are left out ─────────────────────────────────────────────────────────────────────────────────────────


def _leaves(field: kinds.Field, at: str, column: str, without: frozenset[str]) -> list[str]:
    name, column = f"{at}{field.name}", f"{column}{field.encode_name}"
    if name in without:
        return []
    info, column = _inside(field.type, column)
    if not isinstance(info, (kinds.StructType, kinds.DataclassType)):
        return [column]
    return [leaf for part in info.fields for leaf in _leaves(part, f"{name}.", f"{column}.", without)]


def _omissible(info: kinds.StructType | kinds.DataclassType, at: str) -> set[str]:
    found = set()
    for field in info.fields:
        inner, _ = _inside(field.type, "")
        found |= {f"{at}{field.name}"} if not field.required or field.type == kinds.StrType() else set()
        if isinstance(inner, (kinds.StructType, kinds.DataclassType)):
            found |= _omissible(inner, f"{at}{field.name}.")
    return found


def _inside(info: kinds.Type, column: str) -> tuple[kinds.Type, str]:
    """What a column holds below its lists, and its name there."""
    if isinstance(info, kinds.UnionType):
        return _inside(optional(info), column)
    if isinstance(info, (kinds.VarTupleType, kinds.ListType)):
        return _inside(info.item_type, f"{column}.list.element")
    return info, column
