/** What a meter does with its gateway: it enrols, follows the rounds, and delivers its readings. */
import { GridringError, UnavailableError } from '../crypto/errors.js';
import type { Meter } from '../things/meter.js';
import { RoundFollower, type Submission } from '../things/round-follower.js';
import type { Outbox } from '../things/stores.js';
import type { GatewayLink } from './gateway-link.js';
import { codeOf, type Runtime } from './runtime.js';
import { Judgement, Uploader } from './uploader.js';

interface UplinkParts {
  readonly id: string;
  readonly meter: Meter;
  readonly store: Outbox;
  readonly td: string;
  readonly link: GatewayLink;
  readonly log: Runtime['log'];
}

export class MeterUplink {
  readonly #id: string;
  readonly #meter: Meter;
  readonly #td: string;
  readonly #link: GatewayLink;
  readonly #log: Runtime['log'];
  readonly #follower: RoundFollower;
  readonly #uploader: Uploader;
  /** Which gateway knows this meter, by where it is; undefined for none. */
  #enrolledAt: string | undefined;
  #moved = new AbortController();

  constructor({ id, meter, store, td, link, log }: UplinkParts) {
    this.#id = id;
    this.#meter = meter;
    this.#td = td;
    this.#link = link;
    this.#log = log;
    this.#follower = new RoundFollower(meter, log.child({ meter: id }));
    this.#uploader = new Uploader({
      next: (maxItems, afterPosition) => meter.nextUpload(maxItems, afterPosition),
      outbox: store,
      judgement: new Judgement((what, code) => {
        log.warn({ meter: id, what, code }, 'the gateway refuses something for good; it is set aside');
      }),
      send: (upload) => link.invoke('submitReadings', upload),
      acknowledge: (upload, receipt) => meter.acknowledge(upload, receipt),
    });
  }

  get enrolled(): boolean {
    return this.#enrolledAt === this.#link.tdUrl;
  }

  /** Aborted when the gateway has moved: nobody waits for the old one any more. */
  get moved(): AbortSignal {
    return this.#moved.signal;
  }

  /** The gateway is somewhere else, or another: it has to know this meter first. */
  moveTo(tdUrl: string): void {
    this.#link.moveTo(tdUrl);
    this.#enrolledAt = undefined;
    this.#moved.abort();
    this.#moved = new AbortController();
  }

  /**
   * Enrols where that is due, and uploads all there is. A meter that the gateway refuses to enrol, for it is no member any
   * more, still delivers what it measured before.
   * @throws GridringError; nothing is forgotten that the gateway has not signed for
   */
  async deliver(signal: AbortSignal): Promise<void> {
    let refusal: unknown;
    try {
      await this.#enrolIfDue();
    } catch (error) {
      if (error instanceof UnavailableError) throw error;
      refusal = error;
    }
    while (!signal.aborted && (await this.#uploader.once()));
    if (refusal !== undefined) throw refusal as Error;
  }

  /** Once, and again when an epoch went by without this meter. */
  async #enrolIfDue(): Promise<void> {
    if (this.enrolled) return;
    const { tdUrl } = this.#link;
    const enrolment = this.#meter.enrolment(this.#td, await this.#link.directory());
    await this.#meter.groups.updateMembership(await this.#link.invoke('enrol', enrolment));
    this.#enrolledAt = tdUrl;
  }

  /** Asks for the meter's next certificate. @throws GridringError */
  async renew(message: Uint8Array): Promise<void> {
    await this.#link.invoke('renew', message);
  }

  /** Does one step in every group with what the gateway shows. @throws GridringError when it shows nothing readable */
  async follow(): Promise<void> {
    const { submissions, missed } = await this.#follower.follow(await this.#link.round());
    for (const submission of submissions) await this.#submit(submission);
    if (missed) this.#enrolledAt = undefined;
  }

  /** The gateway may have gone on meanwhile: what it refuses is shown again, or over. */
  async #submit({ action, message }: Submission): Promise<void> {
    try {
      await this.#link.invoke(action, message);
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      this.#log.warn({ meter: this.#id, action, code: codeOf(error), err: error }, 'the gateway did not take a reply');
    }
  }
}
