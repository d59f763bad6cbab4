import { z } from 'zod';
import { describe, expect, it } from 'vitest';
import { alignPropConfigSchema, parseAlignPropConfig } from './config.js';
import { ddpoConfigSchema, parseDDPOConfig } from '../ddpo/ddpo-config.js';

/** The part of JSON Schema that describes a number. */
interface Schema {
  readonly type?: string;
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly anyOf?: readonly Schema[];
  readonly prefixItems?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
}

const isNumber = ({ type }: Schema) => type === 'number' || type === 'integer';

/** Lists the numbers of a schema by their path. */
const numbersIn = (path: string, schema: Schema): (readonly [string, Schema])[] => [
  ...(isNumber(schema) ? [[path, schema] as const] : []),
  ...[...(schema.anyOf ?? []), ...(schema.prefixItems ?? [])].flatMap((part) => numbersIn(path, part)),
  ...Object.entries(schema.properties ?? {}).flatMap(([name, part]) =>
    numbersIn(path ? `${path}.${name}` : name, part),
  ),
];

const absurd = [0, -1, NaN, Infinity, 1.5, 1e9 + 1, 2 ** 53];

describe.each([
  ['AlignPropConfig', alignPropConfigSchema, parseAlignPropConfig],
  ['DDPOConfig', ddpoConfigSchema, parseDDPOConfig],
] as const)('%s', (_, schema, parse) => {
  const numbers = numbersIn('', z.toJSONSchema(schema, { io: 'input' }) as Schema);

  it('has a range for every number', () => {
    expect(numbers.length).toBeGreaterThan(20);
    const unbounded = numbers.filter(([path, { minimum, exclusiveMinimum, maximum, exclusiveMaximum }]) => {
      const highest = maximum ?? exclusiveMaximum ?? Infinity;
      return (minimum ?? exclusiveMinimum) === undefined || (highest > 1e9 && !path.endsWith('seed'));
    });
    expect(unbounded.map(([path]) => path)).toEqual([]);
  });

  it.each(numbers.map(([path]) => path).filter((path) => !path.includes('.')))(
    'takes or refuses %s by name',
    (name) => {
      for (const value of absurd)
        try {
          parse({ [name]: value });
        } catch (error) {
          expect((error as Error).message.length).toBeLessThan(1000);
          expect((error as Error).message).toMatch(/^\w+Config: /);
          expect((error as Error).message).not.toMatch(/TypeError|is not a function/);
        }
    },
  );
});
