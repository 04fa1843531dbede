/**
 * Named instants at which a crash is hard to survive. `MINIODB_FAULT_POINT=name[:nth]` makes the process kill itself with SIGKILL the nth
 * time it passes one; the crash tests do that and then look for lost or doubled rows. Without the variable a point costs one comparison.
 */
export const FAULT_POINTS = [
  'wal.before-sync',
  'wal.after-sync',
  'apply.after',
  'flush.before-encode',
  'flush.after-encode',
  'flush.after-upload',
  'flush.after-commit',
  'flush.after-publish',
  'wal.before-trim',
  'compaction.after-encode',
  'compaction.after-upload',
  'compaction.after-commit',
  'checkpoint.after-write',
  'checkpoint.after-hint',
  'bulk.after-file',
  'bulk.after-log',
  'table.create.after-log',
  'table.create.after-catalogue',
  'table.drop.after-catalogue',
] as const;

export type FaultPoint = (typeof FAULT_POINTS)[number];

const [armedPoint, nth = '1'] = (process.env['MINIODB_FAULT_POINT'] ?? '').split(':');
let passesLeft = Number(nth);

/** Marks an instant; ends the process there when the tests armed it. */
export function faultPoint(point: FaultPoint): void {
  if (point !== armedPoint) return;
  passesLeft -= 1;
  if (passesLeft === 0) process.kill(process.pid, 'SIGKILL');
}
