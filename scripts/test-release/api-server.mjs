/**
 * A control plane without machines: etcd and kube-apiserver on loopback. What is applied to it goes through everything that a cluster does before it
 * stores an object: fields, defaults, validation, and the standards for pods of the namespace. Nothing is scheduled, and no container runs.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { load } from 'js-yaml';
import { run } from '../release/run.mjs';
import { freePorts } from './free-ports.mjs';

const READY_MS_MAX = 90_000;
const STOP_MS_MAX = 20_000;
const ASK_MS_MAX = 20_000;
const CLUSTER_WIDE = new Set(['Namespace', 'CustomResourceDefinition', 'PriorityClass']);

/** @param {{etcd: string, apiServer: string}} programs */
export async function startApiServer({ etcd, apiServer }, folder) {
  mkdirSync(folder, { recursive: true });
  const [client, peer, port] = await freePorts(3);
  const token = randomBytes(16).toString('hex');
  const inside = (name) => path.join(folder, name);
  writeFileSync(inside('tokens.csv'), `${token},admin,1,system:masters\n`, { mode: 0o600 });
  run('openssl', ['genrsa', '-out', inside('sa.key'), '2048']);
  run('openssl', ['rsa', '-in', inside('sa.key'), '-pubout', '-out', inside('sa.pub')]);
  const urls = (at) => `http://127.0.0.1:${at}`;
  const store = start(etcd, [
    ...['--data-dir', inside('etcd'), '--unsafe-no-fsync', '--listen-peer-urls', urls(peer)],
    ...['--listen-client-urls', urls(client), '--advertise-client-urls', urls(client)],
  ]);
  const server = start(apiServer, [
    ...[`--etcd-servers=${urls(client)}`, '--bind-address=127.0.0.1', `--secure-port=${port}`, `--cert-dir=${inside('certificates')}`],
    ...['--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${inside('sa.pub')}`],
    ...[`--service-account-signing-key-file=${inside('sa.key')}`, `--token-auth-file=${inside('tokens.csv')}`, '--authorization-mode=RBAC'],
    // No controller makes the account of each namespace here, and pods would wait for it.
    ...['--service-cluster-ip-range=10.0.0.0/24', '--disable-admission-plugins=ServiceAccount', '--watch-cache=false'],
  ]);
  const cluster = new Cluster(port, token, inside);
  const stop = async () => {
    await server.stop();
    await store.stop();
  };
  try {
    await cluster.ready();
  } catch (error) {
    await stop();
    throw new Error(`${error.message}\n${store.printed()}\n${server.printed()}`);
  }
  return { cluster, stop };
}

class Cluster {
  #port;
  #token;
  #inside;
  /** Paths of the kinds, as the server lists them. */
  #places = new Map();

  constructor(port, token, inside) {
    this.#port = port;
    this.#token = token;
    this.#inside = inside;
  }

  async ready() {
    for (const startedAt = Date.now(); Date.now() - startedAt < READY_MS_MAX; await sleep(200)) {
      try {
        if ((await this.ask('GET', '/readyz')).status === 200) return;
      } catch {
        // It does not listen yet.
      }
    }
    throw new Error('the API server was not ready in time');
  }

  /** A kubeconfig for programs that want one. */
  kubeconfig() {
    const file = this.#inside('kubeconfig');
    const certificate = readFileSync(this.#inside('certificates/apiserver.crt')).toString('base64');
    const cluster = {
      server: `https://127.0.0.1:${this.#port}`,
      'certificate-authority-data': certificate,
      'tls-server-name': 'kubernetes',
    };
    const text = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'here', cluster }],
      users: [{ name: 'admin', user: { token: this.#token } }],
      contexts: [{ name: 'here', context: { cluster: 'here', user: 'admin' } }],
      'current-context': 'here',
    };
    writeFileSync(file, JSON.stringify(text), { mode: 0o600 });
    return file;
  }

  /**
   * Server-side apply, with every unknown field refused.
   * @returns {Promise<object>} the object as the server has it now
   * @throws Error with what the server says
   */
  async apply(object) {
    const { status, body } = await this.ask(
      'PATCH',
      `${await this.#pathOf(object)}?fieldManager=test&force=true&fieldValidation=Strict`,
      object,
    );
    if (status !== 200 && status !== 201)
      throw new Error(`${object.kind}/${object.metadata.name}: ${body.message ?? JSON.stringify(body)}`);
    return body;
  }

  /** Creates a pod, in which the standards of its namespace are enforced. */
  async createPod(template, namespace, name) {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...template.metadata, name, namespace }, spec: withoutClaims(template.spec) };
    const { status, body } = await this.ask('POST', `/api/v1/namespaces/${namespace}/pods?dryRun=All&fieldValidation=Strict`, pod);
    if (status !== 201) throw new Error(`Pod/${name}: ${body.message}`);
  }

  async get(apiVersion, kind, namespace, name) {
    return (await this.ask('GET', await this.#pathOf({ apiVersion, kind, metadata: { name, namespace } }))).body;
  }

  async #pathOf({ apiVersion, kind, metadata: { name, namespace } }) {
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    if (!this.#places.has(`${apiVersion}/${kind}`)) {
      const { resources } = (await this.ask('GET', root)).body;
      const found = resources?.find((resource) => resource.kind === kind && !resource.name.includes('/'));
      if (found === undefined) throw new Error(`the API server has no ${kind} in ${apiVersion}`);
      this.#places.set(`${apiVersion}/${kind}`, found.name);
    }
    const scope = CLUSTER_WIDE.has(kind) ? '' : `/namespaces/${namespace}`;
    return `${root}${scope}/${this.#places.get(`${apiVersion}/${kind}`)}/${name}`;
  }

  ask(method, place, body) {
    const type = method === 'PATCH' ? 'application/apply-patch+yaml' : 'application/json';
    return new Promise((resolve, reject) => {
      const options = {
        ...{ host: '127.0.0.1', port: this.#port, path: place, method, timeout: ASK_MS_MAX },
        // Its certificate is its own, made a moment ago.
        rejectUnauthorized: false,
        headers: { authorization: `Bearer ${this.#token}`, 'content-type': type, accept: 'application/json' },
      };
      const sent = request(options, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (part) => (text += part));
        answer.on('end', () => resolve({ status: answer.statusCode, body: text.startsWith('{') ? JSON.parse(text) : { message: text } }));
      });
      sent.on('error', reject).on('timeout', () => sent.destroy(new Error(`no answer within ${ASK_MS_MAX} ms`)));
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

/** Documents of a YAML file. */
export function documentsOf(text) {
  return text
    .split(/^---$/m)
    .filter((part) => part.split('\n').some((line) => /^\s*[^\s#]/.test(line)))
    .map((part) => load(part));
}

/** A StatefulSet gives its pods volumes for the claims. */
function withoutClaims(spec) {
  const known = new Set((spec.volumes ?? []).map(({ name }) => name));
  const wanted = spec.containers
    .flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }) => name))
    .filter((name) => !known.has(name));
  return { ...spec, volumes: [...(spec.volumes ?? []), ...[...new Set(wanted)].map((name) => ({ name, emptyDir: {} }))] };
}

function start(program, parameters) {
  let printed = '';
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (printed = (printed + bytes).slice(-4_000)));
  const ended = new Promise((resolve) => child.once('exit', resolve).once('error', resolve));
  const endWithUs = () => child.kill('SIGKILL');
  process.once('exit', endWithUs);
  void ended.then(() => process.removeListener('exit', endWithUs));
  const stop = async () => {
    child.kill('SIGTERM');
    const code = await Promise.race([ended, sleep(STOP_MS_MAX, 'too long', { ref: false })]);
    if (code === 'too long') child.kill('SIGKILL');
  };
  return { stop, printed: () => printed };
}
