/** CoRE Link Format (RFC 6690), with the examples of RFC 6690 §5 and RFC 9176. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../crypto/limits.js';
import { matches, parseCriteria, parseQuery } from '../../things/link-filter.js';
import { attributeOf, parseLinks, writeLinks, type Link } from '../../things/link-format.js';

const parse = (text: string) => parseLinks(Buffer.from(text));

describe('links as the RFCs show them', () => {
  it.each<[string, readonly Link[]]>([
    ['', []],
    [
      '</sensors>;ct=40;title="Sensor Index",</sensors/temp>;rt="temperature-c";if="sensor"',
      [
        {
          href: '/sensors',
          attributes: [
            ['ct', '40'],
            ['title', 'Sensor Index'],
          ],
        },
        {
          href: '/sensors/temp',
          attributes: [
            ['rt', 'temperature-c'],
            ['if', 'sensor'],
          ],
        },
      ],
    ],
    [
      '<http://www.example.com/sensors/t123>;anchor="/sensors/temp";rel="describedby"',
      [
        {
          href: 'http://www.example.com/sensors/t123',
          attributes: [
            ['anchor', '/sensors/temp'],
            ['rel', 'describedby'],
          ],
        },
      ],
    ],
    ['</t>;obs', [{ href: '/t', attributes: [['obs', null]] }]],
    [
      '</firmware/v2.1>;rt="firmware";sz=262144',
      [
        {
          href: '/firmware/v2.1',
          attributes: [
            ['rt', 'firmware'],
            ['sz', '262144'],
          ],
        },
      ],
    ],
  ])('%s', (text, links) => {
    expect(parse(text)).toEqual(links);
    expect(writeLinks(links)).toBe(text);
  });

  it('takes values with quotes and without alike', () => {
    expect(parse('</t>;if=sensor;ct="40";title="a \\"b\\" \\\\c, <d>; é"')).toEqual([
      {
        href: '/t',
        attributes: [
          ['if', 'sensor'],
          ['ct', '40'],
          ['title', 'a "b" \\c, <d>; é'],
        ],
      },
    ]);
  });

  it('counts only the first of an attribute that may stand once', () => {
    const [link] = parse('</t>;rt="a";rt="b";foo="1";foo="2"');
    expect(link?.attributes).toEqual([
      ['rt', 'a'],
      ['foo', '1'],
      ['foo', '2'],
    ]);
    expect(attributeOf(link!, 'rt')).toBe('a');
  });
});

it('reads what it has written, whatever the links hold', () => {
  const reference = fc.stringMatching(/^\/[a-z0-9./?=&%~_-]{0,12}$/).filter((text) => !/%(?![0-9a-f]{2})/.test(text));
  const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,6}$/).filter((text) => !['rel', 'rt', 'if', 'sz'].includes(text));
  const value = fc.oneof(fc.constant(null), fc.string({ maxLength: 20, unit: 'grapheme' }).filter(isPlain));
  const link = fc.record({ href: reference, attributes: fc.array(fc.tuple(name, value), { maxLength: 5 }) });
  fc.assert(
    fc.property(fc.array(link, { maxLength: 6 }), (links) => {
      const single = links.map(({ href, attributes }) => ({ href, attributes: attributes.filter(isFirst) }));
      expect(parse(writeLinks(single))).toEqual(single);
    }),
  );
});

const isPlain = (text: string): boolean => !/\p{Cc}/u.test(text);
const once = new Set(['anchor', 'title', 'media', 'type']);
const isFirst = ([name]: readonly [string, unknown], index: number, all: readonly (readonly [string, unknown])[]) =>
  !once.has(name) || (name !== 'anchor' && all.findIndex(([other]) => other === name) === index);

describe('what is no list of links is refused', () => {
  it.each([
    ['a link without brackets', '/t'],
    ['white space between links', '</a>, </b>'],
    ['a comma at the end', '</a>,'],
    ['an open bracket', '</a'],
    ['an open quote', '</a>;rt="x'],
    ['an escape at the end', '</a>;rt="x\\'],
    ['an attribute without a name', '</a>;="x"'],
    ['a value that is missing', '</a>;rt='],
    ['a target that is no URI', '</a b>'],
    ['a target with half an escape', '</a%2>'],
    ['an anchor that is no URI', '</a>;anchor="<>"'],
    ['a line break in a value', '</a>;title="a\nb"'],
    ['a zero byte', '</a>;rt="\0"'],
  ])('%s', (_what, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'links-malformed' }) as Error);
  });

  it('bytes that are not UTF-8', () => {
    expect(() => parseLinks(Buffer.of(0x3c, 0xff, 0x3e))).toThrow(/UTF-8/);
  });

  it.each([
    ['bytes', `</${'a'.repeat(limits.linkFormat)}>`],
    ['links', '</>,'.repeat(limits.links) + '</>'],
    ['attributes', `</>${';a'.repeat(limits.linkAttributes + 1)}`],
    ['characters of a value', `</>;a="${'x'.repeat(limits.linkAttribute + 1)}"`],
    ['characters of a target', `</${'x'.repeat(limits.linkAttribute)}>`],
  ])('too many %s', (_what, text) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'too-large' }) as Error);
  });

  it('random bytes, in no time', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          parseLinks(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: 'links-malformed' });
        }
      }),
    );
  });
});

describe('filters', () => {
  const [link] = parse('</t>;rt="core.rd core.rd-lookup-ep";ct="40 64";title="a b";obs');

  it.each([
    ['rt=core.rd', true],
    ['rt=core.rd-lookup-ep', true],
    ['rt=core.rd-lookup', false],
    ['rt=core.rd-*', true],
    ['rt=core*', true],
    ['rt=x*', false],
    ['ct=64', true],
    ['ct=6', false],
    ['title=a', false],
    ['title=a b', true],
    ['title=a*', true],
    ['obs', true],
    ['obs=*', true],
    ['obs=1', false],
    ['sz', false],
  ])('%s: %s', (part, expected) => {
    const [criterion] = parseCriteria(parseQuery([part]));
    expect(matches(link!, criterion!)).toBe(expected);
  });

  it.each(['', '=x', 'a b=c', 'rt=\n', 'rt=\uFFFD'])('%j is refused', (part) => {
    expect(() => parseQuery([part])).toThrow(expect.objectContaining({ code: 'query-malformed' }) as Error);
  });
});
