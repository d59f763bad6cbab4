import { elementCount, random, readValues, type StoredTensor } from '@alignprop/autograd-ext';
import { describe, expect, it } from 'vitest';
import type { LowRankAdapter, MergedAdapter, ModuleAdapter } from '../lora-state.js';
import type { WeightChange } from '../weight-change.js';
import type { AdapterKind, ModuleSettings } from './adapter-kind.js';
import { adapterKinds } from './adapter-kinds.js';
import type { AdapterPart, AdapterParts } from './adapter-part.js';

const settings: ModuleSettings = {
  alphaOf: (r) => r / 2,
  rank: undefined,
  isFeedforward: undefined,
  useDora: false,
  baseChange: () => undefined,
};

const [OUT, IN] = [4, 6];
const matrix = [OUT, IN];
const kernel = [OUT, IN, 3, 3];

interface Example {
  readonly kind: string;
  readonly shape: readonly number[];
  readonly parts: Partial<Record<AdapterPart, readonly number[]>>;
  /** A tensor without which the adapter is not complete. */
  readonly needed: AdapterPart;
}

// The shapes of the tensors of each kind, for a matrix and for a kernel. The golden files have their values.
const examples: readonly Example[] = [
  { kind: 'LoRA', shape: matrix, parts: { lora_A: [2, IN], lora_B: [OUT, 2], alpha: [] }, needed: 'lora_A' },
  {
    kind: 'LoRA',
    shape: kernel,
    parts: { lora_A: [2, IN, 1, 1], lora_mid: [2, 2, 3, 3], lora_B: [OUT, 2, 1, 1] },
    needed: 'lora_B',
  },
  {
    kind: 'LoHa',
    shape: matrix,
    parts: { hada_w1_a: [OUT, 2], hada_w1_b: [2, IN], hada_w2_a: [OUT, 3], hada_w2_b: [3, IN] },
    needed: 'hada_w2_a',
  },
  {
    kind: 'LoHa',
    shape: kernel,
    parts: {
      ...{ hada_t1: [2, 2, 3, 3], hada_w1_a: [2, OUT], hada_w1_b: [2, IN] },
      ...{ hada_t2: [2, 2, 3, 3], hada_w2_a: [2, OUT], hada_w2_b: [2, IN] },
    },
    needed: 'hada_w1_b',
  },
  { kind: 'LoKr', shape: matrix, parts: { lokr_w1: [2, 3], lokr_w2: [2, 2] }, needed: 'lokr_w2' },
  {
    kind: 'LoKr',
    shape: kernel,
    parts: { lokr_w1_a: [2, 1], lokr_w1_b: [1, 2], lokr_w2: [2, 3, 3, 3] },
    needed: 'lokr_w1_a',
  },
  {
    kind: 'LoKr',
    shape: kernel,
    parts: { lokr_w1: [2, 2], lokr_w2_a: [2, 2], lokr_w2_b: [2, 27] },
    needed: 'lokr_w2_b',
  },
  {
    kind: 'LoKr',
    shape: kernel,
    parts: { lokr_w1: [2, 2], lokr_t2: [2, 2, 3, 3], lokr_w2_a: [2, 2], lokr_w2_b: [2, 3] },
    needed: 'lokr_w1',
  },
  { kind: '(IA)³', shape: matrix, parts: { ia3_l: [OUT, 1] }, needed: 'ia3_l' },
  { kind: '(IA)³', shape: matrix, parts: { ia3_l: [1, IN] }, needed: 'ia3_l' },
  { kind: '(IA)³ of LyCORIS', shape: kernel, parts: { weight: [1, OUT, 1, 1], on_input: [] }, needed: 'weight' },
  { kind: 'full difference', shape: matrix, parts: { diff: [OUT, IN, 1, 1], diff_b: [OUT] }, needed: 'diff' },
];

const stored = (shape: readonly number[], name = ''): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: () =>
    Promise.resolve(name === 'on_input' ? Int32Array.of(0) : random(shape.length + 1).randn(elementCount(shape))),
});
const kindOf = (name: string) => adapterKinds.find((kind) => kind.name === name)!;
const partsOf = ({ parts }: Example): AdapterParts =>
  Object.fromEntries(Object.entries(parts).map(([name, shape]) => [name, stored(shape, name)]));
const changeOf = (adapter: ModuleAdapter): WeightChange => (adapter as MergedAdapter).weight!;
const changed = async (change: WeightChange, shape: readonly number[], strength: number) => {
  const weight = Float32Array.from(random(9).randn(elementCount(shape)));
  await change.apply(weight, shape, strength);
  return weight;
};

describe('adapterKinds', () => {
  it('has an example of every kind, and no tensor marks two of them, but the difference of a bias', () => {
    expect(new Set(examples.map(({ kind }) => kind))).toEqual(new Set(adapterKinds.map(({ name }) => name)));
    const marks = adapterKinds.flatMap((kind) => kind.marks);
    expect(marks).toHaveLength(new Set(marks).size);
    expect(adapterKinds.filter(({ others }) => others.includes('diff_b')).map(({ name }) => name)).toEqual(['LoRA']);
  });

  const merged = examples.filter(({ kind }) => kind !== 'LoRA');

  it.each(merged)('$kind of a weight $shape changes it in proportion to its strength', async (example) => {
    const change = changeOf(await kindOf(example.kind).read(partsOf(example), settings));
    expect(change.misfit(example.shape)).toBeUndefined();
    const [none, half, whole] = await Promise.all(
      [0, 0.5, 1].map((strength) => changed(change, example.shape, strength)),
    );
    expect(none).toEqual(Float32Array.from(random(9).randn(elementCount(example.shape))));
    expect(whole!.filter((value, i) => value !== none![i]).length).toBeGreaterThan(whole!.length / 2);
    half!.forEach((value, i) => expect(value).toBeCloseTo((none![i]! + whole![i]!) / 2, 4));
  });

  it.each(merged)('$kind says which weights it does not fit, $shape', async (example) => {
    const change = changeOf(await kindOf(example.kind).read(partsOf(example), settings));
    expect(change.misfit([OUT + 1, IN + 1, ...example.shape.slice(2)])).toMatch(/^.+ got, expected .+$/);
  });

  it.each(examples.filter(({ parts }) => Object.keys(parts).length > 1 && !parts.diff))(
    '$kind names the tensor $needed that a file lacks',
    async (example) => {
      const kind: AdapterKind = kindOf(example.kind);
      const { [example.needed]: _, ...parts } = partsOf(example);
      const read = async () => kind.read(parts, settings);
      if (example.kind !== 'LoRA') return expect(read).rejects.toThrow(`lacks ${example.needed.replace(/_[ab]$/, '')}`);
      const { a, b } = (await read()) as LowRankAdapter; // applyLora names what is missing
      expect(a && b).toBeUndefined();
    },
  );

  it('folds the kernel of lora_mid into A', async () => {
    const example = examples.find(({ parts }) => parts.lora_mid)!;
    const parts = partsOf(example);
    const { a } = (await kindOf('LoRA').read(parts, settings)) as LowRankAdapter;
    expect(a!.shape).toEqual([2, IN, 3, 3]);
    const [down, mid, folded] = [await parts.lora_A!.read(), await parts.lora_mid!.read(), await readValues(a!)];
    const at = (1 * IN + 4) * 9 + 5; // row 1, input 4, position 5
    expect(folded[at]).toBeCloseTo(mid[2 * 9 + 5]! * down[4]! + mid[3 * 9 + 5]! * down[IN + 4]!, 5);
  });

  it.each([
    ['lora_magnitude_vector', [1, OUT, 1, 1], 'output'],
    ['dora_scale', [OUT, 1], 'output'],
    ['dora_scale', [OUT], 'output'],
    ['dora_scale', [1, IN], 'input'],
    ['dora_scale', [1, IN, 1, 1], 'input'],
  ] as const)('takes %s %j for lengths along the %s', async (name, shape, axis) => {
    const parts = { lora_A: stored([2, IN]), lora_B: stored([OUT, 2]), [name]: stored(shape) };
    expect(await kindOf('LoRA').read(parts, settings)).toMatchObject({ kind: 'dora', magnitude: { axis } });
  });

  it.each([
    ['LoHa', 'output', [OUT, 1]],
    ['LoKr', 'input', [1, IN]],
  ] as const)(
    'gives the weight with %s the lengths of dora_scale along the %s, by the strength',
    async (kind, axis, shape) => {
      const example = examples.find((other) => other.kind === kind && other.shape === matrix)!;
      const scale = stored(shape);
      const change = changeOf(await kindOf(kind).read({ ...partsOf(example), dora_scale: scale }, settings));
      const [weight, lengths] = [await changed(change, matrix, 1), await scale.read()];
      const [none, half] = [await changed(change, matrix, 0), await changed(change, matrix, 0.5)];
      half.forEach((value, i) => expect(value).toBeCloseTo((none[i]! + weight[i]!) / 2, 4));
      lengths.forEach((length, n) => {
        const values = weight.filter((_, i) => (axis === 'output' ? Math.floor(i / IN) : i % IN) === n);
        expect(Math.hypot(...values)).toBeCloseTo(Math.abs(length), 4);
      });
      expect(change.misfit(matrix)).toBeUndefined();
    },
  );

  it('scales LoKr of whole factors by α/r of a configuration, and by 1 without one', async () => {
    const example = examples.find(({ parts }) => parts.lokr_w1 && parts.lokr_w2)!;
    const [plain, configured] = [settings, { ...settings, rank: 8 }].map((s) =>
      changeOf(kindOf('LoKr').read(partsOf(example), s) as ModuleAdapter),
    );
    const [none, one, half] = await Promise.all([
      changed(plain!, matrix, 0),
      changed(plain!, matrix, 1),
      changed(configured!, matrix, 1),
    ]);
    half.forEach((value, i) => expect(value - none[i]!).toBeCloseTo((one[i]! - none[i]!) / 2, 4));
  });

  it("asks for peft's configuration where the shape of ia3_l does not tell inputs from outputs", () => {
    const parts = { ia3_l: stored([1, OUT, 1, 1]) };
    expect(() => kindOf('(IA)³').read(parts, settings)).toThrow('feedforward_modules');
    const { weight } = kindOf('(IA)³').read(parts, { ...settings, isFeedforward: true }) as MergedAdapter;
    expect(weight!.misfit([IN, OUT, 3, 3])).toBeUndefined();
    expect(weight!.misfit([OUT, IN, 3, 3])).toContain('expected 6 numbers');
  });
});
