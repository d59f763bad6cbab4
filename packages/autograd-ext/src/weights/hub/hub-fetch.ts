import type { EnvHttpProxyAgent } from 'undici';

/** The latest dispatcher, and the settings of the environment that it was created for. */
let cached: { readonly key: string; readonly agent: EnvHttpProxyAgent } | undefined;

/**
 * Returns a `fetch` that goes through the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY name (also in lower case),
 * except for the hosts in NO_PROXY. Node's own `fetch` ignores these variables.
 * @throws if the proxy's address is not one of http or https
 */
export async function hubFetch(): Promise<(url: string, init: RequestInit) => Promise<Response>> {
  const proxies = proxySettings();
  if (!proxies.httpProxy && !proxies.httpsProxy) return fetch;
  const undici = await import('undici');
  const key = JSON.stringify(proxies);
  if (cached?.key !== key) cached = { key, agent: new undici.EnvHttpProxyAgent(proxies) };
  const { agent } = cached;
  const proxied = undici.fetch as unknown as (url: string, init: object) => Promise<Response>;
  return (url, init) => proxied(url, { ...init, dispatcher: agent });
}

/** The proxies of the environment. */
function proxySettings(): { httpProxy: string; httpsProxy: string; noProxy: string } {
  const all = variable('ALL_PROXY');
  return {
    httpProxy: checkAddress('HTTP_PROXY', variable('HTTP_PROXY') || all),
    httpsProxy: checkAddress('HTTPS_PROXY', variable('HTTPS_PROXY') || all),
    noProxy: variable('NO_PROXY'),
  };
}

/** Returns a variable's value. Names in lower case take precedence, as in curl. */
const variable = (name: string): string => process.env[name.toLowerCase()] || process.env[name] || '';

function checkAddress(name: string, value: string): string {
  const address = value === '' || value.includes('://') ? value : `http://${value}`;
  if (address === '' || (URL.canParse(address) && /^https?:/i.test(address))) return address;
  throw new Error(
    `hub: ${name} or ALL_PROXY got a proxy that is not one of http, expected an address like 'http://host:8080'. ` +
      'Correct it, or remove it from the environment.',
  );
}
