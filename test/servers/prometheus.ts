/** A Prometheus server on loopback, with a folder of its own, and the questions that tests ask it. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { spawnServer, untilReady } from './child-process.js';
import { makeServerDirectory } from './cleaner.js';
import { LOOPBACK, withFreePorts } from './free-ports.js';

/** One value of the answer to an expression. */
export interface PrometheusSample {
  readonly labels: Readonly<Record<string, string>>;
  /** NaN where Prometheus says so. */
  readonly value: number;
}

interface PrometheusRule {
  readonly name: string;
  readonly query: string;
  /** `ok` when the last evaluation worked. */
  readonly health: string;
  readonly lastError?: string;
}

export interface PrometheusServer {
  readonly url: string;
  /** @throws Error with what Prometheus says of an expression that it does not take */
  query(expression: string): Promise<readonly PrometheusSample[]>;
  rules(): Promise<readonly PrometheusRule[]>;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

/** @param config what the configuration file says; YAML takes JSON as it is */
export function startPrometheus(config: Readonly<Record<string, unknown>>): Promise<PrometheusServer> {
  return withFreePorts(1, async ([port = 0]) => {
    const directory = makeServerDirectory('prometheus');
    const file = path.join(directory.path, 'prometheus.yml');
    writeFileSync(file, JSON.stringify(config));
    const url = `http://${LOOPBACK}:${port}`;
    const server = spawnServer('prometheus', [
      `--config.file=${file}`,
      `--storage.tsdb.path=${path.join(directory.path, 'data')}`,
      `--web.listen-address=${LOOPBACK}:${port}`,
      '--log.level=warn',
    ]);
    const stop = async (): Promise<void> => {
      await server.kill();
      directory.remove();
    };
    try {
      await untilReady('Prometheus', [server], async () => (await fetch(`${url}/-/ready`)).ok);
    } catch (error) {
      await stop();
      throw error;
    }
    return { url, query: (expression) => query(url, expression), rules: () => rules(url), stop };
  });
}

async function query(url: string, expression: string): Promise<readonly PrometheusSample[]> {
  const { result } = await ask<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(url, 'query', {
    query: expression,
  });
  return result.map(({ metric, value: [, value] }) => ({ labels: metric, value: Number(value) }));
}

async function rules(url: string): Promise<readonly PrometheusRule[]> {
  const { groups } = await ask<{ groups: { rules: PrometheusRule[] }[] }>(url, 'rules', {});
  return groups.flatMap((group) => group.rules);
}

async function ask<Data>(url: string, what: string, parameters: Record<string, string>): Promise<Data> {
  const response = await fetch(`${url}/api/v1/${what}?${new URLSearchParams(parameters).toString()}`);
  const answer = (await response.json()) as { status: string; error?: string; data: Data };
  if (answer.status !== 'success') throw new Error(`Prometheus refuses ${JSON.stringify(parameters)}: ${answer.error ?? response.status}`);
  return answer.data;
}
