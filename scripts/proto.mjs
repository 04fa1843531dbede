/**
 * `npm run proto`: compiles the services of the gRPC server, ours, health and reflection, to proto/descriptors.binpb (a
 * google.protobuf.FileDescriptorSet), which reflection serves. A test compares it with the proto files.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { installOnDemand } from './on-demand.mjs';
import { REPOSITORY } from './prepare.mjs';

export const DESCRIPTORS = path.join(REPOSITORY, 'proto', 'descriptors.binpb');

/** Proto files under the paths that their importers know them by, and where they are. */
const SOURCES = {
  miniodb: path.join(REPOSITORY, 'proto', 'miniodb'),
  'grpc/health': fileOf('grpc-health-check', 'proto/health'),
  'grpc/reflection': fileOf('@grpc/reflection', 'build/proto/grpc/reflection'),
};

/** @param {string} file takes the descriptors */
export function compileProto(file) {
  const buf = path.join(installOnDemand('proto'), 'node_modules', '.bin', 'buf');
  const directory = mkdtempSync(path.join(os.tmpdir(), 'miniodb-proto-'));
  try {
    for (const [name, source] of Object.entries(SOURCES)) {
      mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
      cpSync(source, path.join(directory, name), { recursive: true });
    }
    execFileSync(buf, ['build', directory, '--as-file-descriptor-set', '--exclude-source-info', '--output', file], { stdio: 'inherit' });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function fileOf(packageName, file) {
  return path.join(path.dirname(createRequire(import.meta.url).resolve(`${packageName}/package.json`)), file);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    compileProto(DESCRIPTORS);
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
