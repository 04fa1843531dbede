/** One server with its tables on its own disk: the short form, with what the roles refuse. */
import { expectEqual, expectTrue } from '../../scripts/test-release/checks.mjs';
import { idsOf, isReady, succeed } from './clients.mjs';
import { eventually } from './machines.mjs';
import { expectHardenedService, expectSecretsHidden } from './node-checks.mjs';

const RESTART_MS_MAX = 60_000;

export async function testSingle({ checks, plays, machines, versions, releaseSource }) {
  const [machine] = machines;
  const { folder: inventory, secrets } = plays.makeInventory('single');
  const first = { miniodb_version: versions.first, miniodb_release_source: releaseSource };
  const second = { ...first, miniodb_version: versions.second };
  const headers = { 'x-api-key': 'admin', 'x-api-secret': secrets.vault_miniodb_admin_secret };
  const write = (id) => succeed(machine.url, 'POST', '/v1/data', { body: { table: 'events', data: { id, payload: { n: 1 } } }, headers });
  const version = async () => (await succeed(machine.url, 'GET', '/v1/health')).version;

  await checks.run(
    'a wrong checksum, a wrong type, an unknown choice, no secret and an open door are refused, and nothing is left',
    async () => {
      const refuse = (text, variables) => plays.refuse(text, 'site.yml', inventory, { ...first, ...variables });
      await refuse('expected 0000', { miniodb_release_checksum: '0'.repeat(64) });
      await refuse('cannot be converted to an int', { miniodb_rest_port: 'many' });
      await refuse('value of miniodb_storage must be one of: local, minio', { miniodb_storage: 'tape' });
      await refuse('miniodb_admin_secret must have at least 16 characters', { vault_miniodb_admin_secret: 'short' });
      await refuse('Without authentication the server listens on loopback only', { miniodb_auth_mode: 'disabled' });
      expectTrue(!machine.has('opt/miniodb/current') && !machine.has('etc/systemd/system/miniodb.service'), 'nothing is installed');
      expectTrue(!machine.has(`opt/miniodb/releases/${versions.first}`), 'no release is unpacked');
    },
  );
  await checks.run('--check on an empty machine passes and changes nothing', async () => {
    const { changed } = await plays.succeed('site.yml', inventory, first, ['--check', '--diff']);
    expectTrue(!machine.has('etc/miniodb') && !machine.has('etc/systemd/system/miniodb.service'), 'nothing is there');
    return `would change ${changed}`;
  });
  await checks.run('the inventory external passes --check, too', async () => {
    const { folder } = plays.makeInventory('external');
    await plays.succeed('site.yml', folder, first, ['--check', '--limit', 'miniodb-1']);
  });
  const isInstalled = await checks.run('site.yml installs it', async () => {
    const played = await plays.succeed('site.yml', inventory, first);
    expectSecretsHidden(played, secrets);
    expectEqual(await version(), versions.first, 'version');
    return `changed=${played.changed}, ${played.seconds} s`;
  });
  if (!isInstalled) return;
  await checks.run('a second run, and --check, change nothing', async () => {
    const again = await plays.succeed('site.yml', inventory, first, ['--diff']);
    expectEqual(again.changed, 0, `changed:\n${again.output}`);
    expectSecretsHidden(again, secrets);
    expectEqual((await plays.succeed('site.yml', inventory, first, ['--check'])).changed, 0, 'changed in check mode');
    return `changed=0, ${again.seconds} s`;
  });
  await checks.run('the service is hardened, and its secrets are nowhere to be seen', async () => expectHardenedService(machine, secrets));
  await checks.run('only callers with the secret are let in', async () => {
    const { status } = await fetch(`${machine.url}/v1/tables`);
    expectEqual(status, 401, 'status without credentials');
    await write('a');
    expectEqual(await idsOf(machine.url, 'events', headers), ['a'], 'rows');
  });
  await checks.run('after kill -9 the service is back with its rows', async () => {
    const before = machine.show('miniodb', 'MainPID');
    machine.run('kill', '-9', before);
    await eventually('another process that is ready', RESTART_MS_MAX, async () => {
      const pid = machine.show('miniodb', 'MainPID');
      return pid !== before && pid !== '0' && (await isReady(machine.url));
    });
    expectEqual(await idsOf(machine.url, 'events', headers), ['a'], 'rows');
  });
  await checks.run('a changed setting restarts it, and a setting that the server refuses stops the play', async () => {
    const settings = { ...first, miniodb_settings: { query: { timeout_ms: 45_000 } } };
    const { changed } = await plays.succeed('site.yml', inventory, settings);
    expectTrue(changed > 0, 'something changed');
    expectTrue(machine.read('etc/miniodb/config.yaml').includes('timeout_ms: 45000'), 'the setting is in the file');
    await plays.refuse('query.timeot_ms: unknown key', 'site.yml', inventory, {
      ...first,
      miniodb_settings: { query: { timeot_ms: 1 } },
      miniodb_ready_seconds: 20,
    });
    await plays.succeed('site.yml', inventory, first);
    expectEqual(await idsOf(machine.url, 'events', headers), ['a'], 'rows');
  });
  await checks.run('upgrade.yml backs up and upgrades', async () => {
    const backups = async () => (await succeed(machine.url, 'GET', '/v1/metadata/backups', { headers })).total;
    const before = await backups();
    const played = await plays.succeed('upgrade.yml', inventory, second);
    expectEqual([await version(), await backups()], [versions.second, before + 1], 'version and backups');
    expectEqual((await plays.succeed('upgrade.yml', inventory, second)).changed, 0, 'changed by the same upgrade again');
    await write('b');
    return `changed=${played.changed}, ${played.seconds} s`;
  });
  await checks.run('a release that does not start is told with its log, and rollback.yml takes it back', async () => {
    const broken = { ...first, miniodb_version: versions.broken };
    await plays.refuse('this release does not start', 'upgrade.yml', inventory, { ...broken, miniodb_ready_seconds: 10 });
    await plays.succeed('rollback.yml', inventory, broken);
    expectEqual(await version(), versions.second, 'version');
  });
  await checks.run('rollback.yml goes back, with the rows; again it changes nothing', async () => {
    const played = await plays.succeed('rollback.yml', inventory, second);
    expectEqual(await version(), versions.first, 'version');
    expectEqual((await idsOf(machine.url, 'events', headers)).sort(), ['a', 'b'], 'rows');
    expectEqual((await plays.succeed('rollback.yml', inventory, second)).changed, 0, 'changed by the same rollback again');
    return `changed=${played.changed}, ${played.seconds} s`;
  });
  await checks.run('backup.yml makes a backup of the rows', async () => {
    await plays.succeed('backup.yml', inventory, { ...first, miniodb_backup_kind: 'data' });
    const { backups } = await succeed(machine.url, 'GET', '/v1/backups', { headers });
    expectEqual(backups.length, 1, 'backups');
  });
  await checks.run('uninstall.yml keeps the data: installed anew, it has its rows', async () => {
    const played = await plays.succeed('uninstall.yml', inventory, first);
    expectTrue(!machine.has('opt/miniodb') && !machine.has('etc/miniodb'), 'program and settings are gone');
    expectTrue(machine.has('var/lib/miniodb/wal'), 'the data is there');
    expectEqual((await plays.succeed('uninstall.yml', inventory, first)).changed, 0, 'changed by a second run');
    await plays.succeed('site.yml', inventory, first);
    expectEqual((await idsOf(machine.url, 'events', headers)).sort(), ['a', 'b'], 'rows');
    return `changed=${played.changed}`;
  });
  await checks.run('uninstall.yml removes the data when told', async () => {
    await plays.succeed('uninstall.yml', inventory, { ...first, miniodb_uninstall_data: true });
    const left = ['var/lib/miniodb', 'var/log/miniodb', 'opt/miniodb', 'etc/miniodb', 'etc/systemd/system/miniodb.service'];
    expectEqual(
      left.filter((file) => machine.has(file)),
      [],
      'left',
    );
    expectTrue(!machine.read('etc/passwd').includes('miniodb'), 'the user is gone');
  });
}
