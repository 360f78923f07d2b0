/**
 * Every code that a refusal of the API may carry, with the status and what it means to who calls. A test holds it against
 * the code base and against docs/errors.md; `/api/v1/errors` shows it, and a problem's `type` leads there.
 */
export interface ProblemCode {
  readonly statuses: readonly number[];
  readonly meaning: string;
  /** What to do about it. */
  readonly remedy: string;
}

const code = (statuses: number | readonly number[], meaning: string, remedy: string): ProblemCode => ({
  statuses: [statuses].flat(),
  meaning,
  remedy,
});

const mend = 'Mend the request; the same one is refused again.';
const later = 'Try again after what Retry-After says, or later and later.';
const build = 'The software that made the message has an error, or the message was altered on its way.';

export const problemCodes: Readonly<Record<string, ProblemCode>> = {
  // The request itself.
  'bad-request': code([400, 408, 414], 'The request cannot be taken as it is.', mend),
  'body-malformed': code(
    400,
    'The body is not JSON, or no JSON that is taken: a name twice, nested too deep, `__proto__`.',
    mend,
  ),
  'expectation-failed': code(
    417,
    'The only expectation that is understood is 100-continue.',
    'Leave the header Expect out.',
  ),
  'headers-too-large': code(431, 'The header fields are too large.', 'Send fewer or shorter ones.'),
  'host-malformed': code(400, 'There must be one Host header, and a valid one.', mend),
  'idempotency-key-reused': code(
    422,
    'The Idempotency-Key was sent with another request before.',
    'Choose a new key for each request.',
  ),
  'input-invalid': code(400, 'A parameter or the body is not what the description allows; the detail names it.', mend),
  'media-type-unsupported': code(
    415,
    'The body is of a media type that is not taken here.',
    'Accept lists those that are.',
  ),
  'method-not-allowed': code(405, 'The resource has no such method.', 'Allow lists those that it has.'),
  'no-such-resource': code(404, 'There is nothing under this path.', 'The OpenAPI description lists all paths.'),
  'not-acceptable': code(
    406,
    'The resource has no representation that Accept takes.',
    'The detail lists those that it has.',
  ),
  'request-malformed': code(400, 'This is not HTTP.', 'The connection is closed; mend the client.'),
  'request-timeout': code(408, 'The request did not arrive in time.', 'Send it without pauses.'),
  'precondition-failed': code(412, 'What If-Match names is no longer the newest.', 'Read it again, then decide.'),
  'precondition-required': code(428, 'The change needs If-Match.', 'Send the ETag of what was read.'),
  'target-malformed': code(400, 'The target of the request is no valid path.', mend),
  'target-too-long': code(414, 'A part of the path is too long.', mend),
  'too-large': code([400, 413, 429], 'The body or a part of it is larger than it may be.', 'Send less at once.'),

  // Who calls.
  refused: code(
    403,
    'Something does not verify, or the caller may not do this. Which of it was is not told.',
    'The log of the backend says more.',
  ),
  'proof-invalid': code(
    401,
    'The proof of possession is refused. Why is not told.',
    'Sign a new one for each request, with the key of the token, for its method, address and token; check the clock.',
  ),
  'issuer-unreachable': code(503, 'The keys of the issuer of the token cannot be fetched now.', later),
  'token-expired': code(401, 'The token has expired.', 'Get a new one.'),
  'token-self-signed': code(
    401,
    'A gateway has signed its token itself, and there is an issuer.',
    'Ask the issuer for one, with private_key_jwt under the key of the certificate.',
  ),
  'token-unbound': code(
    401,
    'The token is bound to no key, and could be used by whoever reads it on its way.',
    'Show one that is bound to a key, with a proof of possession for each request (DPoP).',
  ),
  'token-invalid': code(
    401,
    'The token is refused. Why is not told.',
    'Check audience, clock and certificate; the log of the backend says more.',
  ),
  'token-missing': code(401, 'A bearer token is required.', 'Send one in Authorization.'),

  // How much, and when.
  'data-busy': code(503, 'Others use the data, for too long.', later),
  'database-unreachable': code(503, 'The database does not answer.', later),
  'disk-failed': code(503, 'The disk does not store what it is given.', 'The backend needs its operator.'),
  'disk-full': code(503, 'The disk is full.', 'The backend needs its operator.'),
  internal: code(500, 'An error of the backend itself.', 'Report it with the request id.'),
  stopping: code(503, 'The backend is about to stop.', later),
  'store-closed': code(503, 'The backend is about to stop.', later),
  'too-many-requests': code(429, 'More requests than the limit allows.', later),
  'too-many-streams': code(429, 'More event streams are open than may be.', 'Close some.'),

  // What is asked for.
  'epoch-unknown': code(
    404,
    'No record of that epoch and attempt that the caller may see.',
    'The list of epochs has those that are there.',
  ),
  'group-unknown': code(404, 'No group of that id.', 'The list of groups has those that are there.'),
  'meter-unknown': code(
    404,
    'No meter of that name that the caller may read.',
    'The list of meters has those that are there.',
  ),
  'command-unknown': code(404, 'No command of that id.', 'The list of commands has those that are kept.'),
  'audit-checkpoint-unknown': code(
    404,
    'No checkpoint of that number.',
    'The list of checkpoints has those that are there.',
  ),
  'audit-entry-unknown': code(
    404,
    'No entry of that sequence, or it was given up by policy.',
    'The list of entries has those that are there.',
  ),
  'entry-unknown': code(
    404,
    'No entry of that sequence in the chain of the meter.',
    'The chain has those that are there; dropped tells which were given up by policy.',
  ),
  'gateway-unknown': code(
    404,
    'No current list names such a gateway.',
    'The list of gateways has those that are there.',
  ),
  'list-unknown': code(404, 'No list of that hash in the group.', 'The lists of the group have those that were there.'),
  'reader-unknown': code(404, 'No current list names such a reader.', 'The list of readers has those that are there.'),
  'proposal-early': code(409, 'The proposal was made later than now.', 'Check the clock of whoever made it.'),
  'proposal-expired': code(409, 'The proposal has expired.', 'The operator proposes it again.'),
  'proposal-unknown': code(
    404,
    'No proposal of that id for the group.',
    'The list of proposals has those that are there.',
  ),
  'proposals-waiting': code(
    429,
    'Too many proposals of the group wait for the authority.',
    'It takes them up, or they expire.',
  ),
  'td-unknown': code(404, 'No Thing of that id.', 'The list of Things has those that are there.'),

  // People.
  'username-taken': code(409, 'The user name is that of another account.', 'Choose another one.'),
  'account-elsewhere': code(409, 'Another issuer has the password of the account.', 'Let the person ask there.'),
  'issuer-missing': code(
    409,
    'The backend is no issuer, so nobody has a password here.',
    'Configure `issuer.embedded`, or ask the issuer that it trusts.',
  ),
  'login-unknown': code(
    404,
    'No account of that id logs in at the embedded issuer.',
    'A login link gives it a user name.',
  ),
  'username-unfit': code(
    400,
    'The user name is not of 1 to 64 characters a-z, 0-9 and . _ @ -, or begins with one of these.',
    'Name another one.',
  ),
  'account-changed': code(409, 'The account was changed meanwhile.', 'Read it again, then decide.'),
  'account-own': code(409, 'Nobody changes the rights of its own account.', 'Ask somebody else who manages accounts.'),
  'account-unknown': code(404, 'No account of that id.', 'The list of accounts has those that are there.'),
  'account-exists': code(
    409,
    'There is an account of that name or identity.',
    'Change that one, or choose another name.',
  ),
  'certificate-enrolled': code(409, 'The certificate is enrolled for another account.', 'Remove it there first.'),

  // What is brought.
  'base64url-malformed': code(400, 'The message is not unpadded, canonical base64url.', mend),
  'cbor-malformed': code(400, 'The message is not CBOR.', build),
  'cbor-not-deterministic': code(400, 'The message is not deterministic CBOR.', build),
  'certificate-malformed': code(400, 'A certificate is not of the profile.', 'Issue it with `gridring ca issue`.'),
  'cose-malformed': code(400, 'The message is not COSE_Sign1 as the protocol has it.', build),
  'membership-malformed': code(400, 'The list is not one.', build),
  'members-too-many': code(400, 'More members than a list may have.', 'Make two groups.'),
  'message-malformed': code(400, 'The message does not have the fields of its type.', build),
  'query-malformed': code(400, 'The query is not one of its language.', mend),
  'query-too-costly': code(
    400,
    'The query took too much time or memory, or found too much, and was ended.',
    'Ask for less, or page through the list of Things.',
  ),
  'query-unsupported': code(501, 'The directory does not do what the query asks for.', 'Leave SERVICE out.'),
  'search-paused': code(503, 'The last query of the caller took too much.', later),
  'search-preparing': code(503, 'The search reads the Things, which takes a while.', later),
  'searches-waiting': code(429, 'Too many searches wait.', later),
  'patch-malformed': code(400, 'A merge patch of a Thing Description is a JSON object.', mend),
  'td-invalid': code(400, 'The Thing Description is not valid; validationErrors says where.', mend),
  'td-stale': code(
    409,
    'The device has signed a newer description of itself since.',
    'Register that one; check the clock of the device.',
  ),
  'chain-broken': code(409, 'The entry does not continue the chain of its meter.', 'Upload what is missing before it.'),
  'command-conflict': code(
    409,
    'Another command of this operator has the same number.',
    'The operator signs it anew; two programs use its key at once.',
  ),
  'command-early': code(409, 'The command was issued in the future.', 'Set the clock of the operator.'),
  'command-expired': code(409, 'The command has ended.', 'The operator signs it anew.'),
  'commands-waiting': code(
    429,
    'As many commands of the group wait for members as may.',
    'Try again when some are answered or have ended.',
  ),
  'delegation-absent': code(
    409,
    'The list was changed under a delegation that is not there.',
    'Publish the list that the authority signed first.',
  ),
  'epoch-stale': code(409, 'Another record of that epoch and attempt is kept.', 'Agree on a higher one.'),
  'membership-conflict': code(
    409,
    'Another list of the same version and revision is known.',
    'The authority signs a higher version.',
  ),
  'membership-rollback': code(
    409,
    'The list is older than the one that is known, or than that of an earlier epoch.',
    'Fetch the newest list.',
  ),
  'membership-succession': code(
    409,
    'In the list a certificate that was replaced comes back, or another takes its place than before.',
    'The authority signs the next list from the newest: “gridring membership fetch”.',
  ),
  'membership-unknown': code(
    409,
    'The record rests on a list that is not known here.',
    'Publish the list, then the record.',
  ),
  'request-under-way': code(409, 'The request with this Idempotency-Key is being done.', later),
  'receipt-mismatch': code(409, 'The receipt is of another command, or of no target of it.', mend),
  'sequence-conflict': code(
    409,
    'Another entry of that sequence is kept.',
    'Two meters use one identity, or one was restored wrongly.',
  ),
  'target-unknown': code(
    409,
    'The command names somebody who is no member of the group.',
    'Fetch the newest list, and sign the command anew.',
  ),
  'wrong-group': code(409, 'No list of that group is known here.', 'Publish the list first.'),

  // Enrolments.
  'csr-malformed': code(
    400,
    'The request for a certificate asks for something else than one name.',
    'Make it with `gridring meter enrol`.',
  ),
  'enrolment-changed': code(409, 'The device has asked anew meanwhile.', 'Read the request again, then decide.'),
  'enrolment-stale': code(
    409,
    'A request for the next certificate was not signed just now.',
    'Set the clock of the device, and ask again.',
  ),
  'enrolment-unknown': code(404, 'No such invitation or request.', 'The list of enrolments has those that are there.'),
  'invitation-time': code(400, 'The invitation would end too late, or has ended.', 'Let it end within seven days.'),
};
