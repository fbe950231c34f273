"""Read a pickle of arrays, such as detectron2's zoo files, without trusting it.

The opcodes are interpreted here, so that nothing of Python's own unpickler, NumPy's
reconstruction or an import can be reached: the result holds plain containers,
strings, numbers and arrays of numbers. The names that a file may call are those of
`CALLS`, each answered by a function of this module; everything else is refused,
never executed. Work and memory are bounded by the size of the file.

source: CPython Lib/pickletools.py (opcodes), numpy ndarray.__reduce__ and
dtype.__reduce__ (state tuples), detectron2 checkpoint/detection_checkpoint.py.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, BinaryIO, Final

from spinert.export.checkpoints.pickled_values import (
    CALLS,
    PickledArray,
    PickledDtype,
    PickledMapping,
    RefusedPickle,
    array_from_bytes,
    put,
    tuple_from_value,
)

__all__ = ["content_from_pickle"]

_MAX_OPCODES: Final = 2_000_000
_BYTES_PER_FILE_BYTE: Final = 4
"""Protocol 2 spells bytes as text and decodes them, then an array is made."""


@dataclass
class _Machine:
    """The stack, the marks and the memo of one file."""

    budget: int
    """Bytes that may still be made of the file's bytes."""
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def popped_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def spend(self, value: object) -> None:
        """Count what a call made: one buffer may serve many arrays, up to a point."""
        size = getattr(value, "nbytes", 0)
        self.budget -= len(value) if isinstance(value, bytes) else size
        if self.budget < 0:
            raise RefusedPickle("arrays that are larger than the file")

    # ------------------------------------------------------------- opcodes

    def mark(self, _: object) -> None:
        self.marks.append(len(self.stack))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.push(values)

    def set_items(self, values: list[Any]) -> None:
        if len(values) % 2:
            raise ValueError("a key without value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            put(self.stack[-1], key, value)

    def set_item(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        put(self.stack[-1], key, value)

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("not a list")
        self.stack[-1].extend(values)

    def append(self, _: object) -> None:
        value = self.stack.pop()
        self.extend([value])

    def remember(self, index: object) -> None:
        if not isinstance(index, int):
            raise ValueError("not a place in the memo")
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        value = self.memo[index]
        built = isinstance(value, PickledArray) and value.values is not None
        self.push(value.values if built else value)

    def name(self, argument: str) -> None:
        module, _, attribute = argument.partition(" ")
        self.find(module, attribute)

    def stack_name(self, _: object) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.find(module, attribute)

    def find(self, module: object, attribute: object) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("not a name")
        if (module, attribute) not in CALLS:
            name = f"{module}.{attribute}"
            shown = name if name.isascii() and name.isprintable() else "something"
            raise RefusedPickle(shown[:60])
        self.push(CALLS[module, attribute])

    def call(self, _: object) -> None:
        arguments, function = tuple_from_value(self.stack.pop()), self.stack.pop()
        if not any(function is known for known in CALLS.values()):
            raise RefusedPickle("a call of a value")
        if not callable(function):
            raise RefusedPickle("a call of numpy.ndarray")
        value = function(*arguments)
        self.spend(value)
        self.push(value)

    def build(self, _: object) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledDtype):
            target.set_state(state)
        elif isinstance(target, PickledArray):
            target.values = array_from_bytes(*tuple_from_value(state)[-4:])
            self.spend(target.values)
            self.stack[-1] = target.values
        elif not isinstance(target, PickledMapping):
            raise RefusedPickle("an object with attributes")


_Step = Callable[[_Machine, Any], None]


def _constant(make: Callable[[], object]) -> _Step:
    return lambda machine, _: machine.push(make())


def _steps() -> dict[str, _Step]:
    """Return what each allowed opcode does; the argument is pickletools'."""
    literals = (
        "BINBYTES BINBYTES8 BINFLOAT BININT BININT1 BININT2 BINSTRING BINUNICODE "
        "BINUNICODE8 BYTEARRAY8 FLOAT INT LONG LONG1 LONG4 SHORT_BINBYTES "
        "SHORT_BINSTRING SHORT_BINUNICODE STRING UNICODE"
    )
    steps: dict[str, _Step] = {name: _Machine.push for name in literals.split()}
    steps |= {name: _Machine.remember for name in ("PUT", "BINPUT", "LONG_BINPUT")}
    steps |= {name: _Machine.recall for name in ("GET", "BINGET", "LONG_BINGET")}
    steps |= {name: _nothing for name in ("FRAME", "PROTO", "STOP")}
    steps |= {
        "APPEND": _Machine.append,
        "APPENDS": lambda m, _: m.extend(m.popped_to_mark()),
        "BUILD": _Machine.build,
        "DICT": _dict,
        "EMPTY_DICT": _constant(dict),
        "EMPTY_LIST": _constant(list),
        "EMPTY_TUPLE": _constant(tuple),
        "GLOBAL": _Machine.name,
        "LIST": lambda m, _: m.push(m.popped_to_mark()),
        "MARK": _Machine.mark,
        "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
        "NEWFALSE": _constant(lambda: False),
        "NEWTRUE": _constant(lambda: True),
        "NONE": _constant(lambda: None),
        "REDUCE": _Machine.call,
        "SETITEM": _Machine.set_item,
        "SETITEMS": lambda m, _: m.set_items(m.popped_to_mark()),
        "STACK_GLOBAL": _Machine.stack_name,
        "TUPLE": lambda m, _: m.push(tuple(m.popped_to_mark())),
        "TUPLE1": lambda m, _: m.tuple_of(1),
        "TUPLE2": lambda m, _: m.tuple_of(2),
        "TUPLE3": lambda m, _: m.tuple_of(3),
    }
    return steps


def _nothing(_machine: _Machine, _argument: object) -> None:
    """Framing and the end change nothing."""


def _dict(machine: _Machine, _: object) -> None:
    values = machine.popped_to_mark()
    machine.push({})
    machine.set_items(values)


_STEPS: Final[Mapping[str, _Step]] = MappingProxyType(_steps())


def content_from_pickle(stream: BinaryIO, size_bytes: int) -> object:
    """Return what a pickle holds, if that is nothing but data.

    Args:
        stream: At the start of the pickle; what follows its end is not read.
        size_bytes: Of the whole file; bounds what is made of it.

    Returns:
        Dictionaries, lists, tuples, strings, numbers, bytes, None and arrays of
        numbers in native byte order, which are read-only.

    Raises:
        RefusedPickle: It asks for anything else; says for what.
        Exception: It is damaged; any kind.
    """
    machine = _Machine(budget=_BYTES_PER_FILE_BYTE * size_bytes)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > _MAX_OPCODES:
            raise RefusedPickle("too many objects")
        step = _STEPS.get(opcode.name)
        if step is None:
            raise RefusedPickle("an object of a class")
        step(machine, argument)
    if machine.marks or len(machine.stack) != 1:
        raise ValueError("the stack is not empty at the end")
    return machine.stack[0]
