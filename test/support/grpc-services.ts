/** The services of gRPC servers in general, reflection and health, asked as any tool asks them. */
import { createRequire } from 'node:module';
import path from 'node:path';
import { connectGrpc, type GrpcAnswer } from './grpc-client.js';

type Door = { readonly grpc: string };

/** `Check` of the health service. */
export async function checkHealth(server: Door, metadata?: Record<string, string>): Promise<GrpcAnswer> {
  const health = connectGrpc(server, 'grpc.health.v1.Health', fileIn('grpc-health-check', 'proto/health/v1/health.proto'));
  try {
    return await health.unary('Check', {}, metadata);
  } finally {
    health.close();
  }
}

/** The first message of `Watch`, which goes on until its client leaves. */
export async function watchHealth(server: Door, metadata?: Record<string, string>): Promise<string> {
  const health = connectGrpc(server, 'grpc.health.v1.Health', fileIn('grpc-health-check', 'proto/health/v1/health.proto'));
  try {
    const stream = health.download('Watch', {}, metadata);
    return await new Promise<string>((resolve, reject) => {
      stream.on('data', ({ status }: { status: string }) => {
        resolve(status);
        stream.cancel();
      });
      stream.on('error', reject);
    });
  } finally {
    health.close();
  }
}

/** Names of the services that reflection knows: one message with `list_services_response`. */
export async function listServices(server: Door, version: 'v1' | 'v1alpha', metadata?: Record<string, string>): Promise<GrpcAnswer> {
  const file = fileIn('@grpc/reflection', `build/proto/grpc/reflection/${version}/reflection.proto`);
  const reflection = connectGrpc(server, `grpc.reflection.${version}.ServerReflection`, file);
  try {
    return await reflection.drain('ServerReflectionInfo', { list_services: '*' }, metadata);
  } finally {
    reflection.close();
  }
}

function fileIn(packageName: string, file: string): string {
  return path.join(path.dirname(createRequire(import.meta.url).resolve(`${packageName}/package.json`)), file);
}
