/**
 * nf_tables as the kernel is told of it (linux/netfilter/nf_tables.h): one transaction over netlink, where a program
 * would cost a start as much as a plugin does, and iptables has no word for the next hop. Pure.
 */

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const [NEWTABLE, NEWCHAIN, NEWRULE, NEWSET] = [0, 3, 6, 9];
const [NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_APPEND] = [0x1, 0x4, 0x400, 0x800];
const NFPROTO_INET = 1;
const NLA_F_NESTED = 0x8000;

export const HOOK = { forward: 2, postrouting: 4 } as const;

/** IPv4 or IPv6: how long an address is, and the kernel's numbers for what is asked of each. */
const FAMILIES = {
  4: { protocol: 2, length: 4, source: 12, nextHop: 1, type: 7 },
  6: { protocol: 10, length: 16, source: 8, nextHop: 2, type: 8 },
} as const;
export type Family = keyof typeof FAMILIES;

// --- attributes -------------------------------------------------------------------------

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const text = (value: string): Buffer => Buffer.from(`${value}\0`);

function attribute(type: number, value: Buffer): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt16LE(4 + value.length, 0);
  head.writeUInt16LE(type, 2);
  return Buffer.concat([head, value, Buffer.alloc(-value.length & 3)]);
}

const nested = (type: number, ...values: Buffer[]): Buffer => attribute(NLA_F_NESTED | type, Buffer.concat(values));

function message(type: number, family: number, resource: number, flags: number, attributes: readonly Buffer[]): Buffer {
  const body = Buffer.concat(attributes);
  const head = Buffer.alloc(20);
  head.writeUInt32LE(head.length + body.length, 0);
  head.writeUInt16LE(type, 4);
  head.writeUInt16LE(NLM_F_REQUEST | flags, 6);
  head.writeUInt8(family, 16);
  head.writeUInt16BE(resource, 18);
  return Buffer.concat([head, body]);
}

// --- expressions ------------------------------------------------------------------------

type Expression = Buffer;
const LIST_ELEM = 1;
/** The one register that is used (NFT_REG_1). */
const REGISTER = u32(1);

const expression = (name: string, ...attributes: Buffer[]): Expression =>
  nested(LIST_ELEM, attribute(1, text(name)), nested(2, ...attributes));

const load = (name: string, key: number): Expression =>
  expression(name, attribute(1, REGISTER), attribute(2, u32(key)));

function compare(value: Buffer, equal: boolean): Expression {
  return expression("cmp", attribute(1, REGISTER), attribute(2, u32(equal ? 0 : 1)), nested(3, attribute(1, value)));
}

const verdict = (code: number): Expression =>
  expression("immediate", attribute(1, u32(0)), nested(2, nested(2, attribute(1, u32(code)))));
export const DROP = verdict(0);
export const ACCEPT = verdict(1);

/** IFNAMSIZ. */
function interfaceName(name: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.write(name, 0, 15, "latin1");
  return bytes;
}

const [META_IIFNAME, META_OIFNAME, META_NFPROTO] = [6, 7, 15];
export const notFrom = (name: string): Expression[] => [
  load("meta", META_IIFNAME),
  compare(interfaceName(name), false),
];
export const notTo = (name: string): Expression[] => [load("meta", META_OIFNAME), compare(interfaceName(name), false)];

/** The address that the kernel is about to look up in its neighbour table. */
const nextHop = (family: Family): Expression => load("rt", FAMILIES[family].nextHop);
export const nextHopIs = (family: Family, address: Buffer): Expression[] => [nextHop(family), compare(address, true)];

export function sourceIs(family: Family, address: Buffer): Expression[] {
  const { protocol, source, length } = FAMILIES[family];
  const [NETWORK_HEADER, ...at] = [1, source, length];
  const attributes = [attribute(1, REGISTER), ...[NETWORK_HEADER, ...at].map((n, i) => attribute(2 + i, u32(n)))];
  return [
    load("meta", META_NFPROTO),
    compare(Buffer.of(protocol), true),
    expression("payload", ...attributes),
    compare(address, true),
  ];
}

/** Puts the next hop into a set, or renews it there; matches unless the set is full of others. */
export function countNextHop(family: Family, set: string): Expression[] {
  const UPDATE = 1;
  return [
    nextHop(family),
    expression("dynset", attribute(1, text(set)), attribute(3, u32(UPDATE)), attribute(4, REGISTER)),
  ];
}

// --- transactions -----------------------------------------------------------------------

export interface NextHopSet {
  name: string;
  family: Family;
  /** Addresses that it has room for. */
  size: number;
  /** Milliseconds after which an address that was not seen again leaves it. */
  timeout: number;
}

export interface Chain {
  name: string;
  hook: number;
  rules: readonly (readonly Expression[])[];
}

export interface Table {
  name: string;
  /** Goes when the socket that it is made by is closed (NFT_TABLE_F_OWNER, Linux 5.12). */
  owned: boolean;
  sets: readonly NextHopSet[];
  chains: readonly Chain[];
}

/** The messages that make a table, all or nothing; the last one asks for an answer. */
export function newTable({ name, owned, sets, chains }: Table): Buffer {
  const change = (type: number, flags: number, ...attributes: Buffer[]): Buffer =>
    message((NFNL_SUBSYS_NFTABLES << 8) | type, NFPROTO_INET, 0, flags, [attribute(1, text(name)), ...attributes]);
  const OWNER = 2;
  const PRIORITY = u32(0);
  const ACCEPTS = u32(1);
  const newChain = (chain: Chain): Buffer =>
    change(
      NEWCHAIN,
      NLM_F_CREATE,
      attribute(3, text(chain.name)),
      attribute(7, text("filter")),
      attribute(5, ACCEPTS),
      nested(4, attribute(1, u32(chain.hook)), attribute(2, PRIORITY)),
    );
  const rules = chains.flatMap((chain) => chain.rules.map((rule) => ({ chain: text(chain.name), rule })));
  return Buffer.concat([
    message(NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES, 0, []),
    change(NEWTABLE, NLM_F_CREATE, attribute(2, u32(owned ? OWNER : 0))),
    ...chains.map(newChain),
    ...sets.map((set, i) => change(NEWSET, NLM_F_CREATE, ...describe(set, i + 1))),
    ...rules.map(({ chain, rule }, i) => {
      const last = i === rules.length - 1 ? NLM_F_ACK : 0;
      return change(NEWRULE, NLM_F_CREATE | NLM_F_APPEND | last, attribute(2, chain), nested(4, ...rule));
    }),
    message(NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES, 0, []),
  ]);
}

function describe({ name, family, size, timeout }: NextHopSet, id: number): Buffer[] {
  const [NFT_SET_TIMEOUT, NFT_SET_EVAL] = [0x10, 0x20];
  const milliseconds = Buffer.alloc(8);
  milliseconds.writeBigUInt64BE(BigInt(timeout));
  return [
    attribute(2, text(name)),
    attribute(3, u32(NFT_SET_TIMEOUT | NFT_SET_EVAL)),
    attribute(4, u32(FAMILIES[family].type)),
    attribute(5, u32(FAMILIES[family].length)),
    attribute(10, u32(id)),
    nested(9, attribute(1, u32(size))),
    attribute(11, milliseconds),
  ];
}
