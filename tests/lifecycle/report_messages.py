"""The messages of protocol section 2.10 for the real protobuf library, which judges our JSON."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import any_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import Parse
from google.protobuf.message_factory import GetMessageClass

_PACKAGE = "dev.studio_go_runner.reports"
_TIME, _TEXT, _ANY = (f".google.protobuf.{name}" for name in ("Timestamp", "StringValue", "Any"))
_FIELDS: dict[str, list[tuple[str, int, str]]] = {
    "Report": [
        ("time", 1, _TIME),
        ("experiment_id", 2, _TEXT),
        ("unique_id", 3, _TEXT),
        ("executor_id", 4, _TEXT),
        ("proto_any", 10, _ANY),
        ("text", 11, _TEXT),
        ("logging", 12, "LogEntry"),
        ("progress", 13, "Progress"),
    ],
    "LogEntry": [
        ("time", 1, _TIME),
        ("severity", 2, "LogSeverity"),
        ("message", 3, _TEXT),
        ("fields", 4, "LogEntry.FieldsEntry"),
    ],
    "Progress": [
        ("time", 1, _TIME),
        ("json", 2, _TEXT),
        ("state", 3, "TaskState"),
        ("error", 4, "Progress.Error"),
    ],
}
_ENUMS = {
    "LogSeverity": {
        "Default": 0,
        "Trace": 100,
        "Debug": 200,
        "Info": 300,
        "Warning": 400,
        "Error": 500,
        "Fatal": 600,
    },
    "TaskState": {"Prestart": 0, "Started": 1, "Stopping": 2, "Failed": 20, "Success": 21},
}
_PAYLOAD = range(10, 14)
_Field = FieldDescriptorProto


def parsed(text: bytes) -> Any:
    """Return the ``Report`` that this JSON is. Raises ParseError for what is none."""
    return Parse(text.decode(), _report_class()(), ignore_unknown_fields=False)


@cache
def _report_class() -> Any:
    pool = DescriptorPool()
    for module in (any_pb2, timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(_file())
    return GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Report"))


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="reports.proto", package=_PACKAGE, syntax="proto3")
    for module in (any_pb2, timestamp_pb2, wrappers_pb2):
        file.dependency.append(module.DESCRIPTOR.name)
    for name, values in _ENUMS.items():
        file.enum_type.append(_enum(name, values))
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            _add(message, field, number, kind)
        _complete(message)
    return file


def _enum(name: str, values: dict[str, int]) -> EnumDescriptorProto:
    made = EnumDescriptorProto(name=name)
    for value, number in values.items():
        made.value.add(name=value, number=number)
    return made


def _add(message: DescriptorProto, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    field.type = _Field.TYPE_ENUM if kind in _ENUMS else _Field.TYPE_MESSAGE
    field.type_name = kind if kind.startswith(".") else f".{_PACKAGE}.{kind}"
    if message.name == "Report" and number in _PAYLOAD:
        field.oneof_index = 0
    if kind.endswith("Entry") and "." in kind:
        field.label = _Field.LABEL_REPEATED


def _complete(message: DescriptorProto) -> None:
    """Add what lies inside of it: the choice of payloads, the map, the error."""
    if message.name == "Report":
        message.oneof_decl.add(name="payload")
    elif message.name == "LogEntry":
        entry = message.nested_type.add(name="FieldsEntry")
        entry.options.map_entry = True
        for name, number in (("key", 1), ("value", 2)):
            entry.field.add(
                name=name, number=number, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING
            )
    else:
        error = message.nested_type.add(name="Error")
        _add(error, "msg", 20, _TEXT)
        error.field.add(name="code", number=21, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_INT32)
