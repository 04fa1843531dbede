/**
 * The built server with its packages in one file, beside which lies what V8 made of it: the same code as dist/, but it starts with a third of the
 * processor time, and a run of all suites starts some hundred servers. (Two thirds of a usual start is Node's search for some 2,800 module files.)
 *
 * What is about the start itself starts dist/ (`main` in the options of startServer), and so does everything in `npm run test:long`.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type Plugin, stop } from 'esbuild';
import { makeServerDirectory } from './cleaner.js';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));
const MAIN = path.join(REPOSITORY, 'dist', 'main.cjs');
const SERVER = path.join(REPOSITORY, 'dist', 'server.js');
/** They load files that lie beside them, or are looked up by name at run time, and must then be the same module for all. */
const LEFT_OUT = ['@duckdb/node-bindings', '@grpc/*', '@node-rs/*', 'parquet-wasm', 'pino', 'pino-pretty', 'protobufjs', 'protobufjs/*'];
const START_MS_MAX = 120_000;

export interface ServerBundle {
  /** What to start instead of dist/main.cjs. */
  readonly main: string;
  remove(): void;
}

export async function bundleServer(): Promise<ServerBundle> {
  const directory = makeServerDirectory('bundle');
  const script = path.join(directory.path, 'server.cjs');
  const main = path.join(directory.path, 'main.cjs');
  const { outputFiles } = await build({
    entryPoints: [MAIN],
    outfile: script,
    write: false,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    supported: { 'dynamic-import': false },
    banner: { js: '(function (exports, require, module) {' },
    footer: { js: '})' },
    minifyWhitespace: true,
    legalComments: 'none',
    charset: 'ascii',
    // Names of classes are seen from outside: in the OpenAPI document, in errors, in the log.
    keepNames: true,
    external: LEFT_OUT,
    plugins: [KEEP_PLACES, LEAVE_WHAT_IS_NOT_INSTALLED],
    logLevel: 'error',
  });
  // Its process keeps half a gigabyte for another build.
  await stop();
  writeFileSync(script, asAscii(outputFiles[0]?.text ?? ''));
  writeFileSync(main, loaderOf(script));
  await writeCodeCache(main);
  return { main, remove: () => directory.remove() };
}

/** Files are found relative to the module that reads them, wherever it is now. */
const KEEP_PLACES: Plugin = {
  name: 'keep places',
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.[cm]?js$/ }, ({ path: file }) => {
      const source = readFileSync(file, 'utf8');
      const contents = (file === SERVER ? withoutTopLevelAwait(source) : source)
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(file).href))
        .replaceAll('import.meta.dirname', JSON.stringify(path.dirname(file)))
        .replace(/\b__dirname\b/g, JSON.stringify(path.dirname(file)))
        .replace(/\b__filename\b/g, JSON.stringify(file));
      return contents === source ? undefined : { contents, loader: 'js' };
    });
  },
};

/** Optional packages of packages: missing when asked for at run time, as they are in dist/. */
const LEAVE_WHAT_IS_NOT_INSTALLED: Plugin = {
  name: 'leave what is not installed',
  setup: ({ onResolve, resolve }) => {
    onResolve({ filter: /^[^./]/ }, async ({ path: name, kind, resolveDir, importer, pluginData }) => {
      if (pluginData === RESOLVING || kind === 'entry-point') return undefined;
      const { errors } = await resolve(name, { kind, resolveDir, importer, pluginData: RESOLVING });
      return errors.length > 0 ? { path: name, external: true } : undefined;
    });
  },
};
const RESOLVING = Symbol('resolving');

/** A script, which can have a code cache on Node 20, knows none. Nobody waits for this module. */
function withoutTopLevelAwait(source: string): string {
  const lastImport = source.lastIndexOf('\nimport ');
  const body = source.indexOf('\n', lastImport + 1);
  return `${source.slice(0, body)}\nvoid (async () => {${source.slice(body)}\n})();\n`;
}

/** What esbuild leaves as it is stands in regular expressions, where an escape means the same. Text of one byte a character is read faster. */
function asAscii(text: string): string {
  return text.replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Runs the script with its code cache; makes the cache when it is told to. */
function loaderOf(script: string): string {
  return `const { existsSync, readFileSync, writeFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const { Script } = require('node:vm');
const file = ${JSON.stringify(script)};
const cache = file + '.cache';
const source = readFileSync(file, 'latin1');
const script = new Script(source, { filename: file, cachedData: existsSync(cache) ? readFileSync(cache) : undefined });
if (process.env.MAKE_CODE_CACHE) process.once('exit', () => writeFileSync(cache, script.createCachedData()));
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, createRequire(${JSON.stringify(MAIN)}), module_);
`;
}

/** One life of the server, so that the functions it uses are in the cache. */
async function writeCodeCache(main: string): Promise<void> {
  const data = makeServerDirectory('bundle-data');
  const env = { ...process.env, MAKE_CODE_CACHE: '1', DATA_DIR: data.path, REST_PORT: '0', GRPC_PORT: '0', MINIODB_LOG__FILE: '' };
  const child = spawn(process.execPath, [main], { cwd: REPOSITORY, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const tooLate = setTimeout(() => child.kill('SIGKILL'), START_MS_MAX);
  let printed = '';
  let isTold = false;
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (bytes: Buffer) => {
      printed += bytes.toString();
      if (printed.includes('MinIODB ready') && !isTold) isTold = child.kill('SIGTERM');
    });
  const code = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(tooLate);
  data.remove();
  if (code !== 0) throw new Error(`the server in one file does not start and stop (${String(code)}):\n${printed}`);
}
