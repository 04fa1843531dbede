/**
 * The lives and deaths of one data directory: start the server (which is the recovery from the last kill), compare every row with what was
 * acknowledged, put load on it from several clients at once, kill it. Each life ends at an armed fault point or at a random instant.
 */
import { cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { FAULT_POINTS, type FaultPoint } from '../../src/common/fault-points.js';
import { CrashEntityClient, type CrashRun, ENTITY_COLUMNS, newCrashRun } from './crash-entity-client.js';
import { CrashTableClient } from './crash-table-client.js';
import { type Finding, restoreEverything, verifyEntities } from './crash-verification.js';
import { DataClient } from './data-client.js';
import { ReferenceTable } from './reference-table.js';
import { UnexpectedAnswer, expectSuccess, isSuccess } from './requests.js';
import { SeededRandom } from './seeded-random.js';
import { type RunningServer, startServer, temporaryDirectory } from './server.js';

/** Everything small, so that each second of load sees many flushes, compactions, checkpoints, trims and clean-ups. */
const CONFIG = {
  log: { level: 'warn', file: '' },
  wal: { segment_bytes: 65_536 },
  maintenance: {
    interval_seconds: 0.5,
    checkpoint_commits: 2,
    compaction_files_min: 3,
    time_travel_hours: 10 / 3_600,
    orphan_age_hours: 60 / 3_600,
  },
};
const ENTITY_CLIENTS = 6;
const IDS_OF_A_CLIENT = 8;
/** A table with layout `id` is for few ids: each has a directory of its own. */
const IDS_OF_A_CLIENT_BY_ID = 2;
const LOAD_MS_MAX = 1_200;
const FAULT_WAIT_MS = 5_000;
/** For a point that was armed before and not reached: a slow machine gets more time. */
const FAULT_WAIT_AGAIN_MS = 30_000;
const EXIT_MS_MAX = 10_000;
const MAINTENANCE_PAUSE_MS_MAX = 150;

export type PlannedKill =
  | { readonly kind: 'fault'; readonly point: FaultPoint; readonly nth: number; readonly isAgain?: boolean }
  | { readonly kind: 'random'; readonly afterMs: number };

/** The fault points of these stages (`flush compaction`), or all. Throws when there is none. */
export function faultPointsOf(stages: string | undefined): readonly FaultPoint[] {
  const wanted = stages?.split(' ') ?? [];
  const points = FAULT_POINTS.filter((point) => wanted.length === 0 || wanted.includes(stageOf(point)));
  if (points.length === 0) throw new Error(`no fault point is of the stages ${stages}`);
  return points;
}

function stageOf(point: FaultPoint): string {
  return point.split('.')[0] ?? '';
}

/** Fault points in several rounds and random instants, shuffled; at least one round of points whatever `kills` says. */
export function planKills(kills: number, faultShare: number, points: readonly FaultPoint[], random: SeededRandom): PlannedKill[] {
  const rounds = Math.max(1, Math.round((kills * faultShare) / points.length));
  const faults = Array.from({ length: rounds }, () => points).flat();
  const instants = Math.max(0, kills - faults.length);
  return random.shuffled<PlannedKill>([
    ...faults.map((point): PlannedKill => ({ kind: 'fault', point, nth: random.integer(1, nthMax(point) + 1) })),
    ...Array.from({ length: instants }, (): PlannedKill => ({ kind: 'random', afterMs: random.integer(10, LOAD_MS_MAX) })),
  ]);
}

/** How often a second or two of load passes a point for certain. */
function nthMax(point: FaultPoint): number {
  switch (stageOf(point)) {
    case 'wal':
      return point === 'wal.before-trim' ? 4 : 60;
    case 'apply':
      return 60;
    case 'flush':
      return 8;
    default:
      return 2;
  }
}

/** One running server and why it may end. */
interface Life {
  readonly server: RunningServer;
  readonly client: DataClient;
  readonly planned: PlannedKill;
  isKilledByUs: boolean;
  hasEnded: boolean;
}

export class CrashScenario {
  readonly dataDir = temporaryDirectory('crash');
  readonly run: CrashRun = newCrashRun();
  readonly kills = { byPoint: new Map<FaultPoint, number>(), atRandom: 0, insteadOfPoint: 0 };
  lost = 0;
  doubled = 0;
  readonly #random: SeededRandom;
  readonly #tables = [
    new ReferenceTable('crash_append', 'append', ENTITY_COLUMNS),
    new ReferenceTable('crash_upsert', 'upsert', ENTITY_COLUMNS),
    new ReferenceTable('crash_by_id', 'append', ENTITY_COLUMNS),
  ];
  readonly #entityClients: readonly CrashEntityClient[];
  readonly #tableClients: readonly CrashTableClient[];

  /** @param points of which each is to be reached */
  constructor(
    readonly seed: number,
    readonly points: readonly FaultPoint[],
  ) {
    this.#random = new SeededRandom(seed);
    this.#entityClients = Array.from({ length: ENTITY_CLIENTS }, (_, number) => this.#newEntityClient(`c${number}`));
    const bulk = { tables: ['crash_bulk_0', 'crash_bulk_1'], rowsOfLoad: 600, bulk: true, loadsMax: 4 };
    const churn = { tables: ['crash_churn_0', 'crash_churn_1', 'crash_churn_2'], rowsOfLoad: 30, bulk: false, loadsMax: 2 };
    this.#tableClients = [
      new CrashTableClient('bulk client', bulk, this.#random.fork(), this.run),
      new CrashTableClient('churn client', churn, this.#random.fork(), this.run),
    ];
  }

  get killCount(): number {
    return this.faultKills + this.kills.atRandom + this.kills.insteadOfPoint;
  }

  get faultKills(): number {
    return [...this.kills.byPoint.values()].reduce((sum, count) => sum + count, 0);
  }

  get pointsNotReached(): FaultPoint[] {
    return this.points.filter((point) => !this.kills.byPoint.has(point));
  }

  async createTables(): Promise<void> {
    const server = await startServer({ dataDir: this.dataDir, config: CONFIG });
    const client = new DataClient(server);
    for (const table of this.#tables) {
      const layout = table.name === 'crash_by_id' ? 'id' : 'shard';
      const config = { write_mode: table.mode, layout, buffer_size: 20, flush_interval_seconds: 1 } as const;
      expectSuccess(await client.createTable(table.name, config), `create ${table.name}`);
    }
    await server.stop();
  }

  /** Start, compare, load, death. Throws when anything was lost, doubled or answered wrongly. */
  async liveAndDie(planned: PlannedKill): Promise<void> {
    const server = await this.#start(planned);
    if (!server) return;
    const life: Life = { server, client: new DataClient(server), planned, isKilledByUs: false, hasEnded: false };
    void server.exited.then(() => (life.hasEnded = true));
    try {
      const isVerified = await this.#verifyUnlessDead(life);
      if (isVerified) await this.#loadUntilDeath(life);
      await this.#account(life);
    } finally {
      await server.kill();
    }
    this.#throwWrongAnswers(life);
  }

  /** A last recovery: compares, brings soft-deleted rows back, rewrites everything stored, and compares again, also after a clean stop. */
  async verifyToTheEnd(): Promise<void> {
    const server = await startServer({ dataDir: this.dataDir, config: CONFIG });
    try {
      const client = new DataClient(server);
      await this.#verify(client);
      await restoreEverything(client, this.#tables, this.run);
      await this.#verify(client);
      for (const action of ['flush', 'compact', 'vacuum'] as const) {
        for (const table of this.#tables) expectSuccess(await client.maintain(table.name, action), `${action} ${table.name}`);
        await this.#verify(client);
      }
      const exitCode = await server.stop();
      if (exitCode !== 0) throw this.#failure(`SIGTERM ended the server with ${exitCode}:\n${server.output()}`);
    } finally {
      await server.kill();
    }
    const restarted = await startServer({ dataDir: this.dataDir, config: CONFIG });
    try {
      await this.#verify(new DataClient(restarted));
    } finally {
      await restarted.stop();
    }
  }

  /** A server armed for its death. None when it already died of its fault point during recovery. */
  async #start(planned: PlannedKill): Promise<RunningServer | undefined> {
    const env: Record<string, string> = planned.kind === 'fault' ? { MINIODB_FAULT_POINT: `${planned.point}:${planned.nth}` } : {};
    try {
      return await startServer({ dataDir: this.dataDir, config: CONFIG, env });
    } catch (error) {
      const diedOfPoint = planned.kind === 'fault' && error instanceof Error && error.message.includes('ended (SIGKILL)');
      if (!diedOfPoint) throw this.#failure(`the server does not start: ${String(error)}`);
      this.#countPoint(planned.point);
      return undefined;
    }
  }

  async #verifyUnlessDead(life: Life): Promise<boolean> {
    try {
      await this.#verify(life.client);
      return true;
    } catch (error) {
      if (!isConnectionLoss(error)) throw error;
      await this.#expectDeath(life);
      return false;
    }
  }

  async #verify(client: DataClient): Promise<void> {
    const findings: Finding[] = await verifyEntities(client, this.#tables, this.#entityClients, this.run);
    const reports = findings.map((finding) => finding.report);
    for (const finding of findings) {
      this.lost += finding.lost;
      this.doubled += finding.doubled;
    }
    for (const tableClient of this.#tableClients) {
      const failures = await tableClient.verify(client);
      this.lost += failures.length;
      reports.push(...failures);
    }
    if (reports.length > 0)
      throw this.#failure(`after ${this.killCount} kills: lost ${this.lost}, doubled ${this.doubled}\n${reports.join('\n')}`);
  }

  async #loadUntilDeath(life: Life): Promise<void> {
    const afterMs = loadMsMax(life.planned);
    const killTimer = setTimeout(() => this.#kill(life), afterMs);
    const steps = [
      ...this.#entityClients.map((entityClient) => () => entityClient.step(life.client)),
      ...this.#tableClients.map((tableClient) => () => tableClient.step(life.client)),
      () => this.#maintain(life),
    ];
    await Promise.all(steps.map((step) => this.#repeatUntilDeath(life, step)));
    clearTimeout(killTimer);
  }

  async #repeatUntilDeath(life: Life, step: () => Promise<void>): Promise<void> {
    while (!life.hasEnded && !life.isKilledByUs) {
      try {
        await step();
      } catch (error) {
        if (isConnectionLoss(error)) return this.#expectDeath(life);
        this.run.wrongAnswers.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
        this.#kill(life);
      }
    }
  }

  async #maintain(life: Life): Promise<void> {
    const table = this.#random.pick(this.#tables);
    const action = this.#random.pick(['flush', 'compact', 'vacuum'] as const);
    const answer = await life.client.maintain(table.name, action);
    // The background maintenance may hold the table: that is said with CONFLICT and harms nobody.
    if (!isSuccess(answer) && answer.json?.error !== 'CONFLICT') throw new UnexpectedAnswer(`${action} ${table.name}`, answer);
    await pause(this.#random.integer(1, MAINTENANCE_PAUSE_MS_MAX));
  }

  #kill(life: Life): void {
    if (life.hasEnded) return;
    life.isKilledByUs = true;
    void life.server.kill();
  }

  /** A connection breaks only because the server dies. */
  async #expectDeath(life: Life): Promise<void> {
    const tooLate = pause(EXIT_MS_MAX, 'alive' as const, { ref: false });
    const outcome = await Promise.race([life.server.exited, tooLate]);
    if (outcome !== 'alive') return;
    this.run.wrongAnswers.push(`a connection broke but the server lives:\n${life.server.output()}`);
    this.#kill(life);
  }

  async #account(life: Life): Promise<void> {
    const { code, signal } = await life.server.exited;
    if (life.isKilledByUs) {
      if (life.planned.kind === 'fault') this.kills.insteadOfPoint += 1;
      else this.kills.atRandom += 1;
    } else if (life.planned.kind === 'fault' && signal === 'SIGKILL') {
      this.#countPoint(life.planned.point);
    } else {
      throw this.#failure(`the server ended by itself (${code ?? signal}):\n${life.server.output()}`);
    }
  }

  #countPoint(point: FaultPoint): void {
    this.kills.byPoint.set(point, (this.kills.byPoint.get(point) ?? 0) + 1);
  }

  #throwWrongAnswers(life: Life): void {
    if (this.run.wrongAnswers.length === 0) return;
    throw this.#failure(`${this.run.wrongAnswers.join('\n')}\nserver output:\n${life.server.output().slice(-4_000)}`);
  }

  /** Keeps a copy of the data directory for whoever looks into the failure. */
  #failure(what: string): Error {
    const copy = path.join(tmpdir(), `miniodb-crash-failure-${this.seed}-${process.pid}`);
    cpSync(this.dataDir, copy, { recursive: true, force: true, filter: (file) => path.basename(file) !== 'lock' });
    return new Error(`SEED=${this.seed}, data directory kept in ${copy}\n${what}`);
  }

  #newEntityClient(name: string): CrashEntityClient {
    const ids = Array.from({ length: IDS_OF_A_CLIENT }, (_, id) => `${name}_${id}`);
    const owned = this.#tables.map((table) => {
      return [table, table.name === 'crash_by_id' ? ids.slice(0, IDS_OF_A_CLIENT_BY_ID) : ids] as const;
    });
    return new CrashEntityClient(name, new Map(owned), this.#random.fork(), this.run);
  }
}

function loadMsMax(planned: PlannedKill): number {
  if (planned.kind === 'random') return planned.afterMs;
  return planned.isAgain ? FAULT_WAIT_AGAIN_MS : FAULT_WAIT_MS;
}

/** What fetch throws when the other side is gone; everything else is a finding. */
function isConnectionLoss(error: unknown): boolean {
  return error instanceof TypeError && (error.message === 'fetch failed' || error.message === 'terminated');
}
