/**
 * Encodes a table of nf_tables, with its sets, chains and rules, as the netlink messages that make it
 * (linux/netfilter/nf_tables.h). Pure: neighbours.ts says which tables, and sends the messages.
 *
 * There is no program between, for two reasons: nft(8) would delay a start as much as another plugin, and iptables has no
 * match for the next hop.
 *
 * From the outside in: a transaction has messages, a message has attributes (type, length, value), and a rule is an
 * attribute with a list of expressions. An expression loads a value into a register, compares the register, or ends the
 * rule with a verdict. A comparison that does not hold ends the rule without one: the kernel goes on to the next rule.
 * Lengths and types are in the machine's byte order, all other numbers in the network's.
 */

const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
/** NFT_MSG_*. */
const [NEWTABLE, NEWCHAIN, NEWRULE, NEWSET] = [0, 3, 6, 9];
const [NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_APPEND] = [0x1, 0x4, 0x400, 0x800];
const NFPROTO_INET = 1;
const NLA_F_NESTED = 0x8000;

/** Where a chain is called (NF_INET_*). */
export const HOOK = { forward: 2, postrouting: 4 } as const;

/**
 * The kernel's numbers for IPv4 and IPv6: NFPROTO_*, bytes of an address, offset of the source in the packet's header,
 * NFT_RT_NEXTHOP*, and nft's own type of an address, by which `nft list ruleset` shows a set.
 */
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

/** An attribute whose value is a list of attributes. */
const nested = (type: number, ...values: Buffer[]): Buffer => attribute(NLA_F_NESTED | type, Buffer.concat(values));

/** struct nlmsghdr and struct nfgenmsg, then the attributes. */
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
const NFTA_LIST_ELEM = 1;
/** The one register that is used (NFT_REG_1). */
const REGISTER = u32(1);
/** The register that takes a verdict. */
const NFT_REG_VERDICT = u32(0);

const expression = (name: string, ...attributes: Buffer[]): Expression =>
  nested(NFTA_LIST_ELEM, attribute(1, text(name)), nested(2, ...attributes));

/** Loads what the expression `name` ("meta" or "rt") knows of the packet by that key. */
const load = (name: string, key: number): Expression =>
  expression(name, attribute(1, REGISTER), attribute(2, u32(key)));

/** Goes on with the rule if the register has this value, or if it has another one. */
function compare(value: Buffer, equal: boolean): Expression {
  const [NFT_CMP_EQ, NFT_CMP_NEQ] = [0, 1];
  const operator = u32(equal ? NFT_CMP_EQ : NFT_CMP_NEQ);
  return expression("cmp", attribute(1, REGISTER), attribute(2, operator), nested(3, attribute(1, value)));
}

/** `code` is NF_DROP or NF_ACCEPT. ACCEPT ends this chain; chains of others still see the packet. */
const verdict = (code: number): Expression =>
  expression("immediate", attribute(1, NFT_REG_VERDICT), nested(2, nested(2, attribute(1, u32(code)))));
export const DROP = verdict(0);
export const ACCEPT = verdict(1);

/** A name as the kernel compares it: filled up with zeros (IFNAMSIZ). */
function interfaceName(name: string): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.write(name, 0, 15, "latin1");
  return bytes;
}

/** NFT_META_*. */
const [META_IIFNAME, META_OIFNAME, META_NFPROTO] = [6, 7, 15];
/** Matches packets that have come in by another interface. */
export const notFrom = (name: string): Expression[] => [
  load("meta", META_IIFNAME),
  compare(interfaceName(name), false),
];
/** Matches packets that leave by another interface. */
export const notTo = (name: string): Expression[] => [load("meta", META_OIFNAME), compare(interfaceName(name), false)];

/**
 * Loads the address that the kernel is about to look up in its table of neighbours. Does not match packets of the other
 * family.
 */
const nextHop = (family: Family): Expression => load("rt", FAMILIES[family].nextHop);
export const nextHopIs = (family: Family, address: Buffer): Expression[] => [nextHop(family), compare(address, true)];

export function sourceIs(family: Family, address: Buffer): Expression[] {
  const { protocol, source, length } = FAMILIES[family];
  const NFT_PAYLOAD_NETWORK_HEADER = u32(1);
  return [
    load("meta", META_NFPROTO),
    compare(Buffer.of(protocol), true),
    expression(
      "payload",
      attribute(1, REGISTER),
      attribute(2, NFT_PAYLOAD_NETWORK_HEADER),
      attribute(3, u32(source)),
      attribute(4, u32(length)),
    ),
    compare(address, true),
  ];
}

/** Adds the next hop to a set, or starts its time there anew. Does not match if the set is full of other addresses. */
export function countNextHop(family: Family, set: string): Expression[] {
  const NFT_DYNSET_OP_UPDATE = u32(1);
  return [
    nextHop(family),
    expression("dynset", attribute(1, text(set)), attribute(3, NFT_DYNSET_OP_UPDATE), attribute(4, REGISTER)),
  ];
}

// --- transactions -----------------------------------------------------------------------

export interface NextHopSet {
  name: string;
  family: Family;
  /** The number of addresses that it has room for. */
  size: number;
  /** Milliseconds after which the kernel removes an address that was not counted again. */
  timeout: number;
}

export interface Chain {
  name: string;
  /** Of HOOK. */
  hook: number;
  rules: readonly (readonly Expression[])[];
}

export interface Table {
  name: string;
  /** The kernel removes the table when the socket that made it is closed (NFT_TABLE_F_OWNER, Linux 5.12). */
  owned: boolean;
  sets: readonly NextHopSet[];
  chains: readonly Chain[];
}

/**
 * The messages of one transaction, which makes the table as a whole or not at all. The last rule's message asks for an
 * answer, so there must be a rule.
 */
export function newTable({ name, owned, sets, chains }: Table): Buffer {
  const change = (type: number, flags: number, ...attributes: Buffer[]): Buffer =>
    message((NFNL_SUBSYS_NFTABLES << 8) | type, NFPROTO_INET, 0, flags, [attribute(1, text(name)), ...attributes]);
  const rules = chains.flatMap((chain) => chain.rules.map((rule) => ({ chain: text(chain.name), rule })));
  const NFT_TABLE_F_OWNER = 2;
  return Buffer.concat([
    message(NFNL_MSG_BATCH_BEGIN, 0, NFNL_SUBSYS_NFTABLES, 0, []),
    change(NEWTABLE, NLM_F_CREATE, attribute(2, u32(owned ? NFT_TABLE_F_OWNER : 0))),
    ...chains.map((chain) => change(NEWCHAIN, NLM_F_CREATE, ...chainAttributes(chain))),
    ...sets.map((set, i) => change(NEWSET, NLM_F_CREATE, ...setAttributes(set, i + 1))),
    ...rules.map(({ chain, rule }, i) => {
      const last = i === rules.length - 1 ? NLM_F_ACK : 0;
      return change(NEWRULE, NLM_F_CREATE | NLM_F_APPEND | last, attribute(2, chain), nested(4, ...rule));
    }),
    message(NFNL_MSG_BATCH_END, 0, NFNL_SUBSYS_NFTABLES, 0, []),
  ]);
}

/** A chain of type "filter" and priority 0, which accepts what no rule decides. */
function chainAttributes({ name, hook }: Chain): Buffer[] {
  const [NF_ACCEPT, PRIORITY] = [u32(1), u32(0)];
  return [
    attribute(3, text(name)),
    attribute(7, text("filter")),
    attribute(5, NF_ACCEPT),
    nested(4, attribute(1, u32(hook)), attribute(2, PRIORITY)),
  ];
}

/** A set of addresses that rules fill. `id` tells it from the transaction's other sets. */
function setAttributes({ name, family, size, timeout }: NextHopSet, id: number): Buffer[] {
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
