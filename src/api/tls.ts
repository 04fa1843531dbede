/** The certificates of both doors. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ServerCredentials } from '@grpc/grpc-js';
import { AppError, messageOf } from '../common/app-error.js';
import type { TlsConfig } from '../config/config.js';

export interface TlsFiles {
  readonly cert: Buffer;
  readonly key: Buffer;
  /** Set when clients have to show a certificate of one of these authorities. */
  readonly clientAuthorities: Buffer | undefined;
}

/**
 * @returns undefined without TLS
 * @throws AppError INVALID_ARGUMENT naming the setting whose file cannot be used
 */
export function readTls({ cert_file: certFile, key_file: keyFile, client_ca_file: authorityFile }: TlsConfig): TlsFiles | undefined {
  if (certFile === '') return undefined;
  const files = {
    cert: readPem('cert_file', certFile),
    key: readPem('key_file', keyFile),
    clientAuthorities: authorityFile === '' ? undefined : readAuthorities(authorityFile),
  };
  try {
    createSecureContext({ cert: files.cert, key: files.key });
  } catch (error) {
    throw new AppError('INVALID_ARGUMENT', `tls.cert_file and tls.key_file cannot be used together: ${messageOf(error)}`, { cause: error });
  }
  return files;
}

/** Each one is looked at: TLS itself passes over what it cannot read, and its clients stay outside without a word. */
function readAuthorities(file: string): Buffer {
  const blocks = readPem('client_ca_file', file)
    .toString('latin1')
    .split(/(?=-----BEGIN )/)
    .filter((block) => block.startsWith('-----BEGIN '));
  for (const block of blocks) {
    try {
      new X509Certificate(block);
    } catch (error) {
      throw new AppError(
        'INVALID_ARGUMENT',
        `tls.client_ca_file: ${file} contains something that is not a certificate: ${messageOf(error)}`,
        {
          cause: error,
        },
      );
    }
  }
  // Files put together often lack a line's end between two certificates.
  return Buffer.from(blocks.join('\n'), 'latin1');
}

function readPem(setting: string, file: string): Buffer {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw new AppError('INVALID_ARGUMENT', `tls.${setting}: ${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (!bytes.includes('-----BEGIN ')) throw new AppError('INVALID_ARGUMENT', `tls.${setting}: ${file} is not PEM`);
  return bytes;
}

export function grpcCredentials(tls: TlsFiles | undefined): ServerCredentials {
  if (!tls) return ServerCredentials.createInsecure();
  const { cert, key, clientAuthorities } = tls;
  return ServerCredentials.createSsl(clientAuthorities ?? null, [{ cert_chain: cert, private_key: key }], clientAuthorities !== undefined);
}
