/** The audit log of a server, as whoever looks into it reads it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { eventually } from './requests.js';

export interface AuditLine {
  readonly time: string;
  readonly request_id: string;
  readonly address: string;
  readonly principal?: string;
  readonly key_shown?: string;
  readonly door: string;
  readonly method: string;
  readonly result: string;
  readonly tables: readonly string[];
  readonly target?: string;
  readonly sql?: string;
  readonly duration_ms: number;
}

/** Files of a log, the one that is written last. */
export function auditFiles(file: string): string[] {
  const folder = path.dirname(file);
  if (!existsSync(folder)) return [];
  const numberOf = (name: string): number => Number(name.slice(path.basename(file).length + 1) || 0);
  return readdirSync(folder)
    .filter((name) => name === path.basename(file) || name.startsWith(`${path.basename(file)}.`))
    .sort((left, right) => numberOf(right) - numberOf(left))
    .map((name) => path.join(folder, name));
}

export function auditText(file: string): string {
  return auditFiles(file)
    .map((name) => readFileSync(name, 'utf8'))
    .join('');
}

/** Every line, the oldest first. @throws Error for one that is not JSON */
export function auditLines(file: string): AuditLine[] {
  return auditText(file)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as AuditLine);
}

/** The lines of one request, once there is one: lines are written within a second. */
export function auditLinesOf(file: string, requestId: string): Promise<AuditLine[]> {
  return eventually(
    `an audit line of ${requestId}`,
    () => auditLines(file).filter((line) => line.request_id === requestId),
    (lines) => lines.length > 0,
    5_000,
  );
}
