/** A server that is killed and comes back on its directory. */
import { type RunningServer, type ServerOptions, startServer, temporaryDirectory } from './server.js';

export class KillableNode {
  readonly #dataDir = temporaryDirectory('node');
  #running: Promise<RunningServer> | undefined;

  constructor(
    readonly id: string,
    private readonly options: Omit<ServerOptions, 'dataDir'>,
  ) {}

  /** The server, once it is up. */
  server(): Promise<RunningServer> {
    return (this.#running ??= this.#start());
  }

  #start(): Promise<RunningServer> {
    const { env, ...rest } = this.options;
    return startServer({ ...rest, dataDir: this.#dataDir, env: { ...env, NODE_ID: this.id } });
  }

  /** From now on `server()` is the next one. */
  killAndRestart(): void {
    const before = this.server();
    this.#running = before.then(async (server) => {
      await server.kill();
      return this.#start();
    });
    this.#running.catch(() => undefined);
  }

  /** Until somebody asks for the server again. */
  async kill(): Promise<void> {
    await (await this.#running)?.kill();
    this.#running = undefined;
  }
}
