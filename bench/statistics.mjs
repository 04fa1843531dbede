/** Middle values, and how they are printed. */

export function median(values) {
  return quantile(values, 0.5);
}

/** The value that the given share of all values does not exceed (nearest rank). */
export function quantile(values, share) {
  if (values.length === 0) throw new Error('no values to take a quantile of');
  const ascending = Float64Array.from(values).sort();
  return ascending[Math.min(ascending.length - 1, Math.max(0, Math.ceil(share * ascending.length) - 1))];
}

export function integer(value) {
  return Math.round(value).toLocaleString('en');
}

export function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** Milliseconds with as many digits as mean something. */
export function milliseconds(value) {
  return `${value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0)} ms`;
}

/** @returns what an action gives, and its milliseconds */
export async function timed(action) {
  const startedAt = performance.now();
  const value = await action();
  return [value, performance.now() - startedAt];
}
