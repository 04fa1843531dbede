/** The configuration file and the keys of a Ceph cluster as small and as quick to start as it gets. */
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { LOOPBACK } from './free-ports.js';

export interface CephFacts {
  readonly directory: string;
  readonly clusterId: string;
  readonly monitorPort: number;
  readonly gatewayPort: number;
  readonly store: 'memstore' | 'bluestore';
}

/** Where the parts of a cluster lie in its folder. */
export function cephPaths(directory: string): Readonly<Record<'config' | 'keyring' | 'monitorMap' | 'monitor' | 'storage', string>> {
  return {
    config: path.join(directory, 'ceph.conf'),
    keyring: path.join(directory, 'keyring'),
    monitorMap: path.join(directory, 'monitor-map'),
    monitor: path.join(directory, 'monitor'),
    storage: path.join(directory, 'storage'),
  };
}

/**
 * Everything that happens by waiting is turned down, for this is what a start is made of: the monitor collects changes for 50 ms to 1 s,
 * clients look for a monitor every 3 s, and ask 5 s or 10 s later whether the storage daemon they did not reach has another address now; each
 * of the dozen times that bluestore closes its file takes 250 ms. Without tcp_nodelay many requests take 40 ms.
 */
export function cephConfig(facts: CephFacts): string {
  const paths = cephPaths(facts.directory);
  return `[global]
fsid = ${facts.clusterId}
mon host = ${monitorAddress(facts)}
public addr = ${LOOPBACK}
cluster addr = ${LOOPBACK}
ms bind ipv6 = false
keyring = ${paths.keyring}
run dir = ${facts.directory}
crash dir = ${facts.directory}
admin socket =
log file =
log to stderr = true
debug rocksdb = 0
debug bluestore = 0
debug bdev = 0
debug bluefs = 0
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
mon data avail warn = 1
paxos propose interval = 0.02
paxos min wait = 0.01
mon tick interval = 1
mon client hunt interval = 0.2
mon client hunt interval backoff = 1
objecter tick interval = 0.1
objecter timeout = 0.3

[mon.a]
mon data = ${paths.monitor}

[osd.0]
osd data = ${paths.storage}
osd objectstore = ${facts.store}
memstore device bytes = 4294967296
bluestore block size = 10737418240
bluestore fsck on mkfs = false
bdev aio poll ms = 10
osd memory target = 939524096

[client.rgw]
rgw frontends = beast endpoint=${LOOPBACK}:${facts.gatewayPort} tcp_nodelay=1
rgw enable usage log = false
`;
}

export function monitorAddress(facts: CephFacts): string {
  return `[v2:${LOOPBACK}:${facts.monitorPort}]`;
}

/** One key for all: who can read this file can read the others', too. */
export function cephKeyring(): string {
  const key = cephKey();
  const entryOf = (name: string): string => `[${name}]\nkey = ${key}\ncaps mon = "allow *"\ncaps osd = "allow *"\n`;
  return ['mon.', 'client.admin', 'client.rgw', 'osd.0'].map(entryOf).join('');
}

/** As `ceph-authtool --gen-key` writes it: type 1 (AES), seconds and nanoseconds of its making, length, the key; all little-endian. */
function cephKey(): string {
  const head = Buffer.alloc(12);
  head.writeUInt16LE(1, 0);
  head.writeUInt32LE(Math.floor(Date.now() / 1_000), 2);
  head.writeUInt16LE(16, 10);
  return Buffer.concat([head, randomBytes(16)]).toString('base64');
}
