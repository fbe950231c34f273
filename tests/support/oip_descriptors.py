"""Print what proto modules define, to compare two that cannot share a process.

`python oip_descriptors.py MODULE...`: by message, enum and service.
"""

import importlib
import json
import sys

from google.protobuf import descriptor_pb2


def main() -> None:
    found = {}
    for name in sys.argv[1:]:
        file = descriptor_pb2.FileDescriptorProto()
        importlib.import_module(name).DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            describe(message, file.package, found)
        for enum in file.enum_type:
            found[enum.name] = {value.name: value.number for value in enum.value}
        for service in file.service:
            found[service.name] = {
                m.name: [
                    m.input_type,
                    m.output_type,
                    m.client_streaming,
                    m.server_streaming,
                ]
                for m in service.method
            }
    json.dump(found, sys.stdout)


def describe(message, parent, found) -> None:
    name = f"{parent}.{message.name}"
    found[name] = {
        field.name: [
            field.number,
            field.type,
            field.label,
            field.type_name,
            message.oneof_decl[field.oneof_index].name
            if field.HasField("oneof_index")
            else "",
        ]
        for field in message.field
    }
    for nested in message.nested_type:
        describe(nested, name, found)


if __name__ == "__main__":
    main()
