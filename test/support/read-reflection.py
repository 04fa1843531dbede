"""Builds a descriptor pool from what the reflection of a server tells, as Python clients do; prints the methods and what their files say."""
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

with grpc.insecure_channel(sys.argv[1]) as channel:
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    for service in sorted(database.get_services()):
        for method in pool.FindServiceByName(service).methods:
            assert pool.FindMethodByName(method.full_name).input_type is method.input_type
            print(method.full_name, method.input_type.full_name, method.output_type.full_name)
    record = pool.FindMessageTypeByName('miniodb.v1.DataRecord')
    print(record.file.name, record.file.GetOptions().go_package, *(each.name for each in record.file.dependencies))
    print('presence', pool.FindMessageTypeByName('miniodb.v1.TableConfig').fields_by_name['buffer_size'].has_presence)
