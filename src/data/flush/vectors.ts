/** Turns masks into deletion vectors: stores those too large for the log, and gives their descriptors. */
import type { ObjectStore } from '../../infra/object-store/object-store.js';
import type { DeletionVectorDescriptor } from '../../metadata/delta/action.js';
import { prepareVector } from '../../metadata/delta/deletion-vector.js';
import type { Table } from '../../tables/table.js';

export interface StoredVectors {
  readonly vector: DeletionVectorDescriptor | undefined;
  readonly softVector: DeletionVectorDescriptor | undefined;
}

/** @param positions sorted; objects are durable when this returns, so a commit may name them */
export async function storeVectors(
  store: ObjectStore,
  table: Table,
  positions: { readonly all: readonly number[]; readonly soft: readonly number[] },
): Promise<StoredVectors> {
  return {
    vector: await storeVector(store, table, positions.all),
    softVector: await storeVector(store, table, positions.soft),
  };
}

async function storeVector(store: ObjectStore, table: Table, positions: readonly number[]): Promise<DeletionVectorDescriptor | undefined> {
  if (positions.length === 0) return undefined;
  const { descriptor, object } = prepareVector(positions);
  if (object) await store.putIfAbsent(`${table.directory}/${object.name}`, object.bytes);
  return descriptor;
}
