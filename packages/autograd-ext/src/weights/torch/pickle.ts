// Parses Python's pickle format, protocols 2 to 5, to plain values. pickleparser (npm) is no alternative: it calls the
// resolved names, assigns keys of the file to objects by default, passes all items of a list as arguments of one call,
// pops undefined from an empty stack, and does not limit what a small file makes it build.
import { PickleReader } from './pickle-reader.js';
import { ADVICE, TorchFileError } from './torch-file-error.js';

/** The meaning of a pickle's names, calls and persistent ids. A method throws where the pickle may not have one. */
export interface PickleMeaning {
  /** Returns the value of a class or function. @param name its name with its module, `torch.FloatStorage` */
  global(name: string): unknown;
  /** Returns the result of a call, without calling anything. */
  call(callee: unknown, args: unknown): unknown;
  /** Returns the value of a persistent id. */
  persistent(id: unknown): unknown;
}

/** Takes the place of a Python value that is not needed. Ignores items and attributes that are set on it. */
export class Placeholder {
  constructor(readonly name: string) {}
}

// The maximal work of one pickle, in instructions. A tensor takes about 90, which allows 90 thousand tensors; a hostile
// file is stopped after a few seconds and a few hundred MB.
const MAX_WORK = 2 ** 23;
// The work of a container, in instructions: it takes more memory than other values.
const CONTAINER = 4;
const STOP = 0x2e;

/**
 * Parses one pickle to numbers, text, bytes, arrays (lists and tuples), Maps (dicts), Sets and the values that
 * `meaning` returns. Drops attributes (BUILD). The depth of the value is not limited, so that plain recursion over it
 * may overflow the stack.
 * @param start the position of the pickle in `bytes`
 * @returns the value and the position after the pickle
 * @throws TorchFileError if the pickle is invalid or too large, or `meaning` refuses; PickleCutOff if the bytes end
 *   before the pickle
 */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  meaning: PickleMeaning,
): { readonly value: unknown; readonly end: number } {
  const machine = new Machine(new PickleReader(bytes, start), meaning);
  for (;;) {
    const at = machine.reader.at;
    const code = machine.reader.uint(1);
    if (code === STOP) return { value: machine.pop(), end: machine.reader.at };
    const instruction = INSTRUCTIONS.get(code);
    if (!instruction)
      throw new TorchFileError(
        `the pickle got instruction 0x${code.toString(16)} at byte ${at - start}, expected one that torch.save writes.`,
      );
    machine.spend(1);
    instruction(machine);
  }
}

/** The state of the parser: a stack of values, marks in it, and the memo. */
class Machine {
  private readonly stack: unknown[] = [];
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, unknown>();
  private work = 0;

  constructor(
    readonly reader: PickleReader,
    readonly meaning: PickleMeaning,
  ) {}

  /** Counts work. @throws TorchFileError beyond the limit */
  spend(work: number): void {
    this.work += work;
    if (this.work > MAX_WORK)
      throw new TorchFileError(
        `the pickle got more than ${MAX_WORK} instructions, expected fewer.`,
        ADVICE.saveTensors,
      );
  }

  push(value: unknown): void {
    this.stack.push(value);
  }

  /** Pushes a list, dict, set or the result of a call. */
  pushContainer(value: unknown): void {
    this.spend(CONTAINER);
    this.push(value);
  }

  pushInteger(length: number): void {
    this.spend(length);
    this.push(this.reader.integer(length));
  }

  pop(): unknown {
    const value = this.top();
    this.stack.pop();
    return value;
  }

  top(): unknown {
    if (this.stack.length <= (this.marks.at(-1) ?? 0))
      throw new TorchFileError('the pickle got an empty stack, expected a value on it.');
    return this.stack.at(-1);
  }

  mark(): void {
    this.marks.push(this.stack.length);
  }

  /** Pops everything that was pushed since the last mark. */
  popMark(): unknown[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw new TorchFileError('the pickle got no mark, expected one that it had set.');
    return this.stack.splice(mark);
  }

  popMany(count: number): unknown[] {
    const values = Array.from({ length: count }, () => this.pop());
    return values.reverse();
  }

  /** Drops the last value, or the last mark if nothing was pushed since. */
  drop(): void {
    if (this.marks.length && this.stack.length === this.marks.at(-1)) this.marks.pop();
    else this.pop();
  }

  remember(index = this.memo.size): void {
    this.memo.set(index, this.top());
  }

  recall(index: number): void {
    if (!this.memo.has(index))
      throw new TorchFileError(`the pickle got memo entry ${index}, expected one that it had set.`);
    this.push(this.memo.get(index));
  }

  append(items: readonly unknown[]): void {
    const list = this.top();
    if (list instanceof Placeholder) return;
    if (!Array.isArray(list)) throw new TorchFileError('the pickle got another value, expected a list to append to.');
    for (const item of items) list.push(item);
  }

  add(items: readonly unknown[]): void {
    const set = this.top();
    if (set instanceof Placeholder) return;
    if (!(set instanceof Set)) throw new TorchFileError('the pickle got another value, expected a set to add to.');
    for (const item of items) set.add(item);
  }

  setItems(items: readonly unknown[]): void {
    const dict = this.top();
    if (dict instanceof Placeholder) return;
    if (!(dict instanceof Map) || items.length % 2)
      throw new TorchFileError('the pickle got another value, expected a dict and pairs to set in it.');
    for (let i = 0; i < items.length; i += 2) dict.set(items[i], items[i + 1]);
  }

  global(module: unknown, name: unknown): void {
    if (typeof module !== 'string' || typeof name !== 'string')
      throw new TorchFileError('the pickle got another value, expected text that names a class.');
    this.push(this.meaning.global(`${module}.${name}`));
  }

  call(callee: unknown, args: unknown): void {
    // The work of a call grows with its arguments, and a file may use the same long arguments again and again.
    if (Array.isArray(args)) {
      this.spend(args.length);
      this.spend(args.reduce((sum: number, arg) => sum + (Array.isArray(arg) ? arg.length : 0), 0));
    }
    this.pushContainer(this.meaning.call(callee, args));
  }

  extension(code: number): never {
    throw new TorchFileError(
      `the pickle got extension code ${code}, which stands for a class or function of another program, expected none.`,
      ADVICE.saveTensors,
    );
  }
}

const INSTRUCTIONS: ReadonlyMap<number, (m: Machine) => void> = new Map<number, (m: Machine) => void>([
  // Stream.
  [0x80, (m) => m.reader.protocol()], // PROTO
  [0x95, (m) => m.reader.skip(8)], // FRAME
  // Values.
  [0x4e, (m) => m.push(null)], // NONE
  [0x88, (m) => m.push(true)], // NEWTRUE
  [0x89, (m) => m.push(false)], // NEWFALSE
  [0x4b, (m) => m.push(m.reader.uint(1))], // BININT1
  [0x4d, (m) => m.push(m.reader.uint(2))], // BININT2
  [0x4a, (m) => m.push(m.reader.uint(4) | 0)], // BININT
  [0x8a, (m) => m.pushInteger(m.reader.uint(1))], // LONG1
  [0x8b, (m) => m.pushInteger(m.reader.uint(4))], // LONG4
  [0x47, (m) => m.push(m.reader.float())], // BINFLOAT
  [0x8c, (m) => m.push(m.reader.text(m.reader.uint(1)))], // SHORT_BINUNICODE
  [0x58, (m) => m.push(m.reader.text(m.reader.uint(4)))], // BINUNICODE
  [0x8d, (m) => m.push(m.reader.text(m.reader.uint(8)))], // BINUNICODE8
  [0x55, (m) => m.push(m.reader.text(m.reader.uint(1)))], // SHORT_BINSTRING, of Python 2
  [0x54, (m) => m.push(m.reader.text(m.reader.uint(4)))], // BINSTRING
  [0x53, (m) => m.push(m.reader.line())], // STRING
  [0x43, (m) => m.push(m.reader.bytes(m.reader.uint(1)))], // SHORT_BINBYTES
  [0x42, (m) => m.push(m.reader.bytes(m.reader.uint(4)))], // BINBYTES
  [0x8e, (m) => m.push(m.reader.bytes(m.reader.uint(8)))], // BINBYTES8
  [0x96, (m) => m.push(m.reader.bytes(m.reader.uint(8)))], // BYTEARRAY8
  // Containers.
  [0x28, (m) => m.mark()], // MARK
  [0x5d, (m) => m.pushContainer([])], // EMPTY_LIST
  [0x6c, (m) => m.pushContainer(m.popMark())], // LIST
  [0x61, (m) => m.append(m.popMany(1))], // APPEND
  [0x65, (m) => m.append(m.popMark())], // APPENDS
  [0x29, (m) => m.pushContainer([])], // EMPTY_TUPLE
  [0x85, (m) => m.pushContainer(m.popMany(1))], // TUPLE1
  [0x86, (m) => m.pushContainer(m.popMany(2))], // TUPLE2
  [0x87, (m) => m.pushContainer(m.popMany(3))], // TUPLE3
  [0x74, (m) => m.pushContainer(m.popMark())], // TUPLE
  [0x7d, (m) => m.pushContainer(new Map())], // EMPTY_DICT
  [0x73, (m) => m.setItems(m.popMany(2))], // SETITEM
  [0x75, (m) => m.setItems(m.popMark())], // SETITEMS
  [0x64, (m) => dict(m)], // DICT
  [0x8f, (m) => m.pushContainer(new Set())], // EMPTY_SET
  [0x90, (m) => m.add(m.popMark())], // ADDITEMS
  [0x91, (m) => m.pushContainer(new Set(m.popMark()))], // FROZENSET
  // Stack and memo.
  [0x30, (m) => m.drop()], // POP
  [0x31, (m) => void m.popMark()], // POP_MARK
  [0x32, (m) => m.push(m.top())], // DUP
  [0x71, (m) => m.remember(m.reader.uint(1))], // BINPUT
  [0x72, (m) => m.remember(m.reader.uint(4))], // LONG_BINPUT
  [0x94, (m) => m.remember()], // MEMOIZE
  [0x68, (m) => m.recall(m.reader.uint(1))], // BINGET
  [0x6a, (m) => m.recall(m.reader.uint(4))], // LONG_BINGET
  // Names and calls.
  [0x63, (m) => m.global(m.reader.line(), m.reader.line())], // GLOBAL
  [0x93, (m) => stackGlobal(m)], // STACK_GLOBAL
  [0x52, (m) => reduce(m)], // REDUCE
  [0x81, (m) => reduce(m)], // NEWOBJ
  [0x92, (m) => newObject(m)], // NEWOBJ_EX
  [0x6f, (m) => object(m)], // OBJ
  [0x69, (m) => instance(m)], // INST
  [0x62, (m) => void m.pop()], // BUILD: drops the attributes
  [0x51, (m) => m.push(m.meaning.persistent(m.pop()))], // BINPERSID
  [0x82, (m) => m.extension(m.reader.uint(1))], // EXT1
  [0x83, (m) => m.extension(m.reader.uint(2))], // EXT2
  [0x84, (m) => m.extension(m.reader.uint(4))], // EXT4
]);

function dict(m: Machine): void {
  const items = m.popMark();
  m.pushContainer(new Map());
  m.setItems(items);
}

function stackGlobal(m: Machine): void {
  const [module, name] = m.popMany(2);
  m.global(module, name);
}

function reduce(m: Machine): void {
  const [callee, args] = m.popMany(2);
  m.call(callee, args);
}

function newObject(m: Machine): void {
  const [callee, args] = m.popMany(3);
  m.call(callee, args);
}

function object(m: Machine): void {
  const [callee, ...args] = m.popMark();
  m.call(callee, args);
}

function instance(m: Machine): void {
  const args = m.popMark();
  m.global(m.reader.line(), m.reader.line());
  m.call(m.pop(), args);
}
