import { sumOf } from './onnxruntime/graph/graph.js';
import { ResidualMemory } from './onnxruntime/runtime/residual-memory.js';

/**
 * Bytes of a process without weights and activations: Node, tfjs, ONNX Runtime, compiled graphs, freed memory that
 * malloc does not return, and an adapter with its optimizer. Measured with the shapes of Stable Diffusion 1.5: they
 * were 1.1 GB at most.
 */
export const processBytes = 1.2e9;

/** Bytes of weights from which on ending the sessions of a function frees more than starting them again costs. */
const worthEnding = 2 ** 26;

/** A compiled function, as far as its memory is concerned. */
export interface MemoryUser {
  /** Bytes of the frozen weights that its sessions hold. */
  readonly weights: ReadonlyMap<object, number>;
  /** Bytes of a run at its peak, without the weights and the activations that it saves for backward. */
  readonly activationBytes: number;
}

/** The memory of a process, divided between the compiled functions of an engine. */
export class MemoryBudget<User extends MemoryUser> {
  /** The activations that functions save until their gradient is asked for. */
  readonly residuals = new ResidualMemory();
  /** The functions that have sessions. */
  readonly #active = new Set<User>();
  /** The limit for the whole process, in bytes; undefined until it is known. */
  maxMemory: number | undefined;

  /** @param maxMemory the limit for the whole process, in bytes */
  constructor(maxMemory?: number) {
    this.maxMemory = maxMemory;
  }

  /**
   * Bytes for a run of a function with its gradient: what its weights and the activations saved now leave free, and at
   * least half of what its weights leave, since saved activations can be given up.
   */
  running(weights: MemoryUser['weights']): number {
    const beside = this.maxMemory! - processBytes - sumOf(weights.values());
    return Math.max(beside - this.residuals.bytesInUse, beside / 2);
  }

  /** Whether a function can run and save activations without giving up those of others. */
  canSave(user: User, bytes: number): boolean {
    const others = processBytes + sizeOf(user) + this.residuals.bytesInUse;
    return others + bytes + user.activationBytes <= this.maxMemory!;
  }

  /**
   * Makes room for a run, as far as it is short: frees memory of saved activations that is not in use, chooses the
   * functions whose sessions have to end, those with the largest weights first, and then gives up saved activations,
   * the oldest first, since computing them again takes longest. The caller ends the sessions.
   * @param user the function that will run
   * @param saved bytes of the activations that it will save in new memory
   * @param isBusy tells whether a function runs now
   */
  makeRoom(user: User, saved: number, isBusy: (other: User) => boolean): readonly User[] {
    this.#active.add(user);
    const isShort = () => this.#needed(user, saved) > (this.maxMemory ?? Infinity);
    if (!isShort()) return [];
    this.residuals.freeSpareBut(user);
    const isApart = (other: User) => ![...other.weights.keys()].some((leaf) => user.weights.has(leaf));
    const others = [...this.#active]
      .filter((other) => sizeOf(other) >= worthEnding && isApart(other) && !isBusy(other))
      .sort((a, b) => sizeOf(a) - sizeOf(b));
    const ended: User[] = [];
    while (others.length > 0 && isShort()) {
      ended.push(others.pop()!);
      this.end(ended.at(-1)!);
    }
    while (isShort() && this.residuals.giveUpOldest());
    return ended;
  }

  /** Counts the sessions of a function out. */
  end(user: User): void {
    this.#active.delete(user);
    this.residuals.freeSpare(user);
  }

  /** Bytes of the process while a function runs. */
  #needed({ activationBytes }: User, saved: number): number {
    const weights = new Map([...this.#active].flatMap((active) => [...active.weights]));
    return processBytes + sumOf(weights.values()) + this.residuals.bytes + saved + activationBytes;
  }
}

const sizeOf = ({ weights }: MemoryUser): number => sumOf(weights.values());
