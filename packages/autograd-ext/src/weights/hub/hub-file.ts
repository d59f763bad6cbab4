import { excerpt } from '../../outside/excerpt.js';
import { hubRequest, type HubTarget } from './hub-request.js';
import type { HubSettings } from './hub-settings.js';

/** The object of a request for a file. */
export type FileTarget = HubTarget & { readonly path: string };

/** A file as the hub describes it. */
export interface HubFile {
  readonly url: string;
  /** The sha256 (64 digits) of a large file, git's sha1 of any other; the name of the blob in the cache. */
  readonly etag: string;
  /** In bytes; undefined if the hub answers with a compressed file. */
  readonly size: number | undefined;
}

const REDIRECTS = 10;

/**
 * Asks the hub for the etag and size of a file. Follows the redirects of repositories that were renamed. Of a redirect
 * to a store of large files, reads the headers `x-linked-etag` and `x-linked-size` and does not follow it: the store
 * has other etags.
 * @throws if the hub refuses, or answers without an etag or a size
 */
export async function describeFile(url: string, settings: HubSettings, target: FileTarget): Promise<HubFile> {
  let location = url;
  for (let redirects = 0; redirects <= REDIRECTS; redirects++) {
    const { status, headers } = await hubRequest(location, settings, target, {
      method: 'HEAD',
      redirect: 'manual',
      signal: AbortSignal.timeout(settings.answerTimeout * 1000),
    });
    const next = headers.get('location');
    if (status >= 300 && next !== null && !headers.has('x-linked-etag')) {
      location = new URL(next, location).href;
      continue;
    }
    const etag = (headers.get('x-linked-etag') ?? headers.get('etag'))?.replace(/^W\//, '').replaceAll('"', '');
    const isCompressed = (headers.get('content-encoding') ?? 'identity') !== 'identity';
    const size = headers.get('x-linked-size') ?? (isCompressed ? null : headers.get('content-length'));
    const isSize = size === null ? isCompressed : Number.isSafeInteger(Number(size));
    if (etag && /^\w[\w.-]*$/.test(etag) && isSize)
      return { url, etag, size: size === null ? undefined : Number(size) };
    throw new Error(
      `hub: '${target.path}' of '${target.id}' got ETag ${excerpt(`${etag}`)} ` +
        `and length ${excerpt(`${size}`)}, expected both. ` +
        'Check that HF_ENDPOINT is a Hugging Face hub.',
    );
  }
  throw new Error(
    `hub: '${target.path}' of '${target.id}' got more than ${REDIRECTS} redirects, expected a file. ` +
      'Check that HF_ENDPOINT is a Hugging Face hub.',
  );
}
