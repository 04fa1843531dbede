/** The commands of docs/install.md: each is typed here, or given to the program that would read its files, or listed as one that cannot be tried. */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { REPOSITORY } from '../prepare.mjs';
import { npm, run } from '../release/run.mjs';
import { expectEqual, expectTrue } from './checks.mjs';
import { startInstalled } from './installed-server.mjs';
import { goTool, hasGo } from './tools.mjs';

/** They take a machine with systemd, a cluster, or Docker; debian.mjs and kubernetes.mjs do what comes nearest. */
const NOT_TYPED = /^(apt install|systemctl|journalctl|helm test|kubectl get|cd deploy\/kubernetes)/;
/** test-release.mjs does it before. */
const DONE_BEFORE = 'npm run release';
const STARTS_A_SERVER = /(npx miniodb|bin\/miniodb)$/;
const MACHINE_OF_THE_PAGE = 'x64';

export async function testDocuments({ checks, release, scratch }) {
  const document = readFileSync(path.join(REPOSITORY, 'docs', 'install.md'), 'utf8');
  const lines = [...document.matchAll(/```bash\n([\s\S]*?)```/g)]
    .flatMap(([, text]) => text.trim().split('\n'))
    .map((line) => line.replace(/\s+#.*$/, ''));
  const [, values] = /```yaml\n([\s\S]*?)```/.exec(document);
  mkdirSync(scratch, { recursive: true });
  for (const name of readdirSync(release)) cpSync(path.join(release, name), path.join(scratch, name));
  writeFileSync(path.join(scratch, 'package.json'), '{ "private": true }\n');
  writeFileSync(path.join(scratch, 'cluster.yaml'), values);
  let typed = 0;
  for (const line of lines) {
    if (line === DONE_BEFORE || NOT_TYPED.test(line)) continue;
    typed += 1;
    await checks.run(line, async () => tryLine(line, scratch));
  }
  await checks.run('most of the commands are tried', async () => {
    expectTrue(typed >= 12, `${typed} of ${lines.length}`);
    return `${typed} of ${lines.length}`;
  });
}

async function tryLine(line, scratch) {
  const [program, ...words] = line.split(' ');
  if (program === 'docker') return loadComposeFiles(words);
  if (program === 'helm') return renderChart(words, scratch);
  if (program === 'kubectl')
    return void expectTrue(existsSync(path.join(REPOSITORY, 'deploy', 'kubernetes', words.at(-1))), 'the file is there');
  if (MACHINE_OF_THE_PAGE !== process.arch && line.includes(MACHINE_OF_THE_PAGE)) return 'for another processor';
  const here = line.replace('/srv/miniodb', path.join(scratch, 'srv'));
  if (!STARTS_A_SERVER.test(line)) return void run('sh', ['-c', here], { cwd: scratch, env: settings() });
  const server = await startInstalled(['sh', '-c', here], { cwd: scratch, env: settings() });
  await server.stop();
}

function settings() {
  return { ...process.env, npm_config_registry: npm(['config', 'get', 'registry']).trim() };
}

function loadComposeFiles(words) {
  if (!hasGo()) return 'not checked: no Go';
  expectEqual(words.slice(0, 3), ['compose', '--project-directory', '.'], 'the folder that paths stand for');
  const files = words.filter((_word, index) => words[index - 1] === '-f');
  run(goTool('compose-config'), files);
}

function renderChart(words, scratch) {
  if (!hasGo()) return 'not checked: no Go';
  const [command, release, chart, ...rest] = words;
  expectTrue(['install', 'upgrade'].includes(command), command);
  const more = rest.map((word) => (word === 'cluster.yaml' ? path.join(scratch, word) : word));
  run(goTool('helm', 'helm.sh/helm/v3/cmd/helm'), ['template', release, chart, '--kube-version', '1.34', ...more]);
}
