/** Certificates for tests, and what a client needs to use them: made anew each time, never older than the test. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type ChannelCredentials, credentials } from '@grpc/grpc-js';
import { generate } from 'selfsigned';
import { temporaryDirectory } from './server.js';

/** Both PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** What a client trusts, and the certificate that it shows, if any. Options of Node's `tls` as they are. */
export interface ClientTls {
  readonly ca: string;
  readonly cert?: string;
  readonly key?: string;
}

const KIND = { keyType: 'ec', algorithm: 'sha256' } as const;

export async function makeAuthority(name: string): Promise<Certificate> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
    ...KIND,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  return inLines({ cert, key });
}

/**
 * A certificate for servers on loopback and for clients alike.
 * @param until its end; a year from now when absent
 */
export async function issueCertificate(authority: Certificate, name: string, until?: Date): Promise<Certificate> {
  const dates = until ? { notBeforeDate: new Date(until.getTime() - 24 * 3_600_000), notAfterDate: until } : {};
  const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
    ...KIND,
    ...dates,
    ca: authority,
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true, keyEncipherment: true },
      { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: 'localhost' },
          { type: 7, ip: '127.0.0.1' },
          { type: 7, ip: '::1' },
        ],
      },
    ],
  });
  return inLines({ cert, key });
}

/** The library leaves out the last line's end; with it one may be put after the other. */
function inLines({ cert, key }: Certificate): Certificate {
  return { cert: `${cert.trimEnd()}\n`, key: `${key.trimEnd()}\n` };
}

/** Puts texts into files of a fresh directory. */
export function writeFiles<Name extends string>(texts: Readonly<Record<Name, string>>): Record<Name, string> {
  const directory = temporaryDirectory('files');
  const files = {} as Record<Name, string>;
  for (const name of Object.keys(texts) as Name[]) {
    files[name] = path.join(directory, name);
    writeFileSync(files[name], texts[name]);
  }
  return files;
}

export function grpcChannel({ ca, cert, key }: ClientTls): ChannelCredentials {
  const bytes = (text: string | undefined): Buffer | null => (text === undefined ? null : Buffer.from(text));
  return credentials.createSsl(bytes(ca), bytes(key), bytes(cert));
}
