/** Names of backups carry their UTC second: `backup_20240115_103000`. They sort by time, and people can read them. */
import { AppError } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';

const NAME = /^[a-z]+_(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)(\d\d)$/;

function backupName(prefix: 'backup' | 'data', ms: number): string {
  const [date = '', time = ''] = new Date(ms).toISOString().slice(0, 19).replace(/[-:]/g, '').split('T');
  return `${prefix}_${date}_${time}`;
}

/** @returns milliseconds since 1970, or undefined for a text that is no such name */
export function timeOfName(name: string): number | undefined {
  const parts = NAME.exec(name);
  if (!parts) return undefined;
  const [, year, month, day, hour, minute, second] = parts;
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(ms) ? undefined : ms;
}

const SECONDS_TRIED_MAX = 60;

/**
 * Finds a name that nobody has: that of this second, or of the next one that is free.
 * @param take false when the name is taken
 */
export async function takeName(prefix: 'backup' | 'data', nowMs: number, take: (name: string) => Promise<boolean>): Promise<string> {
  for (let second = 0; second < SECONDS_TRIED_MAX; second += 1) {
    const name = backupName(prefix, nowMs + second * MS_PER_SECOND);
    if (await take(name)) return name;
  }
  throw new AppError('RESOURCE_EXHAUSTED', `the backup names for the next ${SECONDS_TRIED_MAX} seconds are taken; try again in a minute`, {
    retryAfterSeconds: SECONDS_TRIED_MAX,
  });
}
