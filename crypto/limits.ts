/** All maxima, in one place. Sizes are bytes unless the name says otherwise. */
export const limits = {
  /** A member's ring message (protocol §2). */
  memberMessage: 220,
  /** A bundle of a full cell: 64 members, confirmation entries in suite 2, with room for signatures. */
  bundle: 24_000,
  /** A backend's endorsement with its certificates: a leaf and three more. */
  endorsement: 8_400,
  /** A verdict with its evidence: two bundles and the reveals of a full cell. */
  verdict: 40_000,
  /** A membership list with the certificates that it names. */
  membership: 256_000,
  /** A delegation of changes to a list, or a change under one. */
  delegation: 8_000,
  certificate: 2_000,
  /** A statement of trust in roots, and how many of them a bundle carries. */
  anchors: 8_000,
  anchorStatements: 8,
  /** A request for the next certificate, with the ones of now. */
  renewal: 10_240,
  /** DNS names and IP addresses of one. */
  certificateNames: 16,
  /** A gateway's word where it is. */
  home: 2_000,
  /** The proof of an epoch: list, record and endorsement. */
  proof: 360_500,
  /** A grant or one sealed reading. */
  envelope: 4_096,
  /** An operator's command, to a full cell. */
  command: 4_096,
  commandReceipt: 512,
  /** What a command has done, and what became of it. */
  operation: 512,
  /** Commands of a group that a gateway or backend keeps for members that have not answered. */
  commandsWaiting: 256,
  /** For how long a command may last, in seconds. */
  commandS: 604_800,
  /** What an operator proposes to the authority, of all meters of a list by name; how many of a group wait, and for how long. */
  proposal: 36_000,
  proposalsWaiting: 256,
  proposalS: 2_592_000,
  /** Commands of an operator whose receipts a meter keeps to give them again, and of how many operators. */
  commandsRemembered: 16,
  operatorsRemembered: 64,
  /** What a meter keeps of its operators' commands. */
  obeyingState: 1_000_000,
  /** A gap report or a checkpoint. */
  statement: 1_600,
  /** Quantities that a gap report names. */
  gapQuantities: 32,
  /** A telegram of a P1 port. */
  p1Telegram: 16_000,
  /** What a meter uploads at once. */
  readingsBatch: 64_000,
  /** A Thing Description, as JSON. */
  thingDescription: 32_000,
  /** What an event of a directory keeps of a change, in characters. */
  directoryChange: 4_000,
  /** Links in the CoRE Link Format that an endpoint registers, and how many they are. */
  linkFormat: 16_000,
  links: 256,
  linkAttributes: 24,
  /** A target of a link, a value of an attribute, a part of a query; in characters. */
  linkAttribute: 512,
  /** An endpoint's name or sector (RFC 9176 §5), in UTF-8. */
  endpointName: 63,
  /** Endpoints that registered themselves over CoAP: of all, and of one address. */
  endpoints: 2_000,
  endpointsOfAddress: 64,
  /** Thing Descriptions that are fetched from one of them. */
  endpointThings: 4,
  lookupCriteria: 16,
  /** Links that a lookup gives at once. */
  lookupLinks: 1_000,
  /** Anything that arrives over CoAP or HTTP, unless a route says less. */
  requestBody: 256_000,
  /** One record of a backup: a file, or some rows of a table. */
  backupRecord: 4_000_000,
  /** A text in an entry of an audit log, in characters; and how many details it has. */
  auditText: 300,
  auditDetails: 32,
  /** A list of devices to be enrolled: bytes, rows, and characters of a line; and for how long its signature counts, in seconds. */
  deviceList: 16_000_000,
  deviceRows: 20_000,
  deviceLine: 4_000,
  deviceListS: 2_592_000,
  /** A line of an exported audit log, in characters. */
  auditLine: 16_000,
  /** Nested arrays and maps in CBOR. */
  cborDepth: 8,
  /** The same in JSON that arrives over HTTP: Thing Descriptions nest deepest. */
  jsonDepth: 32,
  /** Members of a ring: recommended and hard cap (protocol §9). */
  ringMembers: 32,
  ringMembersHard: 64,
  /** Entries of a membership list, of whatever role. */
  membershipEntries: 1_024,
  /** Certificates that the holder of an entry has had before: one a year for as long as a meter hangs on its wall. */
  certificatesReplaced: 24,
  /** Certificates in a membership bundle that no entry names, read before its signature is checked: authority and CAs. */
  membershipCas: 16,
  /** How far ahead of the high water mark an announced epoch may be (protocol §5). */
  epochAhead: 1_024,
  /**
   * For how long a member whose state came from a backup answers no announcement, in seconds: longer than an announcement
   * lasts that it may have answered before (with the default time for sleepers), and the clock difference twice.
   */
  restoredSilenceS: 1_400,
  /** A token of an issuer, with three certificates of the largest size. */
  accessToken: 12_000,
  /** The longest life of one, in seconds. */
  accessTokenLifetimeS: 86_400,
  /** A proof that a token's holder has its key (RFC 9449). */
  possessionProof: 4_096,
  /** What an issuer says of itself, and its keys. */
  issuerDocument: 64_000,
  /** Clock difference that is forgiven, in seconds (protocol §7). */
  clockSkewS: 300,
} as const;
