/** What an HTML page loads and runs, and whether its Content-Security-Policy lets a browser do so. Knows as much of both as our own pages need. */
export interface PageSource {
  /** Directives that decide, the first one that the policy has counts. */
  readonly directives: readonly string[];
  /** Where it is loaded from; undefined for what stands in the page itself. */
  readonly url?: URL;
  readonly markup: string;
}

const SCRIPT = ['script-src-elem', 'script-src', 'default-src'];
const SCRIPT_ATTRIBUTE = ['script-src-attr', 'script-src', 'default-src'];
const STYLE = ['style-src-elem', 'style-src', 'default-src'];
const STYLE_ATTRIBUTE = ['style-src-attr', 'style-src', 'default-src'];
const IMAGE = ['img-src', 'default-src'];

/** @param page where the HTML was found */
export function pageSources(html: string, page: URL): PageSource[] {
  const sources: PageSource[] = [];
  for (const [markup, name = '', attributes = ''] of html.matchAll(
    /<(script|style|link|img|[a-z][a-z0-9]*)\b((?:"[^"]*"|'[^']*'|[^'">])*)>/gi,
  )) {
    const url = addressOf(attributes, name, page);
    const tag = name.toLowerCase();
    if (tag === 'script') sources.push({ directives: SCRIPT, url, markup });
    if (tag === 'style') sources.push({ directives: STYLE, markup });
    if (tag === 'img') sources.push({ directives: IMAGE, url, markup });
    if (tag === 'link' && /\brel\s*=\s*["']?stylesheet/i.test(attributes)) sources.push({ directives: STYLE, url, markup });
    if (tag === 'link' && /\brel\s*=\s*["']?[^"'>]*\bicon\b/i.test(attributes)) sources.push({ directives: IMAGE, url, markup });
    if (/\son[a-z]+\s*=/i.test(attributes)) sources.push({ directives: SCRIPT_ATTRIBUTE, markup });
    if (/\sstyle\s*=/i.test(attributes)) sources.push({ directives: STYLE_ATTRIBUTE, markup });
  }
  return sources;
}

/** Hashes and nonces are not known here: what stands in the page needs 'unsafe-inline'. */
export function isAllowed(policy: string, { directives, url }: PageSource, page: URL): boolean {
  const rules = new Map(
    policy.split(';').map((directive) => {
      const [name = '', ...allowed] = directive.trim().split(/\s+/);
      return [name, allowed] as const;
    }),
  );
  const allowed = directives.map((name) => rules.get(name)).find((rule) => rule !== undefined);
  if (allowed === undefined) return true;
  if (url === undefined) return allowed.includes("'unsafe-inline'");
  return allowed.includes(url.protocol) || (allowed.includes("'self'") && url.origin === page.origin);
}

function addressOf(attributes: string, name: string, page: URL): URL | undefined {
  const attribute = name.toLowerCase() === 'link' ? 'href' : 'src';
  const [, quoted, bare] = new RegExp(`\\s${attribute}\\s*=\\s*(?:["']([^"']*)["']|([^\\s>]+))`, 'i').exec(attributes) ?? [];
  const address = quoted ?? bare;
  return address === undefined ? undefined : new URL(address, page);
}
