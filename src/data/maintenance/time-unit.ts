/** UTC days, months and years: the spans that compaction gives files of their own. A file never holds part of several spans of one size. */
export const TIME_UNITS = ['day', 'month', 'year'] as const;

export type TimeUnit = (typeof TIME_UNITS)[number];

/** @returns the start of the unit that an instant lies in, in milliseconds since 1970 */
export function unitStart(unit: TimeUnit, ms: number): number {
  const start = new Date(ms);
  start.setUTCHours(0, 0, 0, 0);
  if (unit !== 'day') start.setUTCDate(1);
  if (unit === 'year') start.setUTCMonth(0);
  return start.getTime();
}

/** The smallest unit that two instants share. */
export function sharedUnit(firstMs: number, lastMs: number): TimeUnit | undefined {
  return TIME_UNITS.find((unit) => unitStart(unit, firstMs) === unitStart(unit, lastMs));
}
