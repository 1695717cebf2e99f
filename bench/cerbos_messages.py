"""Cerbos' CheckResources messages: the fields this bench uses, under Cerbos' own numbers.

Source: cerbos/request/v1/request.proto, engine/v1/engine.proto, response/v1/response.proto and effect/v1/effect.proto of
Cerbos 0.55. Maps are declared as repeated entries, which is the same on the wire.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

METHOD = "/cerbos.svc.v1.CerbosService/CheckResources"
ALLOW = 1

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "remit.bench.cerbos"
_TEXT = _Field.TYPE_STRING
_ENUM_AS_NUMBER = _Field.TYPE_INT32
_VALUE = "google.protobuf.Value"
_ONE = _Field.LABEL_OPTIONAL
_MANY = _Field.LABEL_REPEATED

_FIELDS: dict[str, list[tuple[str, int, _Field.Label.ValueType, _Field.Type.ValueType | str]]] = {
    "Attribute": [("key", 1, _ONE, _TEXT), ("value", 2, _ONE, _VALUE)],
    "Principal": [("id", 1, _ONE, _TEXT), ("roles", 3, _MANY, _TEXT)],
    "Resource": [("kind", 1, _ONE, _TEXT), ("id", 3, _ONE, _TEXT), ("attr", 4, _MANY, "Attribute")],
    "Entry": [("actions", 1, _MANY, _TEXT), ("resource", 2, _ONE, "Resource")],
    "Request": [("principal", 3, _ONE, "Principal"), ("resources", 4, _MANY, "Entry")],
    "ActionEffect": [("action", 1, _ONE, _TEXT), ("effect", 2, _ONE, _ENUM_AS_NUMBER)],
    "Result": [("actions", 2, _MANY, "ActionEffect")],
    "Response": [("results", 2, _MANY, "Result")],
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="remit/bench/cerbos.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, label, kind in fields:
            field = described.field.add(name=name, number=number)
            field.label = label
            if isinstance(kind, str):
                field.type = _Field.TYPE_MESSAGE
                field.type_name = f".{kind}" if "." in kind else f".{_PACKAGE}.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("Request", "Response")
    }


_MESSAGES = _message_classes()


def request(principal: str, roles: list[str], action: str, kind: str, namespaces: list[str]) -> bytes:
    """One CheckResources request about the same principal and action, one resource a namespace."""
    message = _MESSAGES["Request"]()
    message.principal.id = principal
    message.principal.roles.extend(roles)
    for index, namespace in enumerate(namespaces):
        entry = message.resources.add()
        entry.actions.append(action)
        entry.resource.kind = kind
        entry.resource.id = f"flow-{index}"
        attribute = entry.resource.attr.add(key="namespace")
        attribute.value.string_value = namespace
    return bytes(message.SerializeToString())


def effects(response: bytes) -> list[int]:
    """The effects of a CheckResources response, in order."""
    message = _MESSAGES["Response"].FromString(response)
    return [action.effect for result in message.results for action in result.actions]
