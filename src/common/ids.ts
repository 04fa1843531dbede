/**
 * Ids made by the server. A snowflake is 41 bits of milliseconds since 2020, 10 bits of node and 12 bits of counter, in decimal; it grows
 * with time, so rows of one node stay sorted by id in their files.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { Clock } from './clock.js';

const SNOWFLAKE_EPOCH_MS = 1_577_836_800_000;
const SEQUENCE_MAX = 4_095;

export type MakeId = () => string;

export const makeUuid: MakeId = () => randomUUID();

/** A generator of snowflake ids for one node; never gives the same id twice, also when the clock steps back. */
export function snowflakeIds(clock: Clock, nodeId: string): MakeId {
  const node = BigInt(createHash('sha256').update(nodeId).digest().readUInt16BE(0) & 1_023);
  let lastMs = 0;
  let sequence = 0;
  return () => {
    const now = clock.nowMs();
    if (now > lastMs) {
      lastMs = now;
      sequence = 0;
    } else if (sequence === SEQUENCE_MAX) {
      lastMs += 1;
      sequence = 0;
    } else {
      sequence += 1;
    }
    return ((BigInt(lastMs - SNOWFLAKE_EPOCH_MS) << 22n) | (node << 12n) | BigInt(sequence)).toString();
  };
}
