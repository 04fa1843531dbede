/** Where things are below the data directory. */
import path from 'node:path';

export interface DataPaths {
  readonly objects: string;
  readonly wal: string;
  readonly bulk: string;
  readonly scratch: string;
  readonly spill: string;
  readonly cache: string;
}

export function dataPaths(dataDirectory: string): DataPaths {
  const root = path.resolve(dataDirectory);
  const at = (name: string): string => path.join(root, name);
  return { objects: at('objects'), wal: at('wal'), bulk: at('wal/bulk'), scratch: at('tmp'), spill: at('spill'), cache: at('cache') };
}
