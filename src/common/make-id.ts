/**
 * Ids made by the server. A snowflake is 41 bits of milliseconds since 2020, 10 bits of writer and 12 bits of counter, in decimal; it grows
 * with time, so rows of one node stay sorted by id in their files.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from './clock.js';

const SNOWFLAKE_EPOCH_MS = 1_577_836_800_000;
const SEQUENCE_MAX = 4_095;
/** Writers that can be told apart. */
const WRITERS_MAX = 1_024;

export type MakeId = () => string;

export const makeUuid: MakeId = () => randomUUID();

/**
 * A generator of snowflake ids; never gives the same id twice, also when the clock steps back.
 * @param writer a number that no other writer of the same store has, such as the range of its log. Of numbers that are 1,024 apart only one may be
 *   in use; a hash of a name would collide among a few dozen nodes
 * @param lastMs when the writer may last have made an id before it was started; the clock may have gone back since
 */
export function snowflakeIds(clock: Clock, writer: number, lastMs = 0): MakeId {
  const node = BigInt(writer % WRITERS_MAX);
  let sequence = SEQUENCE_MAX;
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
