/** Turns masks into deletion vectors: those of one commit go into one object, which is stored before the commit names it. */
import type { ObjectStore } from '../../storage/object-store.js';
import type { DeletionVectorDescriptor } from '../../delta/action.js';
import type { VectorFile } from '../../delta/deletion-vector.js';
import type { Table } from '../../tables/table.js';

export interface FileVectors {
  readonly vector: DeletionVectorDescriptor | undefined;
  readonly softVector: DeletionVectorDescriptor | undefined;
}

/** @param positions sorted */
export function addVectors(to: VectorFile, positions: { readonly all: readonly number[]; readonly soft: readonly number[] }): FileVectors {
  return { vector: to.add(positions.all), softVector: to.add(positions.soft) };
}

/** The vectors are durable when this returns, so a commit may name them. */
export async function storeVectors(store: ObjectStore, table: Table, file: VectorFile): Promise<void> {
  const { object } = file;
  if (object) await store.putIfAbsent(`${table.directory}/${object.name}`, object.bytes);
}
