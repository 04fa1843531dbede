/** Which objects of a table's directory its log names: data files, and the files of their deletion vectors. What copies, counts or removes objects asks here. */
import type { AddAction, DeletionVectorDescriptor, RemoveAction } from './action.js';
import { vectorObjectName } from './deletion-vector.js';
import { pathOf, type Snapshot, TAG_SOFT_VECTOR } from './snapshot.js';

export interface NamedObject {
  /** In the table's directory. */
  readonly path: string;
  /** The log does not know it of files with deletion vectors. */
  readonly sizeBytes: number | undefined;
}

/** The objects that a file in one state of its deletion vectors needs. */
export function objectsOfFile(action: AddAction | RemoveAction): NamedObject[] {
  const soft = action.tags?.[TAG_SOFT_VECTOR];
  const vectors = [action.deletionVector, soft === undefined ? undefined : (JSON.parse(soft) as DeletionVectorDescriptor)];
  const names = vectors.map((vector) => vector && vectorObjectName(vector)).filter((name) => name !== undefined);
  return [{ path: pathOf(action), sizeBytes: action.size }, ...names.map((path) => ({ path, sizeBytes: undefined }))];
}

/** All objects that a version consists of, each once. */
export function objectsOf({ files, emptyFile }: Snapshot): NamedObject[] {
  const named = [...files.values(), ...(emptyFile ? [emptyFile] : [])].flatMap(({ add }) => objectsOfFile(add));
  return [...new Map(named.map((object) => [object.path, object])).values()];
}
