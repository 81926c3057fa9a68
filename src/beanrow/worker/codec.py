"""Bodies: the arguments of a task, and nothing of ours around them.

Laws:
- A body is a JSON object by parameter name; a JSON list is read by position. A task with
  one parameter that is ``bytes`` or ``str`` has the raw body. So any language can put a
  job for us, and read one of ours.
- What a body cannot carry, or a function cannot take, is refused at put.
- Parameters annotated with msgspec or pydantic types are decoded and validated by those;
  neither is imported unless the program did.
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from beanrow.errors import BadTypeError, BadValueError
from beanrow.worker.outcome import UnreadableBody

__all__ = ["Codec", "JsonCodec", "Parameters"]


class Codec(Protocol):
    """How arguments become a body and back; two methods are all of it."""

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """Write arguments by parameter name as a body."""

    def decode(self, body: bytes) -> dict[str, Any] | list[Any]:
        """Read a body: arguments by parameter name, or a list of them by position."""


class JsonCodec:
    """UTF-8 JSON, compact. NaN and infinity are refused: other languages cannot read them."""

    def __init__(self) -> None:
        encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._encode = encoder.encode
        self._decode = json.JSONDecoder().decode

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """Write a JSON object."""
        return self._encode(arguments).encode()

    def decode(self, body: bytes) -> dict[str, Any] | list[Any]:
        """Read a JSON object or list."""
        return self._decode(body.decode())  # type: ignore[no-any-return]  # checked by Parameters


Convert = Callable[[Any], Any]

_PARAMETER = inspect.Parameter
_POSITIONAL = (_PARAMETER.POSITIONAL_ONLY, _PARAMETER.POSITIONAL_OR_KEYWORD)
_BY_NAME = (_PARAMETER.POSITIONAL_OR_KEYWORD, _PARAMETER.KEYWORD_ONLY)


class Parameters:
    """The parameters of a task's function: from a call to a body, and back to a call."""

    __slots__ = (
        "_any_more",
        "_by_name",
        "_by_position",
        "_codec",
        "_dump",
        "_known",
        "_load",
        "_name",
        "_only_position",
        "_positions",
        "_raw",
        "_required",
        "_signature",
        "load_result",
    )  # fmt: skip

    def __init__(self, function: Callable[..., Any], codec: Codec | None) -> None:
        self._name = function.__name__
        self._signature = inspect.signature(function)
        parameters = self._signature.parameters.values()
        hints = _hints(function)
        for one in parameters:
            if one.kind is _PARAMETER.VAR_POSITIONAL:
                raise BadTypeError(
                    f"task {self._name}: *{one.name} has no names for a body; take a list instead"
                )
        self._by_position = [one.name for one in parameters if one.kind is not one.VAR_KEYWORD]
        self._only_position = [one.name for one in parameters if one.kind is one.POSITIONAL_ONLY]
        self._positions = [one.name for one in parameters if one.kind in _POSITIONAL]
        self._by_name = frozenset(one.name for one in parameters if one.kind in _BY_NAME)
        self._known = frozenset(self._by_position)
        self._required = frozenset(
            one.name for one in parameters if one.default is one.empty and one.name in self._known
        )
        self._any_more = len(self._by_position) < len(parameters)
        self._raw = self._raw_type(hints) if codec is None and not self._any_more else None
        self._codec: Codec = codec or JsonCodec()
        result = _converters(hints.get("return"))
        self.load_result: Convert | None = None if result is None else result[1]
        self._load: dict[str, Convert] = {}
        self._dump: dict[str, Convert] = {}
        for name in self._by_position:
            found = _converters(hints.get(name))
            if found is not None:
                self._dump[name], self._load[name] = found

    def _raw_type(self, hints: dict[str, Any]) -> type | None:
        if len(self._by_position) != 1:
            return None
        hint = hints.get(self._by_position[0])
        return hint if hint in (bytes, str) else None

    @property
    def is_raw(self) -> bool:
        """Whether the one argument is the body itself."""
        return self._raw is not None

    # -- to a body ----------------------------------------------------------------

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Write the body of this call; BadTypeError if it is none the function takes."""
        arguments = self._bound(args, kwargs)
        if self._raw is not None:
            return self._raw_body(arguments)
        for name, dump in self._dump.items():
            if name in arguments:
                arguments[name] = dump(arguments[name])
        try:
            return self._codec.encode(arguments)
        except (TypeError, ValueError) as error:
            kind = BadTypeError if isinstance(error, TypeError) else BadValueError
            raise kind(
                f"task {self._name}: these arguments cannot be written into a body: {error}; "
                "use JSON types, msgspec or pydantic types, or a codec of your own"
            ) from error

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Give the arguments of a call by name; BadTypeError if the function takes no such call."""
        # A plain call is seen to be one at a quarter of what Signature.bind costs, which is
        # asked for all others and for the words of the error.
        arguments = dict(zip(self._positions, args, strict=False))
        if len(args) == len(arguments) and (not kwargs or self._names_fit(arguments, kwargs)):
            arguments.update(kwargs)
            if self._required <= arguments.keys():
                return arguments
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadTypeError(f"task {self._name}: {error}") from None
        arguments = bound.arguments
        if self._any_more:
            for name in list(arguments):
                if name not in self._known:
                    arguments.update(arguments.pop(name))
        return arguments

    def _names_fit(self, arguments: dict[str, Any], kwargs: dict[str, Any]) -> bool:
        """Tell whether these are names of parameters that were not given by position."""
        return kwargs.keys() <= self._by_name and kwargs.keys().isdisjoint(arguments)

    def _raw_body(self, arguments: dict[str, Any]) -> bytes:
        if not arguments:
            raise BadTypeError(f"task {self._name}: the body is missing")
        (name, value), *_ = arguments.items()
        if self._raw is str and isinstance(value, str):
            return value.encode()
        if self._raw is bytes and isinstance(value, bytes):
            return value
        wanted = getattr(self._raw, "__name__", "")
        raise BadTypeError(
            f"task {self._name}: {name} is {wanted}, not {type(value).__name__}: "
            f"{str(value)[:80]!r}"
        )

    # -- from a body --------------------------------------------------------------

    def decode(self, body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Read the call in a body; UnreadableBody if there is none that the function takes."""
        try:
            if self._raw is not None:
                return (body if self._raw is bytes else body.decode(),), {}
            found = self._codec.decode(body)
            return self._call(found)
        except Exception as error:
            shown = body if len(body) <= 80 else body[:80] + b"..."
            raise UnreadableBody(
                f"task {self._name} cannot read its arguments in the body {shown!r}: {error}"
            ) from error

    def _call(self, found: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(found, list):
            if len(found) > len(self._by_position):
                raise ValueError(f"{len(found)} arguments, and it takes {len(self._by_position)}")
            found = dict(zip(self._by_position, found, strict=False))
        elif not isinstance(found, dict):
            raise TypeError("neither an object by parameter name nor a list by position")
        if not self._required <= found.keys():
            raise ValueError(f"missing: {', '.join(sorted(self._required - found.keys()))}")
        if not self._any_more and not found.keys() <= self._known:
            raise ValueError(f"unknown: {', '.join(sorted(found.keys() - self._known))}")
        for name, load in self._load.items():
            if name in found:
                found[name] = load(found[name])
        if not self._only_position:
            return (), found
        return tuple(found.pop(name) for name in self._only_position if name in found), found


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Read the annotations; one that cannot be resolved is as good as none."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        names = {"bytes": bytes, "str": str}
        written = getattr(function, "__annotations__", {})
        return {
            name: names.get(one, one) if isinstance(one, str) else one
            for name, one in written.items()
        }


def _converters(hint: Any) -> tuple[Convert, Convert] | None:
    """Give how values of this annotation are written as JSON types and read back."""
    msgspec, pydantic = sys.modules.get("msgspec"), sys.modules.get("pydantic")
    for part in _parts(hint):
        if not isinstance(part, type):
            continue
        if pydantic is not None and issubclass(part, pydantic.BaseModel):
            adapter = pydantic.TypeAdapter(hint)
            return partial(adapter.dump_python, mode="json"), adapter.validate_python
        if msgspec is not None and issubclass(part, msgspec.Struct):
            return msgspec.to_builtins, partial(msgspec.convert, type=hint)
    return None


def _parts(hint: Any) -> Iterator[Any]:
    """Walk an annotation: ``list[Order] | None`` holds ``Order``."""
    yield hint
    for part in typing.get_args(hint):
        yield from _parts(part)
