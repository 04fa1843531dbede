/** The manifests and the chart: against the schemas of several versions of Kubernetes, and applied to an API server. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { run } from '../release/run.mjs';
import { documentsOf, startApiServer } from './api-server.mjs';
import { expectEqual, expectRefusal, expectTrue } from './checks.mjs';
import { goModule, goTool, hasGo, hasPython, pythonTools } from './tools.mjs';

const SCHEMAS = ['1.27', '1.31', '1.34', '1.37'];
const API_SERVER = '1.34.4';
const OPERATOR = 'github.com/prometheus-operator/prometheus-operator@v0.85.0';
const MANIFESTS = path.join(REPOSITORY, 'deploy', 'kubernetes');
const CHART = path.join(REPOSITORY, 'deploy', 'helm', 'miniodb');

/** Charts with what people choose; every branch of the templates is in one of them. */
const CHOICES = {
  alone: {},
  cluster: {
    replicas: 3,
    config: { storage: { kind: 'minio' }, minio: { endpoint: 'minio:9000' }, redis: { mode: 'standalone', host: 'redis' } },
    secrets: { minioAccessKey: 'key', minioSecretKey: 'a-long-secret', redisPassword: 'password' },
    podAntiAffinity: { mode: 'required' },
    networkPolicy: { from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } } }] },
    persistence: { storageClass: 'fast', annotations: { a: 'b' } },
    resources: { requests: { cpu: 2, memory: '8Gi' }, limits: { memory: '8Gi' } },
  },
  guarded: {
    secrets: { existingSecret: 'mine' },
    tls: { existingSecret: 'miniodb-tls', clientCertificates: true },
    imagePullSecrets: [{ name: 'registry' }],
    priorityClassName: 'high',
    nodeSelector: { disk: 'ssd' },
    tolerations: [{ key: 'data', operator: 'Exists' }],
    topologySpreadConstraints: [
      { maxSkew: 1, topologyKey: 'zone', whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels: { a: 'b' } } },
    ],
    podAntiAffinity: { mode: 'none' },
    podAnnotations: { a: 'b' },
    podLabels: { c: 'd' },
    extraEnv: [{ name: 'MINIODB_QUERY__TIMEOUT_MS', value: '60000' }],
    service: { type: 'LoadBalancer', annotations: { a: 'b' } },
    serviceAccount: { annotations: { a: 'b' } },
    networkPolicy: { enabled: false },
  },
};
/** What must not pass, and the words of the refusal. */
const REFUSED_VALUES = [
  [{ replica: 3 }, "additional properties 'replica' not allowed"],
  [{ replicas: 'three' }, 'got string, want integer'],
  [{ replicas: 3 }, 'several servers need a bucket and Redis'],
  [{ config: { redis: { mode: 'standalone' } } }, 'set config.storage.kind to minio'],
  [{ config: { storage: { kind: 'minio' } } }, 'set secrets.minioAccessKey'],
  [{ config: { redis: { password: 'open' } } }, '/config/redis/password'],
  [{ secrets: { adminSecret: 'short' } }, '/secrets/adminSecret'],
  [{ tls: { clientCertificates: true } }, 'tls.clientCertificates needs tls.existingSecret'],
];

export async function testKubernetes({ checks, scratch }) {
  mkdirSync(scratch, { recursive: true });
  if (!hasGo()) return checks.notRun('all of it', 'helm and the API server are built with Go');
  const helm = goTool('helm', 'helm.sh/helm/v3/cmd/helm');
  const template = (values, version = '1.34', more = []) => {
    const file = path.join(scratch, 'values.json');
    writeFileSync(file, JSON.stringify(values));
    return run(helm, ['template', 'trial', CHART, '--namespace', 'trial', '--kube-version', version, '--values', file, ...more]);
  };
  await checks.run('helm lint --strict', async () => void run(helm, ['lint', '--strict', CHART]));
  await checks.run('the chart refuses values that cannot work', async () => {
    for (const [values, words] of REFUSED_VALUES) expectRefusal(words, () => template(values));
    return `${REFUSED_VALUES.length} faults refused`;
  });
  if (hasPython()) await testSchemas({ checks, scratch, template });
  else checks.notRun('schemas', 'kubernetes-validate takes Python with venv');
  await testApiServer({ checks, scratch, helm, template });
}

async function testSchemas({ checks, scratch, template }) {
  const program = pythonTools()('kubernetes-validate');
  const validate = (version, ...files) => run(program, ['--strict', '-k', version, ...files]);
  const manifests = manifestFiles();
  for (const version of SCHEMAS) {
    await checks.run(`manifests and chart are valid for Kubernetes ${version}`, async () => {
      const charts = Object.entries(CHOICES).map(([name, values]) => {
        const file = path.join(scratch, `${name}-${version}.yaml`);
        writeFileSync(file, template(values, version));
        return file;
      });
      const passed = validate(version, ...manifests, ...charts).match(/ passed for resource /g) ?? [];
      const wanted = [...manifests, ...charts].flatMap((file) => documentsOf(readFileSync(file, 'utf8'))).length;
      expectEqual(passed.length, wanted, 'resources that passed');
      return `${wanted} resources`;
    });
  }
  await checks.run('the schemas refuse a wrong type and an unknown field', async () => {
    const good = readFileSync(path.join(MANIFESTS, 'miniodb', 'statefulset.yaml'), 'utf8');
    for (const [bad, words] of [
      [good.replace('replicas: 3', 'replicas: three'), 'three'],
      [good.replace('replicas: 3', 'replica: 3'), 'replica'],
    ]) {
      const file = path.join(scratch, 'bad.yaml');
      writeFileSync(file, bad);
      for (const version of SCHEMAS) expectRefusal(words, () => validate(version, file));
    }
    return `2 faults, each refused for ${SCHEMAS.length} versions`;
  });
}

async function testApiServer({ checks, scratch, helm, template }) {
  const [, minor] = API_SERVER.split('.');
  const set = (name, value) => `-X k8s.io/component-base/version.${name}=${value}`;
  const flags = [set('gitVersion', `v${API_SERVER}`), set('gitMajor', '1'), set('gitMinor', minor)];
  let programs;
  const isBuilt = await checks.run('etcd and kube-apiserver', async () => {
    programs = {
      etcd: goTool('etcd', 'go.etcd.io/etcd/server/v3'),
      apiServer: goTool('kube-apiserver', 'k8s.io/kubernetes/cmd/kube-apiserver', flags),
    };
  });
  if (!isBuilt) return;
  const { cluster, stop } = await startApiServer(programs, path.join(scratch, 'control-plane'));
  try {
    await checks.run(`kube-apiserver ${API_SERVER} takes every manifest`, async () =>
      applyAll(cluster, manifestFiles().flatMap(documentsIn)),
    );
    await checks.run('it lets every pod into a namespace with the restricted standard, and no weaker one', async () => tryPods(cluster));
    await checks.run('it refuses a manifest with a fault', async () => {
      const statefulSet = documentsIn(path.join(MANIFESTS, 'miniodb', 'statefulset.yaml'))[0];
      const broken = (change) => {
        const copy = structuredClone(statefulSet);
        change(copy.spec);
        return copy;
      };
      const faults = [
        [broken((spec) => (spec.replica = 3)), 'replica'],
        [broken((spec) => (spec.selector.matchLabels = { other: 'label' })), 'selector'],
        [broken((spec) => (spec.template.spec.containers[0].volumeMounts[0].name = 'elsewhere')), 'elsewhere'],
      ];
      for (const [object, words] of faults)
        await expectRefused(words, () => cluster.apply({ ...object, metadata: { ...object.metadata, name: 'broken' } }));
      return `${faults.length} faults refused`;
    });
    await checks.run('it takes the chart, with the ServiceMonitor of the Prometheus operator', async () => {
      const operator = goModule(OPERATOR);
      const crd = path.join(operator, 'example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml');
      await cluster.apply(documentsIn(crd)[0]);
      await established(cluster);
      await cluster.apply({
        apiVersion: 'scheduling.k8s.io/v1',
        kind: 'PriorityClass',
        metadata: { name: CHOICES.guarded.priorityClassName },
        value: 1,
      });
      for (const [name, values] of Object.entries(CHOICES)) {
        await cluster.apply(namespace(name, { 'pod-security.kubernetes.io/enforce': 'restricted' }));
        const all = { ...values, serviceMonitor: { enabled: true, labels: { release: 'x' } } };
        const objects = documentsOf(template(all, '1.34', ['--namespace', name]));
        await applyAll(cluster, objects);
        const { spec } = objects.find(({ kind }) => kind === 'StatefulSet');
        await cluster.createPod(spec.template, name, 'server');
      }
      return `${Object.keys(CHOICES).length} sets of values`;
    });
    await checks.run('helm installs it, and an upgrade keeps the secret that was made', async () => {
      const env = { ...process.env, KUBECONFIG: cluster.kubeconfig() };
      const ask = (...parameters) =>
        run(helm, ['--kube-insecure-skip-tls-verify', '--kube-ca-file', '', '--namespace', 'installed', ...parameters], { env });
      const secret = async () => (await cluster.get('v1', 'Secret', 'installed', 'db-miniodb')).data.MINIODB_AUTH__ADMIN_SECRET;
      ask('install', 'db', CHART, '--create-namespace');
      const first = await secret();
      expectTrue(Buffer.from(first, 'base64').length >= 16, 'a secret was made');
      ask('upgrade', 'db', CHART, '--set', 'drainSeconds=7');
      expectEqual(await secret(), first, 'the secret after an upgrade');
      const { spec } = await cluster.get('apps/v1', 'StatefulSet', 'installed', 'db-miniodb');
      expectEqual(spec.template.spec.terminationGracePeriodSeconds, 26, 'time for a stop');
      ask('uninstall', 'db');
    });
  } finally {
    await stop();
  }
}

function manifestFiles() {
  return readdirSync(MANIFESTS, { recursive: true })
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => path.join(MANIFESTS, name))
    .sort((left, right) => Number(right.endsWith('namespace.yaml')) - Number(left.endsWith('namespace.yaml')));
}

function documentsIn(file) {
  return documentsOf(readFileSync(file, 'utf8'));
}

async function applyAll(cluster, objects) {
  for (const object of objects) await cluster.apply(object);
  return `${objects.length} objects`;
}

async function tryPods(cluster) {
  const sets = manifestFiles()
    .flatMap(documentsIn)
    .filter(({ kind }) => kind === 'StatefulSet');
  for (const { spec, metadata } of sets) await cluster.createPod(spec.template, metadata.namespace, metadata.name);
  const weaker = structuredClone(sets[0].spec.template);
  delete weaker.spec.securityContext.runAsNonRoot;
  await expectRefused('PodSecurity', () => cluster.createPod(weaker, sets[0].metadata.namespace, 'weaker'));
  return `${sets.length} pods, 1 refused`;
}

function namespace(name, labels = {}) {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

/** The server serves a new kind a moment after it has its definition. */
async function established(cluster) {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if ((await cluster.ask('GET', '/apis/monitoring.coreos.com/v1')).status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the definition of ServiceMonitor is not served');
}

async function expectRefused(words, body) {
  const message = await body().then(
    () => '',
    (error) => error.message,
  );
  expectTrue(message !== '', `a fault was not refused: "${words}" was expected`);
  expectTrue(message.includes(words), `the refusal should tell "${words}": ${message}`);
}
