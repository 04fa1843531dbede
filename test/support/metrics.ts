/** What `GET /metrics` says, as data: samples by name and labels, and what an action changes in them. */
import { type Door, expectStatus } from './requests.js';
import { call } from './server.js';

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const SAMPLE_LINE = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
/** These change by themselves, or by an amount that no test can know. */
const RESTLESS =
  /^miniodb_(memory|cpu|wal|redis|minio|object_store|freshness|table_unflushed|table_uncompacted|replication|requests_duration_seconds_(sum|bucket)|backup_duration|table_size)/;

/** @throws Error for a line that is not of the format */
export async function scrape(server: Door): Promise<readonly Sample[]> {
  const { text } = expectStatus(await call(server, 'GET', '/metrics'), 200);
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map(parseSample);
}

function parseSample(line: string): Sample {
  const [whole, name = '', labels = '', value = ''] = SAMPLE_LINE.exec(line) ?? [];
  if (whole === undefined || Number.isNaN(Number(value))) throw new Error(`/metrics has a line that cannot be read: ${line}`);
  return {
    name,
    labels: Object.fromEntries([...labels.matchAll(LABEL)].map(([, key = '', text = '']) => [key, text])),
    value: Number(value),
  };
}

/** `name{label="value",…}` with its labels in the order of the alphabet. */
export function seriesOf({ name, labels }: Pick<Sample, 'name' | 'labels'>): string {
  const pairs = Object.entries(labels).sort(([left], [right]) => (left < right ? -1 : 1));
  return pairs.length === 0 ? name : `${name}{${pairs.map(([key, value]) => `${key}="${value}"`).join(',')}}`;
}

/** Values by series. */
export async function valuesOf(server: Door): Promise<ReadonlyMap<string, number>> {
  return new Map((await scrape(server)).map((sample) => [seriesOf(sample), sample.value]));
}

/** The value of one series, or undefined while it is not there. */
export async function metric(server: Door, series: string): Promise<number | undefined> {
  return (await valuesOf(server)).get(series);
}

/** By how much an action changes each series that is not restless; a series that comes counts from 0. */
export async function movedBy(server: Door, action: () => Promise<unknown>): Promise<Record<string, number>> {
  const before = await valuesOf(server);
  await action();
  const after = await valuesOf(server);
  const moved = [...after].map(([series, value]): [string, number] => [series, value - (before.get(series) ?? 0)]);
  return Object.fromEntries(moved.filter(([series, by]) => by !== 0 && !RESTLESS.test(series)));
}
