// The names that may occur in a torch file, and what each stands for. It is an allow-list: a file with any other name
// is refused. Nothing here or in the file is looked up in a program, and nothing that a file names is called.
import { Placeholder, type PickleMeaning } from './pickle.js';
import { TorchFileError } from './torch-file-error.js';

/** A run of numbers in the file that one or more tensors view. */
export class TorchStorage {
  constructor(
    readonly key: string,
    /** Undefined for plain bytes, which a tensor views as its own dtype. */
    readonly dtype: string | undefined,
    /** In elements. */
    readonly length: number,
  ) {}
}

/** A view of a storage; all counts are in elements. Not checked against the storage yet. */
export class TorchTensor {
  constructor(
    readonly storage: TorchStorage,
    readonly dtype: string,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** A class or function whose result is known without calling it. */
class Known {
  constructor(
    readonly name: string,
    readonly result: (args: readonly unknown[]) => unknown,
  ) {}
}

class StorageType {
  constructor(readonly dtype: string | undefined) {}
}

class Dtype {
  constructor(readonly name: string) {}
}

const STATE_DICT_ADVICE =
  'Python would import and run it. If you trust the file, open it with torch and save its tensors alone: torch.save(module.state_dict(), path), or better as safetensors.';

/** Torch's allow-list. A persistent id is a storage; other names throw and are named in the error. */
export const torchMeaning: PickleMeaning = {
  global: (name) => {
    const known = GLOBALS.get(name);
    if (known) return known;
    throw new TorchFileError(
      `the pickle got the name '${name.slice(0, 200)}', expected only torch's tensors, storages and dtypes, and OrderedDict.`,
      STATE_DICT_ADVICE,
    );
  },
  call: (callee, args) => {
    if (callee instanceof Placeholder) return callee;
    if (callee instanceof Known && Array.isArray(args)) return callee.result(args);
    throw new TorchFileError(
      `the pickle got a call of ${describe(callee)} with ${describe(args)}, expected an allowed function with a tuple.`,
      STATE_DICT_ADVICE,
    );
  },
  persistent: (id) => {
    const [kind, type, key, , length] = Array.isArray(id) ? (id as unknown[]) : [];
    const view = Array.isArray(id) ? (id as unknown[])[5] : undefined;
    if (kind !== 'storage' || !(type instanceof StorageType) || !isKey(key) || !isCount(length))
      throw new TorchFileError(
        `the pickle's persistent id got ${describe(id)}, expected ('storage', storage type, key, device, length).`,
      );
    if (view !== undefined && view !== null)
      throw new TorchFileError(
        'the file holds a storage that is a view of another, as torch 0.3 wrote.',
        'Save it again with a newer torch.',
      );
    return new TorchStorage(`${key}`, type.dtype, length);
  },
};

function rebuildTensor(args: readonly unknown[]): TorchTensor {
  const [storage, offset, shape, strides] = args;
  const dtype = args[6] instanceof Dtype ? args[6].name : storage instanceof TorchStorage ? storage.dtype : undefined;
  if (
    storage instanceof TorchStorage &&
    dtype &&
    isCount(offset) &&
    isCounts(shape) &&
    isCounts(strides) &&
    shape.length === strides.length
  )
    return new TorchTensor(storage, dtype, offset, shape, strides);
  throw new TorchFileError(
    `the pickle got a tensor of ${describe(args)}, expected (storage, offset, shape, strides of the same length).`,
  );
}

/** Of a parameter, the tensor. */
function rebuildParameter([tensor]: readonly unknown[]): unknown {
  if (tensor instanceof TorchTensor || tensor instanceof Placeholder) return tensor;
  throw new TorchFileError(`the pickle got a parameter of ${describe(tensor)}, expected a tensor.`);
}

/** Of a tensor with attributes, the tensor. */
function rebuildFromType([rebuild, , args]: readonly unknown[]): unknown {
  if (TENSORS.includes(rebuild as Known) && Array.isArray(args)) return (rebuild as Known).result(args);
  throw new TorchFileError(
    `the pickle got a tensor made by ${describe(rebuild)}, expected one of ${TENSORS.map(({ name }) => name).join(', ')}.`,
  );
}

function orderedDict([pairs = []]: readonly unknown[]): Map<unknown, unknown> {
  const isPair = (pair: unknown): pair is [unknown, unknown] => Array.isArray(pair) && pair.length === 2;
  if (Array.isArray(pairs) && pairs.every(isPair)) return new Map(pairs);
  throw new TorchFileError(`the pickle got an OrderedDict of ${describe(pairs)}, expected pairs.`);
}

function size([sizes = []]: readonly unknown[]): readonly number[] {
  if (isCounts(sizes)) return sizes;
  throw new TorchFileError(`the pickle got a torch.Size of ${describe(sizes)}, expected whole numbers.`);
}

const TENSORS = ['_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_tensor_v3'].map(
  (name) => new Known(`torch._utils.${name}`, rebuildTensor),
);
const KNOWN = [
  ...TENSORS,
  new Known('torch._utils._rebuild_parameter', rebuildParameter),
  new Known('torch._utils._rebuild_parameter_with_state', rebuildParameter),
  new Known('torch._tensor._rebuild_from_type_v2', rebuildFromType),
  new Known('collections.OrderedDict', orderedDict),
  new Known('torch.Size', size),
];

// Names of values that checkpoints hold beside their weights: bytes and sets, hyper-parameters, numpy's scalars, the
// keys of Lightning's callbacks.
const IGNORED = [
  '_codecs.encode',
  'argparse.Namespace',
  'collections.Counter',
  'numpy._core.multiarray.scalar',
  'numpy.core.multiarray.scalar',
  'numpy.dtype',
  'pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint',
  'torch.Tensor',
  'torch.device',
  'torch.nn.parameter.Parameter',
  ...['bytearray', 'complex', 'set'].flatMap((name) => [`builtins.${name}`, `__builtin__.${name}`]),
];

const STORAGES: Readonly<Record<string, string>> = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
  ComplexFloatStorage: 'C64',
};

const DTYPES: Readonly<Record<string, string>> = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  float64: 'F64',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  uint16: 'U16',
  uint32: 'U32',
  uint64: 'U64',
  bool: 'BOOL',
  complex64: 'C64',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
};

const GLOBALS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ...KNOWN.map((known) => [known.name, known] as const),
  ...IGNORED.map((name) => [name, new Placeholder(name)] as const),
  ...Object.entries(DTYPES).map(([name, dtype]) => [`torch.${name}`, new Dtype(dtype)] as const),
  ...Object.entries(STORAGES).flatMap(([name, dtype]) =>
    ['torch', 'torch.cuda'].map((module) => [`${module}.${name}`, new StorageType(dtype)] as const),
  ),
  ['torch.storage.UntypedStorage', new StorageType(undefined)],
]);

// More dimensions than torch allows.
const MAX_RANK = 64;

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= MAX_RANK && value.every(isCount);
const isKey = (value: unknown): value is string | number | bigint =>
  ['string', 'number', 'bigint'].includes(typeof value);

/** A value in a few words: it may be as deep or as long as the file. */
function describe(value: unknown): string {
  if (Array.isArray(value))
    return `(${value.slice(0, 6).map(describeItem).join(', ')}${value.length > 6 ? ', …' : ''})`;
  return describeItem(value);
}

function describeItem(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (typeof value === 'string') return `'${value.slice(0, 40)}'`;
  if (typeof value !== 'object') return `${value as number}`;
  if (value instanceof Known || value instanceof Placeholder) return value.name;
  if (Array.isArray(value)) return isCounts(value) ? `(${value.join(', ')})` : `a list of ${value.length}`;
  return `a ${value.constructor.name}`;
}
