/**
 * How much of the processors this process takes, in percent of one of them, over the time since it was last measured (at least a second, so that two
 * who ask do not spoil each other's figures). Where the system tells the time of each thread (Linux), what the threads beside Node's own take is told
 * apart: there the engine works.
 */
import { Injectable } from '@nestjs/common';
import { readFileSync } from 'node:fs';

const WINDOW_MS_MIN = 1_000;
const US_PER_MS = 1_000;
/** Linux counts the time of threads in these. */
const MS_PER_TICK = 10;
/** Positions after the name of the thread, which stands in brackets and may hold anything. */
const [USER_TICKS, SYSTEM_TICKS] = [11, 12];

interface Sample {
  readonly atMs: number;
  readonly processMs: number;
  /** Of Node's own thread; undefined where the system does not tell. */
  readonly mainMs: number | undefined;
}

@Injectable()
export class CpuUsage {
  #last: Sample = { atMs: 0, processMs: 0, mainMs: 0 };
  #percent: Readonly<Record<string, number>> | undefined;

  /** Percent by component. */
  read(): Readonly<Record<string, number>> {
    const sample = take();
    if (this.#percent && sample.atMs - this.#last.atMs < WINDOW_MS_MIN) return this.#percent;
    this.#percent = percentBetween(this.#last, sample);
    this.#last = sample;
    return this.#percent;
  }
}

function percentBetween(before: Sample, now: Sample): Record<string, number> {
  const percent = (ms: number): number => Math.max(0, Math.round((1_000 * ms) / (now.atMs - before.atMs)) / 10);
  const spentMs = now.processMs - before.processMs;
  if (now.mainMs === undefined || before.mainMs === undefined) return { process: percent(spentMs) };
  return { process: percent(spentMs), query_engine: percent(spentMs - (now.mainMs - before.mainMs)) };
}

/** Since the start of the process. */
function take(): Sample {
  const { user, system } = process.cpuUsage();
  return { atMs: performance.now(), processMs: (user + system) / US_PER_MS, mainMs: mainThreadMs() };
}

function mainThreadMs(): number | undefined {
  if (process.platform !== 'linux') return undefined;
  const text = readFileSync(`/proc/self/task/${process.pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) * MS_PER_TICK;
}
