/**
 * What else deploys the server, without the programs that read it: manifests of Kubernetes, the Helm chart, Compose files of several services, the
 * Debian package, Grafana's provisioning. Names agree with each other, images with docker-compose.yml and package.json, and every setting is one that the
 * server knows. `npm run test:release` gives the same files to helm, an API server, dpkg and so on.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { Ajv } from 'ajv';
import { load } from 'js-yaml';
import { expectThat } from './support/expectations.js';
import { configOf, expectKnownSettings } from './support/known-settings.js';

const REPOSITORY = fileURLToPath(new URL('../', import.meta.url));
const CHART = 'deploy/helm/miniodb';
/** Values that follow from where the server runs, and stand in no Secret or ConfigMap. */
const FROM_THE_POD = { NODE_ID: 'miniodb-0' };
const GOOD_SECRETS = { MINIODB_AUTH__ADMIN_SECRET: 'sixteen characters', MINIO_SECRET_KEY: 'long enough', REDIS_PASSWORD: 'password' };

const text = (file: string): string => readFileSync(path.join(REPOSITORY, file), 'utf8');
const yaml = (file: string): any => load(text(file));
const { version } = JSON.parse(text('package.json')) as { version: string };
const openapi = JSON.parse(text('docs/openapi.json')) as { paths: Record<string, unknown> };
const trial = (file: string): any => merged(load(text(file).replace(/\$\{\w+:-([^}]*)\}/g, '$1')));
const single = trial('docker-compose.yml').services;

describe('the manifests of Kubernetes', () => {
  const files = readdirSync(path.join(REPOSITORY, 'deploy/kubernetes'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.yaml'),
  );
  const objects: any[] = files.flatMap((name) =>
    text(`deploy/kubernetes/${name}`)
      .split(/^---$/m)
      .map((part) => load(part)),
  );
  const ofKind = (kind: string): any[] => objects.filter((object) => object.kind === kind);
  const sets = ofKind('StatefulSet');
  const server = sets.find(({ metadata }) => metadata.name === 'miniodb');
  const podOf = (set: any): any => set.spec.template.spec;
  const [settings] = ofKind('ConfigMap');
  const [secret] = ofKind('Secret');

  it('are the files and folders that are applied in this order', () => {
    expect(files.filter((name) => !name.includes('/')).sort()).toEqual(['configmap.yaml', 'namespace.yaml', 'secret.yaml']);
    for (const folder of ['redis', 'minio', 'miniodb']) expect(files.some((name) => name.startsWith(`${folder}/`))).toBe(true);
  });

  it('stand in one namespace, which takes pods without rights only', () => {
    const [namespace] = ofKind('Namespace');
    expect(namespace.metadata.labels['pod-security.kubernetes.io/enforce']).toBe('restricted');
    for (const { kind, metadata } of objects) if (kind !== 'Namespace') expect(metadata.namespace).toBe(namespace.metadata.name);
    for (const set of sets) {
      expect(podOf(set).securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
      expect(podOf(set)).toMatchObject({ automountServiceAccountToken: false });
      for (const { securityContext } of podOf(set).containers)
        expect(securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
    }
  });

  it('have selectors that find pods, names that are there, and volumes that are mounted', () => {
    const labels = sets.map((set) => set.spec.template.metadata.labels['app.kubernetes.io/name']);
    const selectors = [
      ...sets.map(({ spec }) => spec.selector.matchLabels),
      ...ofKind('Service').map(({ spec }) => spec.selector),
      ...ofKind('PodDisruptionBudget').map(({ spec }) => spec.selector.matchLabels),
      ...ofKind('NetworkPolicy').map(({ spec }) => spec.podSelector.matchLabels),
    ];
    for (const selector of selectors) expect(labels).toContain(selector['app.kubernetes.io/name']);
    const services = ofKind('Service').map(({ metadata }) => metadata.name);
    for (const set of sets) {
      expect(services).toContain(set.spec.serviceName);
      const claims = set.spec.volumeClaimTemplates.map(({ metadata }: any) => metadata.name);
      const volumes = [...claims, ...(podOf(set).volumes ?? []).map(({ name }: any) => name)];
      const mounted = podOf(set).containers.flatMap(({ volumeMounts }: any) => volumeMounts.map(({ name }: any) => name));
      expect(mounted.sort()).toEqual(volumes.sort());
      for (const { env = [] } of podOf(set).containers)
        for (const { valueFrom } of env)
          if (valueFrom?.secretKeyRef) expect(secret.stringData).toHaveProperty([valueFrom.secretKeyRef.key]);
    }
    expect(podOf(server).containers[0].envFrom).toEqual([
      { configMapRef: { name: settings.metadata.name } },
      { secretRef: { name: secret.metadata.name } },
    ]);
  });

  it('run the images of docker-compose.yml', () => {
    const images = sets.flatMap((set) => podOf(set).containers.map(({ image }: any) => image)).sort();
    expect(images).toEqual([single.miniodb.image, single.redis.image, single.silo.image].sort());
    expect(images).toContain(`miniodb:${version}`);
  });

  it('give the server settings that it knows, and nothing from services of the namespace', () => {
    const environment = { ...settings.data, ...secret.stringData, ...GOOD_SECRETS, ...FROM_THE_POD };
    expectKnownSettings(environment);
    // They would be called REDIS_PORT and MINIODB_SERVICE_HOST.
    expect(podOf(server).enableServiceLinks).toBe(false);
    const config = configOf(environment);
    const services = ofKind('Service').map(({ metadata, spec }) => `${metadata.name}:${spec.ports[0].port}`);
    expect(services).toContain(config.minio.endpoint);
    expect(services).toContain(`${config.redis.host}:${config.redis.port}`);
    const ports = Object.fromEntries(podOf(server).containers[0].ports.map(({ name, containerPort }: any) => [name, containerPort]));
    expect(ports).toEqual({ rest: config.server.rest_port, grpc: config.server.grpc_port });
    expect(podOf(server).terminationGracePeriodSeconds).toBeGreaterThan(config.server.shutdown_seconds + 5);
  });

  it('do not start with the secrets of the repository', () => {
    expect(() => configOf({ ...settings.data, ...secret.stringData })).toThrow('auth.admin_secret');
  });

  it('probe what is there', () => {
    const [container] = podOf(server).containers;
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      expect(openapi.paths).toHaveProperty([container[probe].httpGet.path]);
      expect(container[probe].httpGet.port).toBe('rest');
    }
  });

  it('run a Redis that persists and evicts nothing, as docker-compose.yml does', () => {
    const redis = sets.find(({ metadata }) => metadata.name === 'redis');
    const withoutPassword = (parameters: string[]): string[] => parameters.slice(0, -1);
    expect(withoutPassword(podOf(redis).containers[0].args)).toEqual(withoutPassword(single.redis.command));
  });
});

describe('the Helm chart', () => {
  const values = yaml(`${CHART}/values.yaml`);
  const schema = JSON.parse(text(`${CHART}/values.schema.json`)) as object;
  const templates = readdirSync(path.join(REPOSITORY, CHART, 'templates'), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(yaml|tpl|txt)$/.test(name))
    .map((name) => text(`${CHART}/templates/${name}`));

  it('has the version of the server', () => {
    expect(yaml(`${CHART}/Chart.yaml`)).toMatchObject({ name: 'miniodb', version, appVersion: version });
  });

  it('has a schema that takes its values and refuses others', () => {
    const check = new Ajv({ strict: false }).compile(schema);
    expect(check(values)).toBe(true);
    for (const wrong of [{ replica: 3 }, { replicas: 'three' }, { replicas: 0 }, { persistence: { size: 'large' } }])
      expect(check({ ...values, ...wrong })).toBe(false);
  });

  it('reads values that are there, and all of them', () => {
    const used = new Set(templates.flatMap((template) => [...template.matchAll(/\.Values\.([A-Za-z_.]+)/g)].map(([, name = '']) => name)));
    const leaves = (value: any, name: string): string[] =>
      value !== null && typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length > 0
        ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, name === '' ? key : `${name}.${key}`))
        : [name];
    const isUsed = (leaf: string): boolean => [...used].some((name) => leaf === name || leaf.startsWith(`${name}.`));
    for (const leaf of leaves(values, '')) expectThat(isUsed(leaf), `${leaf} is used`).toBe(true);
    const has = (name: string): boolean => name.split('.').reduce((at: any, key) => at?.[key], values) !== undefined;
    for (const name of used) expectThat(has(name), `${name} has a default`).toBe(true);
  });

  it('gives the server settings that it knows', () => {
    const variables = [...text(`${CHART}/templates/secret.yaml`).matchAll(/^\s*"?([A-Z][A-Z_]+)"?:? /gm)].map(([, name = '']) => name);
    expect(variables).toHaveLength(7);
    const secrets = Object.fromEntries(variables.map((name) => [name, 'a secret that is longer than thirty-two characters']));
    expectKnownSettings({
      ...secrets,
      HOST: values.config.server.host,
      AUTH_MODE: values.config.auth.mode,
      STORAGE: 'minio',
      MINIO_BACKUP_ENDPOINT: 'x:1',
    });
    const decided = /\$decided := dict (.*?) -}}/.exec(text(`${CHART}/templates/_helpers.tpl`))?.[1] ?? '';
    expect(decided).toContain('"data_dir" "/data"');
    expect(configOf({ MINIODB_AUDIT__FILE: '/data/logs/audit.log', MINIODB_LOG__FILE: '""' }).audit.file).toBe('/data/logs/audit.log');
  });
});

describe('deploy/compose', () => {
  const cluster = trial('deploy/compose/cluster.yml');
  const monitoring = trial('deploy/compose/monitoring.yml');
  const nodes: any[] = Object.entries(cluster.services).flatMap(([name, service]) => (name.startsWith('miniodb-') ? [service] : []));

  it('runs three nodes that differ in name, volume and ports, and in nothing else from the single one', () => {
    expect(nodes).toHaveLength(3);
    const distinct = (of: (service: any) => unknown): number => new Set(nodes.map(of)).size;
    expect(distinct(({ environment }) => environment.NODE_ID)).toBe(3);
    expect(distinct(({ volumes }) => volumes[0])).toBe(3);
    const published = nodes.flatMap(({ ports }) => ports.map((port: string) => port.split(':').slice(0, 2).join(':')));
    expect(new Set(published).size).toBe(6);
    for (const address of published) expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
    for (const node of nodes) {
      const same = {
        environment: { ...node.environment, NODE_ID: 'node-1' },
        volumes: single.miniodb.volumes,
        ports: single.miniodb.ports,
      };
      const { networks, ...rest } = { ...node, ...same };
      expect(rest).toEqual({ ...single.miniodb, ports: single.miniodb.ports });
      expect(networks.default.aliases).toEqual(['miniodb']);
    }
    const { ports, ...silo } = single.silo;
    expect(ports).toBeDefined();
    expect(cluster.services).toMatchObject({ silo, redis: single.redis });
  });

  it('gives Prometheus and Grafana files that exist, on exact versions and on this machine only', () => {
    for (const [name, service] of Object.entries<any>(monitoring.services)) {
      expectThat(service.image, name).toMatch(/^[a-z]+\/[a-z]+:v?\d+\.\d+\.\d+$/);
      for (const port of service.ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
      for (const mount of service.volumes as string[]) {
        const [source = ''] = mount.split(':');
        if (source.startsWith('.')) expectThat(existsSync(path.join(REPOSITORY, source)), source).toBe(true);
        else expect(Object.keys(monitoring.volumes)).toContain(source);
      }
    }
  });

  it('has Prometheus scrape every node, and Grafana ask that Prometheus', () => {
    const prometheus = yaml('deploy/monitoring/prometheus-compose.yml');
    const [job] = prometheus.scrape_configs;
    expect(job.job_name).toBe(yaml('deploy/monitoring/prometheus.yml').scrape_configs[0].job_name);
    expect(job.dns_sd_configs).toEqual([{ names: ['miniodb'], type: 'A', port: configOf({}).server.rest_port, refresh_interval: '15s' }]);
    const [source] = yaml('deploy/monitoring/grafana/datasources.yml').datasources;
    const [, port] = /:(\d+)$/.exec(monitoring.services.prometheus.ports[0]) ?? [];
    expect(source).toMatchObject({ type: 'prometheus', url: `http://prometheus:${port}`, isDefault: true });
    const [provider] = yaml('deploy/monitoring/grafana/dashboards.yml').providers;
    const targets = (monitoring.services.grafana.volumes as string[]).map((mount) => mount.split(':')[1]);
    expect(targets).toContain(`${provider.options.path}/dashboard.json`);
    expect(monitoring.services.grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH).toBe(
      `${provider.options.path}/dashboard.json`,
    );
  });
});

describe('the Debian package', () => {
  it('has settings that the server takes, and keeps to the directories of its service', () => {
    const config = configOf({}, 'deploy/debian/config.yaml');
    const unit = text('deploy/systemd/miniodb.service');
    expect(config.data_dir).toBe(`/var/lib/${/^StateDirectory=(.*)$/m.exec(unit)?.[1]}`);
    expect(path.dirname(config.audit.file)).toBe(`/var/log/${/^LogsDirectory=(.*)$/m.exec(unit)?.[1]}`);
    expect(config.log.file).toBe('');
    expect(config.server.host).toBe('127.0.0.1');
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])).toBeGreaterThan(config.server.shutdown_seconds);
  });
});

describe('package.json', () => {
  it('runs nothing when it is installed, and has programs that are built', () => {
    const manifest = JSON.parse(text('package.json')) as { scripts: Record<string, string>; bin: Record<string, string>; files: string[] };
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) expect(manifest.scripts).not.toHaveProperty(name);
    expect(Object.keys(manifest.bin)).toEqual(['miniodb', 'miniodb-check-storage']);
    for (const file of Object.values(manifest.bin))
      expect(
        text(
          file
            .replace('dist/', 'src/')
            .replace(/\.cjs$/, '.cts')
            .replace(/\.js$/, '.ts'),
        ),
      ).toMatch(/^#!\/usr\/bin\/env node\n/);
  });
});

/** With the keys `<<` of Compose files put in, which the parser leaves as they are. */
function merged(value: any): any {
  if (Array.isArray(value)) return value.map(merged);
  if (value === null || typeof value !== 'object') return value;
  const { '<<': base, ...own } = value;
  return Object.fromEntries(Object.entries({ ...base, ...own }).map(([key, inner]) => [key, merged(inner)]));
}
