/** Three servers on one bucket of SeaweedFS, with Redis: killed, upgraded and rolled back while clients write and read. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expectEqual, expectTrue } from '../../scripts/test-release/checks.mjs';
import { Clients, idsOf, isReady, succeed } from './clients.mjs';
import { eventually } from './machines.mjs';
import { expectHardenedService, expectSecretsHidden } from './node-checks.mjs';

const WRITERS = 3;
const READERS = 1;
/** Another node's rows are seen once they are flushed and it was told; see redis.poll_seconds. */
const SEEN_MS_MAX = 60_000;
const LOAD_MS_MIN = 3_000;
const TABLE = 'events';

export async function testCluster({ checks, plays, machines, versions, weed, releaseSource }) {
  const { folder: inventory, secrets } = plays.makeInventory('cluster');
  const store = { object_store_release_source: weed, object_store_release_checksum: sha256(weed) };
  const variablesOf = (version) => ({ ...store, miniodb_version: version, miniodb_release_source: releaseSource });
  const [first, second, broken] = [versions.first, versions.second, versions.broken].map(variablesOf);
  const headers = { 'x-api-key': 'admin', 'x-api-secret': secrets.vault_miniodb_admin_secret };
  const urls = machines.map((machine) => machine.url);
  const all = new Set();
  /** Rows that are there twice since a machine was killed. */
  let twiceBefore = 0;
  const versionsNow = () => Promise.all(urls.map(async (url) => (await succeed(url, 'GET', '/v1/health')).version));
  const whileClients = async (prefix, body) => {
    const clients = new Clients({ urls, table: TABLE, headers, prefix, writers: WRITERS, readers: READERS });
    clients.start();
    const startedAt = Date.now();
    try {
      await body(clients.tally);
      await sleep(Math.max(0, LOAD_MS_MIN - (Date.now() - startedAt)));
    } finally {
      const { acknowledged } = await clients.stop();
      for (const id of acknowledged) all.add(id);
    }
    return clients.tally;
  };
  /** Every row that was acknowledged, on every node, and what is there twice. @returns {Promise<number>} rows there twice */
  const expectNoneLost = async () => {
    await Promise.all(urls.map((url) => succeed(url, 'POST', `/v1/tables/${TABLE}/flush`, { headers })));
    let twice = 0;
    for (const url of urls)
      await eventually(`${url} to show all ${all.size} rows`, SEEN_MS_MAX, async () => {
        const ids = await idsOf(url, TABLE, headers);
        const seen = new Set(ids);
        twice = ids.length - seen.size;
        const lost = [...all].filter((id) => !seen.has(id));
        return lost.length === 0;
      });
    return twice;
  };

  await checks.run('--check on empty machines passes and changes nothing', async () => {
    const { changed } = await plays.succeed('site.yml', inventory, first, ['--check']);
    for (const machine of machines) expectTrue(!machine.has('etc/miniodb') && !machine.has('etc/seaweedfs'), 'nothing is there');
    return `would change ${changed}`;
  });
  const isInstalled = await checks.run('site.yml installs Redis, SeaweedFS and three servers', async () => {
    const played = await plays.succeed('site.yml', inventory, first);
    expectSecretsHidden(played, secrets);
    expectEqual(
      await versionsNow(),
      urls.map(() => versions.first),
      'versions',
    );
    return `changed=${played.changed}, ${played.seconds} s`;
  });
  if (!isInstalled) return;
  await checks.run('a second run changes nothing', async () => {
    const again = await plays.succeed('site.yml', inventory, first);
    expectEqual(again.changed, 0, `changed:\n${again.output}`);
    return `changed=0, ${again.seconds} s`;
  });
  await checks.run('the services are hardened, and their secrets are nowhere to be seen', async () => {
    const [figures] = machines.map((machine) => expectHardenedService(machine, secrets));
    const [, exposure] =
      /exposure level for seaweedfs.service: ([\d.]+)/.exec(machines[1].run('systemd-analyze', 'security', 'seaweedfs', '--no-pager')) ??
      [];
    expectEqual(machines[1].try('systemd-analyze', 'verify', '/etc/systemd/system/seaweedfs.service').trim(), '', 'verify of seaweedfs');
    const redis = machines[0].run(
      'env',
      `REDISCLI_AUTH=${secrets.vault_redis_password}`,
      'redis-cli',
      '-h',
      machines[0].address,
      'config',
      'get',
      'maxmemory-policy',
    );
    expectTrue(redis.includes('noeviction'), `Redis evicts nothing: ${redis}`);
    expectTrue(machines[0].try('redis-cli', '-h', machines[0].address, 'ping').includes('NOAUTH'), 'Redis asks for its password');
    return `${figures}, SeaweedFS ${exposure}`;
  });
  await checks.run('rows written through each are seen through all', async () => {
    for (const [number, url] of urls.entries()) {
      const records = Array.from({ length: 100 }, (_, row) => ({
        id: `w-${number}-${row}`,
        payload: { writer: number, batch: 0, row, text: 'first' },
      }));
      await succeed(url, 'POST', '/v1/data', { body: { table: TABLE, records }, headers });
      for (const { id } of records) all.add(id);
    }
    const twice = await expectNoneLost();
    expectEqual(twice, 0, 'rows twice');
    return `${all.size} rows`;
  });
  await checks.run('a machine that loses its power while clients write comes back by itself, and no row is lost', async () => {
    const [, , victim] = machines;
    const tally = await whileClients('k', async () => {
      await sleep(LOAD_MS_MIN);
      await victim.kill();
      await sleep(LOAD_MS_MIN);
      await victim.boot();
      await eventually(`${victim.name} to be ready`, SEEN_MS_MAX, () => isReady(victim.url));
    });
    const twice = await expectNoneLost();
    expectEqual(tally.errors, [], 'errors of clients that try another node');
    twiceBefore = twice;
    // Requests that got no answer may have been carried out, and were sent again elsewhere.
    return `${told(tally)}, rows lost 0, twice ${twice} (${tally.unanswered} requests without an answer)`;
  });
  await checks.run('upgrade.yml does not begin while a server is not well', async () => {
    const [, , ill] = machines;
    ill.run('systemctl', 'stop', 'miniodb');
    await plays.refuse('Ask whether the server is ready', 'upgrade.yml', inventory, second);
    expectEqual((await succeed(urls[0], 'GET', '/v1/health')).version, versions.first, 'version of the first');
    ill.run('systemctl', 'start', 'miniodb');
    await eventually(`${ill.name} to be ready`, SEEN_MS_MAX, () => isReady(ill.url));
  });
  await checks.run('upgrade.yml upgrades one after the other under load', async () => {
    let played;
    const tally = await whileClients('u', async () => {
      played = await plays.succeed('upgrade.yml', inventory, second);
    });
    expectEqual(
      await versionsNow(),
      urls.map(() => versions.second),
      'versions',
    );
    const twice = await expectNoneLost();
    expectEqual(tally.errors, [], 'errors of clients that try another node');
    expectEqual(twice - twiceBefore, 0, 'rows twice');
    return `changed=${played.changed}, ${played.seconds} s, ${told(tally)}, rows lost 0, twice 0`;
  });
  await checks.run('site.yml again changes nothing', async () => {
    const again = await plays.succeed('site.yml', inventory, second);
    expectEqual(again.changed, 0, `changed:\n${again.output}`);
    return `changed=0, ${again.seconds} s`;
  });
  await checks.run(
    'a release that does not start stops the upgrade at the first server, and rollback.yml mends that one alone',
    async () => {
      const tally = await whileClients('b', async () => {
        const stopped = await plays.play('upgrade.yml', inventory, { ...broken, miniodb_ready_seconds: 15 });
        expectTrue(stopped.code !== 0, 'the upgrade fails');
        expectEqual(stopped.recap[machines[0].name]?.failed, 1, 'failed on the first');
        const others = await Promise.all(urls.slice(1).map(async (url) => (await succeed(url, 'GET', '/v1/health')).version));
        expectEqual(others, [versions.second, versions.second], 'versions of the others');
        const back = await plays.succeed('rollback.yml', inventory, broken);
        expectEqual(
          machines.map(({ name }) => back.recap[name].changed > 0),
          [true, false, false],
          'changed by the rollback',
        );
      });
      expectEqual(
        await versionsNow(),
        urls.map(() => versions.second),
        'versions',
      );
      await expectNoneLost();
      expectEqual(tally.errors, [], 'errors of clients that try another node');
      return `${told(tally)}, rows lost 0`;
    },
  );
  await checks.run('rollback.yml brings all back under load', async () => {
    let played;
    const tally = await whileClients('r', async () => {
      played = await plays.succeed('rollback.yml', inventory, second);
    });
    expectEqual(
      await versionsNow(),
      urls.map(() => versions.first),
      'versions',
    );
    await expectNoneLost();
    expectEqual(tally.errors, [], 'errors of clients that try another node');
    return `changed=${played.changed}, ${played.seconds} s, ${told(tally)}, rows lost 0`;
  });
  await checks.run('uninstall.yml removes all and keeps the data: installed anew, all rows are there', async () => {
    const played = await plays.succeed('uninstall.yml', inventory, first);
    for (const machine of machines) expectTrue(!machine.has('opt/miniodb') && !machine.has('etc/miniodb'), `${machine.name} is empty`);
    expectTrue(!machines[1].has('opt/seaweedfs') && machines[1].has('var/lib/seaweedfs'), 'SeaweedFS is gone, its data is not');
    expectTrue(!machines[0].has('usr/bin/redis-server'), 'Redis is gone');
    await plays.succeed('site.yml', inventory, first);
    await expectNoneLost();
    return `changed=${played.changed}, ${all.size} rows`;
  });
  await checks.run('uninstall.yml removes the data when told', async () => {
    const everything = { miniodb_uninstall_data: true, object_store_uninstall_data: true, redis_uninstall_data: true };
    await plays.succeed('uninstall.yml', inventory, { ...first, ...everything });
    const left = machines.flatMap((machine) =>
      ['var/lib/miniodb', 'var/lib/seaweedfs', 'var/lib/redis', 'etc/miniodb', 'etc/seaweedfs', 'opt/miniodb', 'opt/seaweedfs']
        .filter((file) => machine.has(file))
        .map((file) => `${machine.name}:/${file}`),
    );
    expectEqual(left, [], 'left');
  });
}

function told({ acknowledged, writes, reads, elsewhere }) {
  return `${writes} writes (${acknowledged.size} rows), ${reads} queries, errors 0, asked another node ${elsewhere} times`;
}

function sha256(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}
