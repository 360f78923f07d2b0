/** The pages where people log in, and where one-time links set passwords. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { default as Provider, InteractionResults } from 'oidc-provider';
import { GridringError, LimitError, UnavailableError } from '../../crypto/errors.js';
import { languageOf } from '../bindings/language.js';
import { LoginThrottled, type LoginAttempt, type Logins } from './logins.js';
import { pageHeaders } from './page-headers.js';
import { pageTexts } from './page-texts.js';
import { pagesFor, type Pages } from './pages.js';

export interface LoginPages {
  readonly logins: Logins;
  readonly provider: () => Promise<Provider>;
}

interface OfInteraction {
  readonly Params: { readonly uid: string };
}
interface OfLink {
  readonly Params: { readonly code: string };
}
interface Form {
  readonly Body: URLSearchParams;
}
type Interaction = Awaited<ReturnType<Provider['interactionDetails']>>;

const formBytes = 4_096;

export function loginRoutes(scope: FastifyInstance, { logins, provider }: LoginPages): void {
  scope.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit: formBytes },
    (_request, body, done) => {
      done(null, new URLSearchParams(String(body)));
    },
  );
  scope.setErrorHandler((error, request, reply) => {
    request.log.info({ code: codeOf(error), reason: (error as Error).message }, 'a page could not be shown');
    const pages = pagesOf(request);
    return error instanceof GridringError
      ? send(reply.code(400), pages.error(faultOf(request, error)))
      : send(reply.code(404), pages.error());
  });

  scope.get<OfInteraction>('/login/:uid', async (request, reply) => {
    const { prompt, clientName } = await interaction(await provider(), request, reply);
    const pages = pagesOf(request);
    return send(reply, prompt === 'login' ? pages.login() : pages.consent(clientName));
  });
  scope.post<OfInteraction & Form>('/login/:uid', async (request, reply) => {
    const oidc = await provider();
    const { prompt } = await interaction(oidc, request, reply);
    const resume = async (result: InteractionResults): Promise<FastifyReply> => {
      const to = await oidc.interactionResult(request.raw, reply.raw, result, { mergeWithLastSubmission: true });
      return reply.headers(pageHeaders).redirect(to, 303);
    };
    if (request.body.get('stop') !== null) {
      return resume({ error: 'access_denied', error_description: 'the person has stopped it' });
    }
    if (prompt !== 'login') return resume({ consent: {} });
    const username = (request.body.get('username') ?? '').trim().toLowerCase();
    try {
      const accountId = await logins.logIn(username, request.body.get('password') ?? '', attemptOf(request));
      request.log.info({ account: accountId }, 'logged in');
      // Whoever has just typed a password for this client has agreed to it.
      return await resume({ login: { accountId, amr: ['pwd'] }, consent: {} });
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      request.log.info({ code: error.code }, 'a login was refused');
      return send(reply.code(statusOf(error)), pagesOf(request).login(faultOf(request, error), username));
    }
  });

  scope.get<OfLink>('/link/:code', async (request, reply) => {
    const { username } = await logins.linked(request.params.code);
    return send(reply, pagesOf(request).link(username));
  });
  scope.post<OfLink & Form>('/link/:code', async (request, reply) => {
    const { code } = request.params;
    const { username } = await logins.linked(code);
    const [password = '', again] = request.body.getAll('password');
    const pages = pagesOf(request);
    if (password !== again) return send(reply.code(400), pages.link(username, textsFor(request).link.differ));
    try {
      await logins.useLink(code, password, attemptOf(request));
    } catch (error) {
      if (!(error instanceof GridringError) || error.code !== 'password-unfit') throw error;
      return send(reply.code(400), pages.link(username, faultOf(request, error)));
    }
    return send(reply, pages.linkUsed(username));
  });
}

const pagesOf = ({ headers }: FastifyRequest): Pages => pagesFor(headers['accept-language']);

const textsFor = ({ headers }: FastifyRequest) => pageTexts[languageOf(headers['accept-language'])];

/** In the reader's language, where it is one that people bring about. */
function faultOf(request: FastifyRequest, error: GridringError): string {
  const { faults, throttled } = textsFor(request);
  return error instanceof LoginThrottled ? throttled(error.waitS) : (faults[error.code] ?? error.message);
}

const attemptOf = ({ ip, id }: FastifyRequest): LoginAttempt => ({ address: ip, requestId: id });

/** @throws Error of oidc-provider where the browser has not begun it, or it has ended */
async function interaction(
  provider: Provider,
  request: FastifyRequest<OfInteraction>,
  reply: FastifyReply,
): Promise<{ readonly prompt: string; readonly clientName: string }> {
  const { uid, prompt, params }: Interaction = await provider.interactionDetails(request.raw, reply.raw);
  // The address alone gives nothing: the cookie names the login of this browser.
  if (uid !== request.params.uid) throw new Error('another login of this browser');
  const client = await provider.Client.find(String(params['client_id']));
  return { prompt: prompt.name, clientName: client?.clientName ?? '' };
}

const send = (reply: FastifyReply, html: string): FastifyReply =>
  reply
    .headers({ ...pageHeaders, 'cache-control': 'no-store' })
    .type('text/html; charset=utf-8')
    .send(html);

const codeOf = (error: unknown): string => (error instanceof GridringError ? error.code : 'page-ended');

function statusOf(error: GridringError): number {
  if (error instanceof LimitError) return 429;
  return error instanceof UnavailableError ? 503 : 401;
}
