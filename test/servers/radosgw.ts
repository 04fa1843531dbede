/**
 * A real S3 server: Ceph's gateway `radosgw` with one monitor and one storage daemon, all on loopback, of one's own folder and ports, as
 * many at once as one likes. It checks signatures, payload hashes and `If-None-Match: *` as a large store does. It differs from others in
 * that it takes `If-Match` only without quotes, gives no ETag for a multipart upload, and says yes when one's own bucket is made again.
 *
 * What it holds is in memory and goes with the storage daemon, unless it is made durable.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { type CephFacts, cephConfig, cephKeyring, cephPaths, monitorAddress } from './ceph-config.js';
import { runProgram, type ServerProcess, spawnServer, untilReady } from './child-process.js';
import { makeServerDirectory, type ServerDirectory } from './cleaner.js';
import { LOOPBACK, withFreePorts } from './free-ports.js';

const ANSWER_MS_MAX = 1_000;

export interface ObjectStoreServer {
  /** With scheme, without a path. */
  readonly endpoint: string;
  readonly host: string;
  readonly port: number;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** Everything it writes lies in here. */
  readonly directory: string;
  /** The processes that run now. */
  pids(): readonly number[];
  /** SIGSTOP to all: connections are accepted by the system, and nothing answers. */
  pause(): void;
  resume(): void;
  /** SIGKILL to all: connections are refused. What was in memory is gone. */
  kill(): Promise<void>;
  /** SIGKILL to the gateway alone: connections are refused, the objects stay, in memory or not. */
  killGateway(): Promise<void>;
  /** Starts again what was killed, with the same address, keys and objects. Throws when the objects were in memory and are lost. */
  restart(): Promise<void>;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

export interface ObjectStoreOptions {
  /** Objects on disk, so that they survive kill(). */
  readonly durable?: boolean;
}

export function startObjectStore({ durable = false }: ObjectStoreOptions = {}): Promise<ObjectStoreServer> {
  return withFreePorts(2, async ([monitorPort = 0, gatewayPort = 0]) => {
    const directory = makeServerDirectory('s3');
    const store = durable ? 'bluestore' : 'memstore';
    const cluster = new CephCluster({ directory: directory.path, clusterId: randomUUID(), monitorPort, gatewayPort, store });
    try {
      await cluster.create();
      return serverOf(cluster, directory);
    } catch (error) {
      await cluster.kill();
      directory.remove();
      throw error;
    }
  });
}

function serverOf(cluster: CephCluster, directory: ServerDirectory): ObjectStoreServer {
  const { gatewayPort: port } = cluster.facts;
  return {
    endpoint: `http://${LOOPBACK}:${port}`,
    host: LOOPBACK,
    port,
    accessKey: cluster.accessKey,
    secretKey: cluster.secretKey,
    region: 'us-east-1',
    directory: directory.path,
    pids: () => cluster.running().map((process) => process.pid),
    pause: () => cluster.running().forEach((process) => process.pause()),
    resume: () => cluster.running().forEach((process) => process.resume()),
    kill: () => cluster.kill(),
    killGateway: () => cluster.killGateway(),
    restart: () => cluster.restart(),
    stop: async () => {
      await cluster.kill();
      directory.remove();
    },
  };
}

class CephCluster {
  readonly accessKey = 'test-access-key';
  readonly secretKey = `test-secret-key-${randomUUID()}`;

  readonly #paths: ReturnType<typeof cephPaths>;
  readonly #storageId = randomUUID();
  #monitor: ServerProcess | undefined;
  #storage: ServerProcess | undefined;
  #gateway: ServerProcess | undefined;

  constructor(readonly facts: CephFacts) {
    this.#paths = cephPaths(facts.directory);
  }

  async create(): Promise<void> {
    this.#writeFiles();
    await this.#formatMonitor();
    this.#startMonitor();
    await bothEnded(this.#registerStorage(), this.#formatStorage());
    this.#startStorage();
    await this.#startGateway();
    await this.#createUser();
  }

  async restart(): Promise<void> {
    if (!isRunning(this.#storage) && this.facts.store === 'memstore') {
      throw new Error('this object store was in memory and is lost; start it with { durable: true }');
    }
    if (!isRunning(this.#monitor)) {
      this.#startMonitor();
      await this.#untilMonitorListens();
    }
    if (!isRunning(this.#storage)) this.#startStorage();
    if (!isRunning(this.#gateway)) await this.#startGateway();
  }

  running(): readonly ServerProcess[] {
    return [this.#gateway, this.#storage, this.#monitor].filter(isRunning);
  }

  async kill(): Promise<void> {
    await Promise.all(this.running().map((process) => process.kill()));
  }

  async killGateway(): Promise<void> {
    await this.#gateway?.kill();
  }

  #writeFiles(): void {
    for (const directory of [this.#paths.monitor, this.#paths.storage]) mkdirSync(directory);
    writeFileSync(this.#paths.config, cephConfig(this.facts));
    writeFileSync(this.#paths.keyring, cephKeyring());
  }

  async #formatMonitor(): Promise<void> {
    const { monitorMap, keyring } = this.#paths;
    const { clusterId } = this.facts;
    await runProgram('monmaptool', ['--create', '--fsid', clusterId, '--addv', 'a', monitorAddress(this.facts), monitorMap]);
    await runProgram('ceph-mon', [...this.#config(), '-i', 'a', '--mkfs', '--monmap', monitorMap, '--keyring', keyring]);
  }

  /** Waits for the monitor by itself. Without the id that the storage is formatted with, the daemon would never be let in. */
  #registerStorage(): Promise<void> {
    return runProgram('ceph', [...this.#config(), '--connect-timeout', '30', 'osd', 'new', this.#storageId]);
  }

  #formatStorage(): Promise<void> {
    return runProgram('ceph-osd', [...this.#config(), '-i', '0', '--mkfs', '--no-mon-config', '--osd-uuid', this.#storageId]);
  }

  #createUser(): Promise<void> {
    const keys = [`--access-key=${this.accessKey}`, `--secret-key=${this.secretKey}`];
    return runProgram('radosgw-admin', [...this.#config(), 'user', 'create', '--uid=tests', '--display-name=tests', ...keys]);
  }

  #startMonitor(): void {
    this.#monitor = spawnServer('ceph-mon', [...this.#config(), '-f', '-i', 'a']);
  }

  #startStorage(): void {
    this.#storage = spawnServer('ceph-osd', [...this.#config(), '-f', '-i', '0']);
  }

  /** It listens as soon as the storage daemon has made the pools it needs. */
  async #startGateway(): Promise<void> {
    this.#gateway = spawnServer('radosgw', [...this.#config(), '-f', '-n', 'client.rgw']);
    const address = `http://${LOOPBACK}:${this.facts.gatewayPort}/`;
    await untilReady(
      'the S3 server',
      this.running(),
      async () => (await fetch(address, { signal: AbortSignal.timeout(ANSWER_MS_MAX) })).ok,
    );
  }

  async #untilMonitorListens(): Promise<void> {
    await untilReady('the monitor of the S3 server', this.running(), () => accepts(this.facts.monitorPort));
  }

  #config(): readonly string[] {
    return ['-c', this.#paths.config];
  }
}

/** Unlike Promise.all it leaves none running when the other has failed. */
async function bothEnded(...runs: readonly Promise<void>[]): Promise<void> {
  await Promise.allSettled(runs);
  await Promise.all(runs);
}

function isRunning(process: ServerProcess | undefined): process is ServerProcess {
  return process !== undefined && !process.hasEnded();
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, LOOPBACK);
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
