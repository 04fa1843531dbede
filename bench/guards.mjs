/**
 * (k) What guarding and watching cost a request that stores one record: the server's CPU with an access token, audit log and rate limits, against the
 * same server open to everybody without them; and, as the metrics cannot be taken out, from a CPU profile of the event loop the share of the time
 * spent in authentication, limits, audit, metrics and security headers, with everything that they call.
 */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { callText } from './rest.mjs';
import { startServer } from './server.mjs';
import { loadWithWrites } from './single-writes.mjs';
import { median } from './statistics.mjs';

const CONNECTIONS = 64;
const SECRET = 'secret-of-the-administrator-of-a-benchmark';
/** Files of the build whose work it is. */
const KINDS = {
  authentication: /\/dist\/auth\/(?!rate-limit)/,
  'rate limits': /\/dist\/auth\/rate-limit|rate-limiter-flexible/,
  'audit log': /\/dist\/(health\/audit-log|common\/rotating-file|common\/redact-sql)/,
  metrics: /\/dist\/(health\/request-(counts|watch|methods)|data\/(operation-counts|freshness))|prom-client/,
  'security headers': /\/dist\/infra\/transport\/browser-rules/,
};

export async function measureGuards({ directory, sizes, say }) {
  const [guarded, open] = [[], []];
  for (let round = 0; round < sizes.rounds; round++) {
    open.push(await cpuOfWrite(directory, sizes, {}, {}));
    const environment = guardedEnvironment(directory);
    guarded.push(await cpuOfWrite(directory, sizes, environment, { isGuarded: true }));
  }
  const ratio = median(guarded.map((cpu, round) => cpu / open[round]));
  say(
    `${CONNECTIONS} connections: ${median(open).toFixed(0)} us server CPU open, ${median(guarded).toFixed(0)} us with token, audit log and limits`,
  );
  say(`guarded / open = ${ratio.toFixed(3)} (median of ${sizes.rounds} pairs)`);
  const profiles = mkdtempSync(path.join(directory, 'profile-'));
  const nodeOptions = ['--cpu-prof', `--cpu-prof-dir=${profiles}`];
  await cpuOfWrite(directory, sizes, guardedEnvironment(directory), { isGuarded: true, nodeOptions });
  const shares = sharesOf(path.join(profiles, readdirSync(profiles)[0]));
  for (const [kind, share] of Object.entries(shares)) say(`of the event loop: ${kind.padEnd(16)} ${(share * 100).toFixed(1)} %`);
  const all = Object.values(shares).reduce((sum, share) => sum + share, 0);
  say(`of the event loop: together         ${(all * 100).toFixed(1)} %`);
}

function guardedEnvironment(directory) {
  return {
    AUTH_MODE: 'api_key',
    MINIODB_AUTH__ADMIN_SECRET: SECRET,
    MINIODB_AUDIT__FILE: path.join(mkdtempSync(path.join(directory, 'audit-')), 'audit.log'),
    MINIODB_RATE_LIMITS__QUERIES_PER_MINUTE: '1000000',
  };
}

/** Microseconds. */
async function cpuOfWrite(directory, sizes, environment, { isGuarded = false, nodeOptions = [] }) {
  const server = await startServer(directory, environment, nodeOptions);
  try {
    const headers = isGuarded ? await tokenHeader(server.url) : {};
    const { cpuSeconds, answered } = await loadWithWrites(server, CONNECTIONS, sizes, headers);
    return (cpuSeconds / answered) * 1e6;
  } finally {
    await server.stop();
  }
}

async function tokenHeader(url) {
  const answer = await callText(url, 'POST', '/v1/auth/token', { api_key: 'admin', secret: SECRET });
  return { authorization: `Bearer ${JSON.parse(answer).access_token}` };
}

/** A frame's time counts for the nearest frame of one of the kinds above it; what was idle is left out. */
function sharesOf(file) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'));
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const kindById = new Map();
  const walk = (id, inherited) => {
    const node = byId.get(id);
    const kind = Object.keys(KINDS).find((name) => KINDS[name].test(node.callFrame.url)) ?? inherited;
    kindById.set(id, kind);
    for (const child of node.children ?? []) walk(child, kind);
  };
  walk(nodes[0].id, undefined);
  let busy = 0;
  const shares = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
  for (const [index, id] of samples.entries()) {
    if (/^\((idle|program)\)$/.test(byId.get(id).callFrame.functionName)) continue;
    busy += timeDeltas[index];
    const kind = kindById.get(id);
    if (kind !== undefined) shares[kind] += timeDeltas[index];
  }
  return Object.fromEntries(Object.entries(shares).map(([kind, time]) => [kind, time / busy]));
}
