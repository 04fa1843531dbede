/**
 * Adds to a package-lock.json the native packages of other platforms that `npm install` left out of it (npm issue 4828: it drops
 * optional packages which it cannot load at that moment, and `npm ci` then refuses the lock everywhere). An added entry has the exact
 * version its parent asks for and the platform it is for, but no checksum, because it was not downloaded here.
 *
 * After each `npm install`, as a command: node scripts/complete-lock.mjs [FOLDER]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const PLATFORM = /-(darwin|linux|win32|freebsd|android|openharmony|sunos|aix)-(arm64|x64|ia32|arm|ppc64|s390x|riscv64|loong64|mips64el)/;

const file = path.join(process.argv[2] ?? '.', 'package-lock.json');
const lock = JSON.parse(readFileSync(file, 'utf8'));
const added = Object.values(lock.packages).flatMap((parent) => missingNativePackages(parent, lock.packages));
lock.packages = Object.fromEntries([...Object.entries(lock.packages), ...added].sort(([left], [right]) => (left < right ? -1 : 1)));
if (added.length > 0) writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
process.stdout.write(`${file}: ${added.length} native packages of other platforms added\n`);

function missingNativePackages(parent, packages) {
  return Object.entries(parent.optionalDependencies ?? {})
    .filter(([name]) => !(`node_modules/${name}` in packages) && PLATFORM.test(name))
    .map(([name, version]) => [`node_modules/${name}`, entryOf(name, version, parent)]);
}

function entryOf(name, version, parent) {
  const [, system, processor] = PLATFORM.exec(name);
  const library = name.includes('musl') ? { libc: ['musl'] } : name.includes('gnu') ? { libc: ['glibc'] } : {};
  return { version, cpu: [processor], ...(parent.dev ? { dev: true } : {}), ...library, optional: true, os: [system] };
}
