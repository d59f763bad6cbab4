/** Stands in the place of a secret in everything that is written or printed. */
const MASK = '<secret>';

/** The environment variables that hold secrets. */
const variables = ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'ALIGNPROP_REWARD_TOKEN', 'TRACKIO_WRITE_TOKEN'] as const;

/** The keys of secrets, with any words before: `write_token`, `apiKey`, `--password`. */
const NAME = String.raw`(?:[\w-]*[_-])?(?:token|secret|passw(?:or)?d|api[_-]?key|access[_-]?key|authorization)`;
const secretKey = new RegExp(`^${NAME}$|(?:Token|Secret|Password|ApiKey)$`, 'i');
const assignment = new RegExp(String.raw`((?:^|[?&.\s'"])${NAME}=)[^&\s'"#]+`, 'gi');
const userInfo = /\b([a-z][a-z\d+.-]*:\/\/)[^\s/?#'"]+@/gi;

/**
 * Replaces secrets in a text, or in all texts of a JSON value: names and passwords in addresses, what is assigned to a
 * key such as `write_token` or `api_key`, and the tokens that environment variables hold or `rememberSecret` got.
 */
export function maskSecrets<T>(value: T): T {
  return mask(value) as T;
}

/** Whether a text, or any text of a JSON value, had a secret that `maskSecrets` replaced. */
export const isMasked = (value: unknown): boolean => (JSON.stringify(value) ?? '').includes(MASK);

/**
 * Takes name and password out of an address.
 * @returns the address without them, and the value of the header Authorization; undefined if it has none
 */
export function splitCredentials(address: string): { readonly address: string; readonly authorization?: string } {
  const [, scheme, credentials, rest] = /^([a-z]+:\/\/)([^/?#]*)@(.*)$/is.exec(address) ?? [];
  if (credentials === undefined) return { address };
  const bytes = new TextEncoder().encode(decoded(credentials.includes(':') ? credentials : `${credentials}:`));
  return { address: `${scheme}${rest}`, authorization: `Basic ${btoa(String.fromCharCode(...bytes))}` };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a password with a percent sign
  }
}

function mask(value: unknown): unknown {
  if (typeof value === 'string') return maskText(value);
  if (Array.isArray(value)) return value.map(mask);
  if (typeof value !== 'object' || value === null) return value;
  if (![Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null)) return value;
  const isSecret = (key: string, inner: unknown) => typeof inner === 'string' && inner !== '' && secretKey.test(key);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [maskText(key), isSecret(key, inner) ? MASK : mask(inner)]),
  );
}

/** Secrets that came from elsewhere than the environment's variables: files and options. */
const known = new Set<string>();

/** Lets `maskSecrets` replace a secret wherever it stands, such as the token that a server repeats in its error. */
export function rememberSecret(secret: string): void {
  if (secret.length >= SHORTEST) known.add(secret);
}

/** Characters of the shortest secret that is replaced by its value: a shorter one would be a part of words. */
const SHORTEST = 8;

function maskText(text: string): string {
  const hidden = text.replace(userInfo, `$1${MASK}@`).replace(assignment, `$1${MASK}`);
  const env = typeof process === 'undefined' ? {} : process.env;
  const tokens = variables.map((name) => env[name]?.trim() ?? '').filter((token) => token.length >= SHORTEST);
  return [...tokens, ...known].reduce((rest, token) => rest.replaceAll(token, MASK), hidden);
}
