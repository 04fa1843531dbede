/**
 * What reflection tells of the services: descriptors that a compiler made of the proto files (`npm run proto`). Those that the loader of proto files makes
 * when the server starts leave out names of files and imports, and other clients than Node's refuse them.
 * Source: `google.protobuf.FileDescriptorSet` in `google/protobuf/descriptor.proto`.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ReflectionService } from '@grpc/reflection';
import protobuf from 'protobufjs';

const DESCRIPTORS = fileURLToPath(new URL('../../proto/descriptors.binpb', import.meta.url));

type PackageDefinition = ConstructorParameters<typeof ReflectionService>[0];

export function compiledDescriptors(): PackageDefinition {
  const reader = protobuf.Reader.create(readFileSync(DESCRIPTORS));
  const fileDescriptorProtos: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    // Its only field: a file.
    reader.uint32();
    fileDescriptorProtos.push(reader.bytes());
  }
  // Reflection looks at the descriptors of a definition and at nothing else.
  return { files: { fileDescriptorProtos } } as unknown as PackageDefinition;
}
