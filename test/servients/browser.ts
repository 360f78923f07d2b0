/** As much of a browser as a login needs: cookies by path, and redirects one at a time. */
interface Cookie {
  readonly value: string;
  readonly path: string;
  readonly attributes: string;
}

export class Browser {
  readonly cookies = new Map<string, Cookie>();
  readonly #headers: Readonly<Record<string, string>>;

  constructor(headers: Readonly<Record<string, string>> = {}) {
    this.#headers = headers;
  }

  async request(url: string, init: RequestInit = {}): Promise<Response> {
    const { pathname } = new URL(url);
    const sent = [...this.cookies].filter(([, { path }]) => pathname.startsWith(path));
    const cookie = sent.map(([name, { value }]) => `${name.split(' ')[0] ?? ''}=${value}`).join('; ');
    const headers = { ...this.#headers, accept: 'text/html', ...(cookie !== '' && { cookie }) };
    const response = await fetch(url, { ...init, headers, redirect: 'manual' });
    for (const text of response.headers.getSetCookie()) this.#take(text);
    return response;
  }

  /** Follows redirects as long as they stay below a prefix. @returns the page, or where it would go otherwise */
  async visit(url: string, below: string, init: RequestInit = {}): Promise<{ at: string; response: Response }> {
    let at = url;
    let response = await this.request(at, init);
    for (let i = 0; i < 10; i++) {
      const location = response.headers.get('location');
      if (location === null) break;
      at = new URL(location, at).href;
      if (!at.startsWith(below)) break;
      await response.arrayBuffer();
      response = await this.request(at);
    }
    return { at, response };
  }

  submit(url: string, below: string, fields: readonly (readonly [string, string])[]) {
    const body = new URLSearchParams(fields.map(([name, value]): [string, string] => [name, value]));
    return this.visit(url, below, { method: 'POST', body });
  }

  #take(text: string): void {
    const [pair = '', ...attributes] = text.split(/; */);
    const [name = '', value = ''] = pair.split('=');
    const path = attributes.find((each) => each.startsWith('path='))?.slice(5) ?? '/';
    if (value === '') this.cookies.delete(`${name} ${path}`);
    else this.cookies.set(`${name} ${path}`, { value, path, attributes: attributes.join('; ') });
  }
}
