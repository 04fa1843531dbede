/**
 * The actions of a commit as one list: what it changes, and what deletion vectors ask for in the same commit. A commit has one metadata action at
 * most; where the move to the protocol of vectors brings one, it says what the other said, too.
 */
import type { Action } from './action.js';
import type { Snapshot } from './snapshot.js';
import { type EmptyFile, vectorActions } from './table-protocol.js';

/** @param current the version that the commit stands on */
export async function commitActions(
  current: Snapshot,
  actions: readonly Action[],
  emptyFile: EmptyFile,
  nowMs: number,
): Promise<readonly Action[]> {
  const protocol = await vectorActions(current, actions, emptyFile, nowMs);
  const bringsMetaData = protocol.some((action) => 'metaData' in action);
  return [...protocol, ...(bringsMetaData ? actions.filter((action) => !('metaData' in action)) : actions)];
}
