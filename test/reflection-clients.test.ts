/** Reflection as clients in other languages use it: they build every type from what the server tells, and refuse what does not fit together. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { compileProto, DESCRIPTORS } from '../scripts/proto.mjs';
import { expectThat } from './support/expectations.js';
import { serviceMethods } from './support/grpc-client.js';
import { grpcurl, pythonReflection } from './support/reflection-clients.js';
import { type RunningServer, startServer } from './support/server.js';

const SERVICES = [
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'miniodb.v1.AuthService',
  'miniodb.v1.MinIODBService',
];
const INSTALL_MS_MAX = 1_200_000;

let server: RunningServer;
let address: string;

beforeAll(async () => {
  server = await startServer();
  address = server.grpc.replace(/^\w+:\/\//, '');
});

afterAll(async () => {
  await server?.kill();
});

it(
  'serves what the compiler makes of the proto files (npm run proto)',
  () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'descriptors-'));
    try {
      compileProto(path.join(directory, 'descriptors.binpb'));
      expectThat(readFileSync(path.join(directory, 'descriptors.binpb')).equals(readFileSync(DESCRIPTORS)), 'type: npm run proto').toBe(
        true,
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
  INSTALL_MS_MAX,
);

describe('other clients', () => {
  it(
    'grpcurl lists, describes and calls',
    async () => {
      const client = grpcurl();
      // Told in the log of the run.
      if (!client) return;
      expect((await client(address, 'list')).trim().split('\n')).toEqual(SERVICES);
      for (const service of SERVICES) expect(await client(address, 'describe', service)).toContain(`${service} is a service`);
      for (const { name } of serviceMethods('miniodb.v1.MinIODBService'))
        expect(await client(address, 'describe', `miniodb.v1.MinIODBService.${name}`)).toContain(`rpc ${name} (`);
      expect(await client(address, 'describe', 'miniodb.v1.DataRecord')).toContain('.google.protobuf.Struct payload = 3;');
      expect(await client(address, 'describe', 'google.protobuf.Timestamp')).toContain('int64 seconds = 1;');
      const answer = await client('-d', '{"sql":"SELECT 1 AS one"}', address, 'miniodb.v1.MinIODBService/QueryData');
      expect(JSON.parse(answer)).toEqual({ resultJson: '[{"one":1}]' });
      expect(JSON.parse(await client(address, 'grpc.health.v1.Health/Check'))).toEqual({ status: 'SERVING' });
    },
    INSTALL_MS_MAX,
  );

  it(
    'Python builds a descriptor pool of all services',
    async () => {
      const client = pythonReflection();
      if (!client) return;
      const lines = (await client(address)).trim().split('\n');
      for (const service of ['miniodb.v1.MinIODBService', 'miniodb.v1.AuthService'])
        for (const { name } of serviceMethods(service))
          expect(lines.some((line) => line.startsWith(`${service}.${name} miniodb.v1.`))).toBe(true);
      expect(lines).toContain('miniodb/v1/miniodb.proto miniodb/v1;miniodbv1 google/protobuf/struct.proto google/protobuf/timestamp.proto');
      expect(lines).toContain('presence True');
    },
    INSTALL_MS_MAX,
  );
});
