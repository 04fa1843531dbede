#!/usr/bin/env node
/**
 * `npm run check-storage [-- --config FILE] [-- --quick]`: whether the object store that the configuration names is fit for the server, and what it
 * lacks. Takes the configuration of the server and uses its store classes; removes all that it makes. Exit code 0 when fit, 1 when not.
 */
import 'reflect-metadata';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { messageOf } from './common/app-error.js';
import { systemClock } from './common/clock.js';
import type { Config } from './config/config.js';
import { loadConfig } from './config/load-config.js';
import { localTrial } from './storage/check/local.js';
import { type Finding, type StorageTrial, runTrial } from './storage/check/run.js';
import { s3Trial } from './storage/check/s3.js';
import { s3Options } from './storage/storage-pool.js';

const CONFIG_DIRECTORY = fileURLToPath(new URL('../config', import.meta.url));
const VERDICT_WIDTH = 9;
const NAME_WIDTH = 28;

function trialsOf(config: Config, isQuick: boolean): StorageTrial[] {
  const { storage, minio, minio_backup: backup, redis } = config;
  const common = { hasRedis: redis.mode !== 'none', withLargeObject: !isQuick, clock: systemClock };
  const tables =
    storage.kind === 'local'
      ? localTrialOf(config)
      : s3Trial({ ...common, use: 'tables', s3: s3Options('minio', minio), putIfAbsent: minio.put_if_absent });
  if (backup.endpoint === '') return [tables];
  return [tables, s3Trial({ ...common, use: 'backups', s3: s3Options('minio_backup', backup), putIfAbsent: backup.put_if_absent })];
}

function localTrialOf({ data_dir: directory, wal }: Config): StorageTrial {
  const dataDirectory = path.resolve(directory);
  return localTrial({
    dataDirectory,
    objectsDirectory: path.join(dataDirectory, 'objects'),
    walBytesMax: wal.bytes_max,
    walSegmentBytes: wal.segment_bytes,
    clock: systemClock,
  });
}

function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

function printFinding(finding: Finding): void {
  print(`${finding.verdict.padEnd(VERDICT_WIDTH)}${finding.name.padEnd(NAME_WIDTH)}${finding.seen}`);
  if (!('meaning' in finding)) return;
  const indent = ' '.repeat(VERDICT_WIDTH);
  print(`${indent}means: ${finding.meaning}`);
  if (finding.remedy !== undefined) print(`${indent}remedy: ${finding.remedy}`);
}

function conclusionOf(findings: readonly Finding[]): string {
  const namesOf = (verdict: Finding['verdict']): string =>
    findings
      .filter((finding) => finding.verdict === verdict)
      .map(({ name }) => name)
      .join(', ');
  const [failed, lacking] = [namesOf('FAILED'), namesOf('LACKING')];
  if (failed !== '') return `NOT FIT: ${failed}`;
  return lacking === '' ? 'fit' : `fit, with the limitations listed above: ${lacking}`;
}

async function checkStorage(): Promise<boolean> {
  const { values } = parseArgs({ options: { config: { type: 'string' }, quick: { type: 'boolean', default: false } } });
  const trials = trialsOf(loadConfig(CONFIG_DIRECTORY, values.config, process.env), values.quick);
  const interruption = new AbortController();
  // Once: a second signal ends it at once, as it would without us.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interruption.abort());
  let isFit = true;
  for (const [index, trial] of trials.entries()) {
    print(`${index === 0 ? '' : '\n'}${trial.title}\n`);
    const findings = await runTrial(trial, printFinding, interruption.signal);
    if (interruption.signal.aborted) {
      print('\ninterrupted');
      return false;
    }
    print(`\n${conclusionOf(findings)}`);
    isFit &&= findings.every(({ verdict }) => verdict !== 'FAILED');
  }
  return isFit;
}

try {
  process.exitCode = (await checkStorage()) ? 0 : 1;
} catch (error) {
  process.stderr.write(`${messageOf(error)}\n`);
  process.exitCode = 1;
}
