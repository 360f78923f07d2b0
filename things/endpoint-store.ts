/** Endpoints that registered themselves in the CoRE Resource Directory (RFC 9176 §5). */

export interface Endpoint {
  /** The last part of its location, which it keeps when it registers again. */
  readonly id: string;
  /** `ep`; no other endpoint of the sector has it. */
  readonly name: string;
  /** `d`; empty where none was given. */
  readonly sector: string;
  /** `base`, where it was given; in its place there is `sourceBase`, from where the registration came. */
  readonly givenBase: string | null;
  readonly sourceBase: string;
  readonly lifetimeS: number;
  readonly updatedS: number;
  /** Others that it has, as JSON: `[[name, value], …]`. */
  readonly attributes: string;
  /** In the CoRE Link Format, as they were given. */
  readonly links: string;
  /** Where it registered from; from elsewhere nobody changes it. */
  readonly owner: string;
  /** Ids of the Things whose descriptions were fetched from it, as JSON. */
  readonly things: string;
  /** Position of its last change. */
  readonly revision: number;
}

/** What becomes of an endpoint: name, sector and id stay. */
export type EndpointContent = Omit<Endpoint, 'id' | 'name' | 'sector' | 'revision'>;

/** How many there are, beside the one that is asked for. */
export interface EndpointCounts {
  readonly all: number;
  readonly ofOwner: number;
}

export interface EndpointStore {
  /**
   * Registers under the name, with `newId` as its id where nobody has the name; `step` says what becomes of what is known,
   * while nobody else changes it, and may be called more than once.
   * @throws what `step` throws; then nothing has changed
   */
  putEndpoint(
    key: Pick<Endpoint, 'name' | 'sector' | 'owner'> & { readonly newId: string },
    step: (known: Endpoint | undefined, counts: EndpointCounts) => EndpointContent,
  ): Promise<Endpoint>;
  /** @throws what `step` throws; then nothing has changed. @returns undefined where there is no such endpoint */
  updateEndpoint(id: string, step: (known: Endpoint) => EndpointContent): Promise<Endpoint | undefined>;
  /** @throws what `admit` throws at the endpoint; then it stays. @returns whether there was one */
  deleteEndpoint(id: string, admit: (known: Endpoint) => void): Promise<boolean>;
  endpoint(id: string): Promise<Endpoint | undefined>;
  endpointNamed(name: string, sector: string): Promise<Endpoint | undefined>;
  /** Ascending by name, then sector. */
  endpoints(): Promise<readonly Endpoint[]>;
  /** Removes what has expired. @returns the ids */
  purgeEndpoints(nowS: number): Promise<readonly string[]>;
  /** Another one whenever endpoints have come, gone or changed. */
  endpointPosition(): Promise<number>;
}
