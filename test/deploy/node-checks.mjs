/** What holds on every machine that runs the server. */
import { expectEqual, expectTrue } from '../../scripts/test-release/checks.mjs';

/** systemd-analyze calls 2 and less "OK"; what is left is the network, which the server is for, and memory that Node compiles into. */
const EXPOSURE_MAX = 2;

/** @returns {string} the figures of systemd */
export function expectHardenedService(machine, secrets) {
  const verified = machine.try('systemd-analyze', 'verify', '/etc/systemd/system/miniodb.service');
  expectEqual(verified.trim(), '', 'systemd-analyze verify');
  const [, exposure] =
    /exposure level for miniodb.service: ([\d.]+)/.exec(machine.run('systemd-analyze', 'security', 'miniodb', '--no-pager')) ?? [];
  expectTrue(Number(exposure) <= EXPOSURE_MAX, `systemd-analyze security gives ${exposure}, more than ${EXPOSURE_MAX}`);
  const pid = machine.show('miniodb', 'MainPID');
  const status = machine.run('cat', `/proc/${pid}/status`);
  expectTrue(!/^Uid:\s+0\s/m.test(status), 'the server does not run as root');
  expectTrue(/^NoNewPrivs:\s+1$/m.test(status) && /^CapEff:\s+0+$/m.test(status), `NoNewPrivs and no capabilities: ${status}`);
  expectEqual(machine.run('stat', '-c', '%a %U', '/etc/miniodb/config.yaml').trim(), '600 root', 'config.yaml');
  const seen = ['cmdline', 'environ'].map((name) => machine.run('cat', `/proc/${pid}/${name}`)).join();
  const told = [seen, machine.run('systemctl', 'cat', 'miniodb'), machine.run('journalctl', '-q', '--no-pager')].join();
  for (const [name, secret] of Object.entries(secrets))
    expectTrue(!told.includes(secret), `${name} is in no command line, environment, unit or log`);
  return `systemd-analyze security ${exposure} of 10`;
}

export function expectSecretsHidden(played, secrets) {
  for (const [name, secret] of Object.entries(secrets))
    expectTrue(!played.output.includes(secret), `${name} is not in the output of the play`);
}
