/**
 * The objects of a table as anybody sees them who has access to the storage: past our server, in a local directory or in a bucket.
 */
import { readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Client } from 'minio';
import { testObjectStore } from '../servers/shared-servers.js';

export interface TableObjects {
  /** Names below the table's directory, sorted: `_delta_log/00000000000000000000.json`, `shard-0/2024-01-01/part-….parquet`. */
  names(): Promise<string[]>;
  read(name: string): Promise<Buffer>;
}

const BUCKET_LOCATION = /^s3:\/\/([^/]+)\/(.+)$/;

/** @param location as `GET /v1/tables/{name}` tells it; a bucket is one in the store of the run (TEST_STORAGE) */
export async function objectsAt(location: string): Promise<TableObjects> {
  const place = placeInBucket(location);
  if (!place) return directoryObjects(location);
  return bucketObjects((await testObjectStore()).client, place.bucket, place.directory);
}

/** Bucket and directory of a location in a bucket; undefined for a local one. */
export function placeInBucket(location: string): { readonly bucket: string; readonly directory: string } | undefined {
  const [, bucket, directory] = BUCKET_LOCATION.exec(location) ?? [];
  return bucket === undefined || directory === undefined ? undefined : { bucket, directory };
}

export function bucketObjects(client: Client, bucket: string, directory: string): TableObjects {
  const prefix = `${directory}/`;
  return {
    names: async () => {
      const names: string[] = [];
      const listed = client.listObjectsV2(bucket, prefix, true) as AsyncIterable<{ readonly name: string }>;
      for await (const { name } of listed) names.push(name.slice(prefix.length));
      return names.sort();
    },
    read: async (name) => buffer(await client.getObject(bucket, prefix + name)),
  };
}

function directoryObjects(directory: string): TableObjects {
  const isFile = (name: string): boolean => statSync(path.join(directory, name), { throwIfNoEntry: false })?.isFile() === true;
  return {
    names: () => Promise.resolve(readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(isFile).sort()),
    read: (name) => Promise.resolve(readFileSync(path.join(directory, name))),
  };
}
