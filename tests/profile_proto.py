"""profile.proto, declared for the protobuf library: https://github.com/google/pprof/blob/main/proto/profile.proto."""

from __future__ import annotations

import functools
import gzip
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Per message its fields: number, name, type; `*` is repeated.
MESSAGES = {
    "ValueType": "1 type int64, 2 unit int64",
    "Label": "1 key int64, 2 str int64, 3 num int64, 4 num_unit int64",
    "Sample": "1 location_id uint64*, 2 value int64*, 3 label Label*",
    "Mapping": "1 id uint64, 2 memory_start uint64, 3 memory_limit uint64, 4 file_offset uint64, 5 filename int64, "
    "6 build_id int64, 7 has_functions bool, 8 has_filenames bool, 9 has_line_numbers bool, 10 has_inline_frames bool",
    "Line": "1 function_id uint64, 2 line int64, 3 column int64",
    "Location": "1 id uint64, 2 mapping_id uint64, 3 address uint64, 4 line Line*, 5 is_folded bool",
    "Function": "1 id uint64, 2 name int64, 3 system_name int64, 4 filename int64, 5 start_line int64",
    "Profile": "1 sample_type ValueType*, 2 sample Sample*, 3 mapping Mapping*, 4 location Location*, "
    "5 function Function*, 6 string_table string*, 7 drop_frames int64, 8 keep_frames int64, 9 time_nanos int64, "
    "10 duration_nanos int64, 11 period_type ValueType, 12 period int64, 13 comment int64*, "
    "14 default_sample_type int64, 15 doc_url int64",
}


def parse_profile(content: bytes) -> Any:
    """Parse a gzipped profile; fields that profile.proto does not know are an error."""
    profile = _message_class()()
    profile.ParseFromString(gzip.decompress(content))
    known = _message_class()()
    known.CopyFrom(profile)
    known.DiscardUnknownFields()
    assert known == profile
    assert known.ByteSize() == profile.ByteSize()
    return profile


@functools.cache
def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="profile.proto", package="perftools.profiles", syntax="proto3"
    )
    field_type = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            number, field_name, kind = field.split()
            repeated = kind.endswith("*")
            kind = kind.rstrip("*")
            added = message.field.add(name=field_name, number=int(number))
            added.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in MESSAGES:
                added.type = field_type.TYPE_MESSAGE
                added.type_name = f".perftools.profiles.{kind}"
            else:
                added.type = getattr(field_type, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("perftools.profiles.Profile"))
