import * as tf from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { bool, entry, float, int, named, none, type KernelCase } from './kernel-case.js';

type Unary = (x: Tensor) => Tensor;
type Shape = readonly number[];

const unary: KernelCase[] = [
  ...named({
    abs: tf.abs,
    atan: tf.atan,
    asinh: tf.asinh,
    cos: tf.cos,
    cosh: tf.cosh,
    elu: tf.elu,
    erf: tf.erf,
    exp: tf.exp,
    expm1: tf.expm1,
    neg: tf.neg,
    relu: tf.relu,
    selu: tf.selu,
    sigmoid: tf.sigmoid,
    sin: tf.sin,
    sinh: tf.sinh,
    softplus: tf.softplus,
    square: tf.square,
    tan: (x: Tensor) => tf.tan(tf.mul(x, 0.3)),
    tanh: tf.tanh,
    relu6: (x: Tensor) => tf.relu6(tf.mul(x, 4)),
    leakyRelu: (x: Tensor) => tf.leakyRelu(x as never, 0.3),
    clip: (x: Tensor) => tf.clipByValue(x, -0.5, 0.8),
    identity: tf.clone,
    zerosLike: (x: Tensor) => tf.add(tf.zerosLike(x), x),
    onesLike: (x: Tensor) => tf.mul(tf.onesLike(x), x),
    hardTanh: (x: Tensor) => tf.minimum(tf.maximum(x, -1), 1),
  }).map(([name, op]) => entry(name, [[2, 3, 5]], op as Unary, { step: 1e-2 })),
  ...named({
    log: tf.log,
    log1p: tf.log1p,
    rsqrt: tf.rsqrt,
    sqrt: tf.sqrt,
    reciprocal: tf.reciprocal,
    pow: (x: Tensor) => tf.pow(x, 2.5),
  }).map(([name, op]) => entry(name, [float([3, 1, 4], 'positive')], op as Unary)),
  ...named({ acos: tf.acos, asin: tf.asin, atanh: tf.atanh }).map(([name, op]) =>
    entry(name, [float([7], 'unit')], op as Unary, { tolerance: 5e-5 }),
  ),
  entry('acosh', [float([7], 'above')], tf.acosh, { tolerance: 5e-5 }),
  ...named({
    ceil: tf.ceil,
    floor: tf.floor,
    round: (x: Tensor) => tf.round(tf.mul(x, 3)),
    sign: tf.sign,
    step: tf.step,
  }).map(([name, op]) => entry(name, [[2, 7]], op as Unary, { step: 1e-4 })),
  entry('step with a slope', [[2, 7]], (x) => tf.step(x, 0.25)),
  entry('round, half to even', [float([8], [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 3.49, -3.51])], tf.round, none),
  entry(
    'tiny values keep their precision',
    [float([4], [1e-6, -3e-7, 2e-5, -4e-4])],
    (x) => tf.stack([tf.expm1(x), tf.log1p(x)]),
    { tolerance: 1e-6, wrt: [], without: ['wasm', 'webgpu'] }, // WGSL's log is off by 5e-7 near 1
  ),
  // Not differentiated: tfjs's gradient reads an input that it has freed.
  entry('logSigmoid', [[2, 3, 5]], (x) => tf.logSigmoid(x), none),
  entry(
    'large values',
    [float([4], [30, -30, 80, -80])],
    (x) => tf.stack([tf.expm1(tf.neg(tf.abs(x))), tf.log1p(tf.abs(x)), tf.softplus(x), tf.sigmoid(x)]),
    none,
  ),
  entry(
    'isNaN, isInf, isFinite',
    [float([6], 'special')],
    (x) => tf.stack([tf.isNaN(x), tf.isInf(x), tf.isFinite(x)]),
    { without: ['wasm'] },
  ),
  entry('a function of a scalar', [[]], (x) => tf.mul(tf.exp(x), tf.sin(x))),
  entry('a function of an empty tensor', [[0, 3]], (x) => tf.exp(x)),
  entry('prelu', [[2, 3, 4], [4]], (x, a) => tf.prelu(x, a)),
  entry(
    'prelu, one slope per element',
    [
      [2, 3, 4],
      [3, 4],
    ],
    (x, a) => tf.prelu(x, a),
  ),
  ...named({
    abs: tf.abs,
    neg: tf.neg,
    sign: tf.sign,
    square: tf.square,
    relu: tf.relu,
    clip: (x: Tensor) => tf.clipByValue(x, -2, 3),
    onesLike: tf.onesLike,
  }).map(([name, op]) => entry(`${name} of integers`, [int([3, 5])], op as Unary, none)),
  entry('exp of integers', [int([3, 5], [-3, -2, -1, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])], (x) => tf.exp(x), none),
];

const pairs: [string, Shape, Shape][] = [
  ['', [2, 3, 4], [2, 3, 4]],
  [' with a scalar', [3, 2], []],
  [', broadcast', [2, 1, 4], [3, 1]],
  [' of a row', [2, 3, 4, 5], [5]],
  [' to rank 5', [2, 1, 3, 1, 2], [4, 1, 3, 2]],
  [' with an empty tensor', [0, 3], [3]],
];
const binary: KernelCase[] = [
  ...named({
    add: tf.add,
    sub: tf.sub,
    mul: tf.mul,
    maximum: tf.maximum,
    minimum: tf.minimum,
    squaredDifference: tf.squaredDifference,
  }).flatMap(([name, op]) => pairs.map(([what, a, b]) => entry(`${name}${what}`, [a, b], op, { step: 5e-3 }))),
  ...pairs
    .slice(0, 4)
    .flatMap(([what, a, b]) => [
      entry(`div${what}`, [a, float(b, 'positive')], tf.div),
      entry(`divNoNan${what}`, [float(a, 'positive'), float(b, 'positive')], tf.divNoNan),
      entry(`pow${what}`, [float(a, 'positive'), b], tf.pow, { step: 5e-3 }),
      entry(`atan2${what}`, [a, b], tf.atan2, { step: 2e-3, tolerance: 1e-4 }),
    ]),
  entry(
    'atan2 on the axes',
    [float([8], [0, 1, 0, -1, 1, 1, -1, -1]), float([8], [1, 0, -1, 0, 1, -1, 1, -1])],
    tf.atan2,
    none,
  ),
  entry('mod', [[3, 4], float([4], 'positive')], (a, b) => tf.mod(tf.mul(a, 5), tf.add(b, 1)), {
    step: 1e-4,
    tolerance: 5e-5,
  }),
  entry(
    'mod by negative numbers',
    [[3, 4], float([4], 'positive')],
    (a, b) => tf.mod(tf.mul(a, 5), tf.neg(tf.add(b, 1))),
    none,
  ),
  entry(
    'floorDiv of floats',
    [[3, 4], float([4], 'positive')],
    (a, b) => tf.cast(tf.floorDiv(tf.mul(a, 5), b), 'float32'),
    none,
  ),
  entry(
    'addN',
    [
      [2, 3],
      [2, 3],
      [2, 3],
    ],
    (...xs) => tf.addN(xs),
  ),
  entry('addN of many', [[20, 3]], (x) => tf.addN(tf.unstack(x))),
  entry('powers of negative numbers', [[7]], (x) => tf.add(tf.pow(x, 2), tf.pow(x, tf.scalar(3, 'int32')))),
  ...named({
    add: tf.add,
    sub: tf.sub,
    mul: tf.mul,
    maximum: tf.maximum,
    minimum: tf.minimum,
    squaredDifference: tf.squaredDifference,
    mod: tf.mod,
    floorDiv: tf.floorDiv,
    div: tf.div,
    bitwiseAnd: (a: Tensor, b: Tensor) => tf.bitwiseAnd(a, tf.broadcastTo(b, a.shape)),
  }).map(([name, op]) => entry(`${name} of integers`, [int([3, 4]), int([4], [3, -2, 5, -7])], op, none)),
  entry('integers to a power', [int([5], [-2, -1, 0, 2, 3])], (x) => tf.pow(x, tf.scalar(3, 'int32')), none),
  entry('floats and integers', [[3, 4], int([4])], (x, n) => tf.add(tf.mul(x, n), n)),
  entry('integers by zero', [int([4], [3, -2, 0, 5])], (x) => tf.floorDiv(x, tf.tensor1d([0, 2, 0, -3], 'int32')), {
    ...none,
    without: ['wasm', 'tensorflow'], // TensorFlow throws
  }),
  entry('booleans are counted', [bool([3, 4])], (x) => tf.add(tf.sum(x, 1), tf.sum(tf.maximum(x, x), 1)), none),
];

const logic: KernelCase[] = [
  ...named({
    equal: tf.equal,
    notEqual: tf.notEqual,
    greater: tf.greater,
    greaterEqual: tf.greaterEqual,
    less: tf.less,
    lessEqual: tf.lessEqual,
  }).flatMap(([name, op]) => [
    entry(
      name,
      [
        [3, 1, 4],
        [2, 1],
      ],
      op,
      none,
    ),
    entry(`${name} of integers`, [int([3, 4], [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]), int([4], [1, 2, 3, 2])], op, none),
    entry(`${name} of booleans`, [bool([3, 4]), bool([4])], op, { ...none, without: ['wasm'] }),
  ]),
  ...named({ logicalAnd: tf.logicalAnd, logicalOr: tf.logicalOr, logicalXor: tf.logicalXor }).map(([name, op]) =>
    entry(name, [bool([3, 1, 4]), bool([3, 1])], op, none),
  ),
  entry('LogicalXor', [bool([3, 4]), bool([3, 4])], (a, b) => tf.engine().runKernel('LogicalXor', { a, b }) as Tensor, {
    ...none,
    without: ['cpu'],
  }),
  entry('logicalNot', [bool([5])], tf.logicalNot, none),
  entry('where', [bool([3, 4]), [3, 4], [3, 4]], tf.where),
  entry('where, broadcast', [bool([4]), [3, 1], [1, 4]], tf.where),
  entry(
    'where of rows',
    [bool([3]), [3, 2, 2], [3, 2, 2]],
    (c, a, b) => tf.engine().runKernel('Select', { condition: c, t: a, e: b }) as Tensor,
    { ...none, eager: (c, a, b) => tf.where(tf.reshape(c, [3, 1, 1]), a, b) },
  ),
  entry('where of integers', [bool([3, 4]), int([3, 4]), int([3, 4])], tf.where, none),
  entry('where of booleans', [bool([3, 4]), bool([3, 4]), bool([3, 4])], tf.where, { ...none, without: ['wasm'] }),
  entry(
    'searchSorted',
    [float([2, 5], [1, 2, 3, 4, 5, -1, 0, 0, 2, 7]), float([2, 3], [3, 0, 9, 0, -2, 1.5])],
    (s, v) => tf.stack([tf.searchSorted(s, v), tf.searchSorted(s, v, 'right')]),
    none,
  ),
  entry('cast to integers', [[3, 4]], (x) => tf.cast(tf.mul(x, 5), 'int32'), none),
  entry('cast to booleans', [float([4], [0, -1, 0.5, 0])], (x) => tf.cast(x, 'bool'), { ...none, without: ['wasm'] }),
  entry(
    'cast of integers',
    [int([4], [0, -1, 2, 0])],
    (x) => tf.stack([tf.cast(x, 'float32'), tf.cast(tf.cast(x, 'bool'), 'float32')]),
    { ...none, without: ['wasm'] },
  ),
  entry(
    'cast of booleans',
    [bool([4])],
    (x) => tf.add(tf.cast(x, 'float32'), tf.cast(tf.cast(x, 'int32'), 'float32')),
    none,
  ),
  entry('selection by value', [[3, 4]], (x) => tf.where(tf.greater(x, 0.3), tf.mul(x, x), tf.neg(x)), { step: 2e-3 }),
];

/** Elementwise ops. */
export const elementCases: readonly KernelCase[] = [...unary, ...binary, ...logic];
