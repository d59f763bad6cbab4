import type * as huggingfaceHub from '@huggingface/hub';
import { checkOptions, optionNames } from '../../check-options.js';
import { excerpt } from '../../outside/excerpt.js';
import { parseJson } from '../../outside/json.js';
import { importOptional } from '../../optional-package.js';
import { HubRefusal, pageOf } from './hub-request.js';
import { hubSettings, type HubOptions, type HubSettings } from './hub-settings.js';
import { CommitFailure, pushFetch } from './push-request.js';
import { isTransient, Retries } from './retries.js';

/** Options of `pushToHub`. */
export interface PushOptions extends Pick<
  HubOptions,
  'token' | 'endpoint' | 'onWarning' | 'signal' | 'timeout' | 'retryDelay'
> {
  /** The branch to commit to, created if there is none of the name. By default `main`. */
  readonly revision?: string;
  /** Creates the repository as a private one. By default as the owner's settings say, which is public for most. */
  readonly private?: boolean;
  /** Opens a pull request in place of committing to the branch. */
  readonly createPr?: boolean;
  /** The title of the commit. */
  readonly commitMessage?: string;
}

const pushOptionNames = optionNames<PushOptions>({
  ...{ token: true, endpoint: true, onWarning: true, signal: true, timeout: true, retryDelay: true },
  ...{ revision: true, private: true, createPr: true, commitMessage: true },
});

/** The outcome of `pushToHub`. */
export interface Pushed {
  /** The id of the repository, with its owner. */
  readonly id: string;
  /** The page to look at: of the pull request, of the branch or of the repository. */
  readonly url: string;
  /** The commit. */
  readonly commit: string;
  /** Whether the repository was created. */
  readonly isNew: boolean;
}

/** Contents of files, or the paths of files on this machine, by their paths in the repository. */
export type PushedFiles = Readonly<Record<string, string | Uint8Array>>;

/**
 * Uploads files to a model repository of the Hugging Face hub in one commit. Creates the repository and the branch if
 * they do not exist. Needs the package @huggingface/hub; the environment supplies token and endpoint as for `hub`.
 * Requests that fail for a reason that may pass are repeated, and large files that have arrived are not sent again.
 * @param id `organisation/name`, or `name` for a repository of the token's owner
 * @param files strings are paths on this machine
 * @throws if the id is misspelt, there is no token or package, the hub refuses, or it does not answer; or if the
 *   repository is public and `private` is set
 */
export async function pushToHub(id: string, files: PushedFiles, options: PushOptions = {}): Promise<Pushed> {
  checkOptions('pushToHub', options, pushOptionNames);
  const target = await openTarget(id, options);
  const isNew = await target.createMissing();
  return { ...(await target.commit(files)), isNew };
}

/**
 * Checks, before long work, that files can be pushed after it: the spelling of the id, the package, the token and
 * whether it may write, and the visibility of a repository that exists. Changes nothing. A hub that does not answer is
 * a warning.
 * @returns the id with its owner; without it where the hub did not answer
 * @throws as `pushToHub`
 */
export async function checkPush(id: string, options: PushOptions = {}): Promise<string> {
  checkOptions('checkPush', options, pushOptionNames);
  try {
    const target = await openTarget(id, options);
    await target.checkToken();
    await target.find();
    return target.id;
  } catch (error) {
    if (!isTransient(error)) throw error;
    options.onWarning?.(`${(error as Error).message} Whether the push will work is not known.`);
    return id;
  }
}

/** The names of a model on the hub; an owner may stand before it. */
const NAME = /^(?!.*(?:--|\.\.))(?![-.])[\w.-]{1,96}(?<![-.])(?<!\.git)$/;

function checkId(id: string): void {
  const parts = id.split('/');
  if (parts.length <= 2 && parts.every((part) => NAME.test(part))) return;
  throw new Error(
    `hub: id got '${excerpt(id)}', expected 'organisation/name', or a name alone for a model of your own: ` +
      "letters, digits, '-', '_' and '.', not '--' or '..', without '-' or '.' at an end. Correct it.",
  );
}

/** @throws if the id is misspelt, or there is no token or package, or the token's owner cannot be asked for */
async function openTarget(id: string, { timeout, ...options }: PushOptions): Promise<PushTarget> {
  checkId(id);
  const settings = await hubSettings({ ...options, timeout });
  const { localFilesOnly, token, credentials, endpoint } = settings;
  if (localFilesOnly)
    throw new Error('hub: HF_HUB_OFFLINE got 1, expected 0 to push. Unset it, or push later from where it is online.');
  if (token === undefined && credentials === undefined)
    throw new Error(
      `hub: got no token for '${id}', expected one that may write. Make one at ${endpoint}/settings/tokens, ` +
        "then set HF_TOKEN to it, or run 'hf auth login'.",
    );
  const library = await importOptional('@huggingface/hub', loadHub).catch((cause: unknown) => {
    throw new Error(`hub: pushing needs a package: ${(cause as Error).message}.`, { cause });
  });
  const target = new PushTarget(id, library, settings, { ...options, timeout });
  await target.addOwner();
  return target;
}

type Library = typeof huggingfaceHub;

/** Bundlers accept a package that is missing if its import stands in a try block. */
async function loadHub() {
  try {
    return await import('@huggingface/hub');
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

/** A revision of a repository on the hub that may not exist yet. */
class PushTarget {
  #id: string;
  readonly #library: Library;
  readonly #settings: HubSettings;
  readonly #options: PushOptions;
  readonly #title: string;
  #known: ReturnType<Library['whoAmI']> | undefined;

  constructor(id: string, library: Library, settings: HubSettings, options: PushOptions) {
    this.#id = id;
    this.#library = library;
    this.#settings = settings;
    this.#options = options;
    this.#title = options.commitMessage ?? 'Upload files with alignprop';
  }

  get id(): string {
    return this.#id;
  }

  /** Puts the token's owner in front of a name that has none. */
  async addOwner(): Promise<void> {
    if (this.#id.includes('/')) return;
    const { name } = await this.#owner();
    this.#id = `${name}/${this.#id}`;
    checkId(this.#id);
  }

  /** The owner of the token, and what it may do; asked for once. */
  #owner(): ReturnType<Library['whoAmI']> {
    return (this.#known ??= this.#library.whoAmI(this.#access()));
  }

  /** @throws if the token may only read, or is not accepted */
  async checkToken(): Promise<void> {
    const { auth } = await this.#owner();
    if (auth?.accessToken?.role !== 'read') return;
    throw new Error(
      `hub: the token got the role 'read', expected one that may write to '${this.#id}'. ` +
        `Make another at ${this.#settings.endpoint}/settings/tokens.`,
    );
  }

  /** @returns whether the repository exists. @throws if it is public and `private` is set */
  async find(): Promise<boolean> {
    const info = await this.#get<{ private?: unknown }>('');
    if (info?.private === false && this.#options.private)
      throw new Error(
        `hub: private got true, but '${this.#id}' is public, expected a private or a new repository. ` +
          `Make it private at ${this.#page}/settings, or choose another id.`,
      );
    return info !== undefined;
  }

  /** Creates the repository and the branch where they do not exist. @returns whether it created the repository */
  async createMissing(): Promise<boolean> {
    const { revision } = this.#settings;
    const isNew = !(await this.find());
    if (isNew)
      await this.#library
        .createRepo({ ...this.#access(), visibility: this.#options.private ? 'private' : undefined })
        .catch(unless(409)); // another process was faster
    const needsBranch = revision !== 'main' && !revision.startsWith('refs/');
    if (needsBranch && (await this.#head()) === undefined)
      await this.#library.createBranch({ ...this.#access(), branch: revision }).catch(unless(409));
    return isNew;
  }

  /** Uploads files in one commit. */
  async commit(files: PushedFiles): Promise<Omit<Pushed, 'isNew'>> {
    const { pathToFileURL } = await import('node:url');
    const operations = Object.entries(files).map(([path, content]) => ({
      operation: 'addOrUpdate' as const,
      path,
      content: typeof content === 'string' ? pathToFileURL(content) : new Blob([content as Uint8Array<ArrayBuffer>]),
    }));
    const before = this.#options.createPr ? undefined : await this.#head();
    const retries = new Retries(this.#settings);
    for (;;) {
      try {
        const made = await this.#library.commit({
          ...{ ...this.#access(), title: this.#title, operations, branch: this.#settings.revision },
          isPullRequest: this.#options.createPr,
          abortSignal: this.#settings.signal,
          useXet: false, // uploads of whole files, which mirrors take too
        });
        return { id: this.#id, commit: made!.commit.oid, url: made!.pullRequestUrl ?? this.#url };
      } catch (error) {
        if (!(error instanceof CommitFailure)) throw error;
        await this.#beforeNextCommit(error.cause, retries);
        const landed = await this.#landed(before);
        if (landed !== undefined) return { id: this.#id, commit: landed, url: this.#url };
      }
    }
  }

  /** Waits after a failed commit. @throws its error if another may not succeed, or would open a second pull request */
  async #beforeNextCommit(error: unknown, retries: Retries): Promise<void> {
    const status = error instanceof HubRefusal ? error.status : undefined;
    if (this.#options.createPr && isTransient(error) && status !== 429)
      throw new Error(
        `${(error as Error).message} The pull request may have been opened: look at ${this.#page}/discussions ` +
          'before you push again.',
        { cause: error },
      );
    await retries.afterFailure(error, isTransient(error) || status === 409 || status === 412);
  }

  /** The commit that a request without an answer has made: the first one of the branch, under our title. */
  async #landed(before: string | undefined): Promise<string | undefined> {
    if (this.#options.createPr) return undefined;
    const head = await this.#head();
    if (head === undefined || head === before) return undefined;
    const commits = await this.#get<readonly { id?: unknown; title?: unknown }[]>(
      `/commits/${encodeURIComponent(this.#settings.revision)}`,
    );
    const [last] = Array.isArray(commits) ? (commits as readonly { id?: unknown; title?: unknown }[]) : [];
    return last?.id === head && last.title === this.#title ? head : undefined;
  }

  /** The last commit of the branch; undefined if there is no branch. */
  async #head(): Promise<string | undefined> {
    const info = await this.#get<{ sha?: unknown }>(`/revision/${encodeURIComponent(this.#settings.revision)}`);
    return typeof info?.sha === 'string' ? info.sha : undefined;
  }

  /** Asks the hub about the repository; undefined if it knows none. */
  async #get<T>(path: string): Promise<T | undefined> {
    const url = `${this.#settings.endpoint}/api/models/${this.#id}${path}`;
    try {
      const response = await this.#access().fetch(url);
      return parseJson(await response.text()) as T;
    } catch (error) {
      if (error instanceof HubRefusal && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Options that all calls of the library take. Its own check of tokens wants `hf_`, which mirrors' do not have. */
  #access() {
    const { endpoint: hubUrl } = this.#settings;
    const fetch = pushFetch(this.#settings, this.#id, this.#options.timeout);
    return { repo: { type: 'model' as const, name: this.#id }, hubUrl, fetch, accessToken: undefined as never };
  }

  get #page(): string {
    return pageOf(this.#id, this.#settings);
  }

  get #url(): string {
    const { revision } = this.#settings;
    return revision === 'main' ? this.#page : `${this.#page}/tree/${encodeURIComponent(revision)}`;
  }
}

/** Returns a handler that takes a refusal with this status for success. */
const unless =
  (status: number) =>
  (error: unknown): void => {
    if (!(error instanceof HubRefusal && error.status === status)) throw error;
  };
