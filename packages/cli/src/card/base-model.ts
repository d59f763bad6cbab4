import { parse } from 'yaml';
import { basename } from 'node:path';
import { excerpt } from '@alignprop/autograd-ext/outside';
import {
  isWeightFile,
  readText,
  resolveSource,
  type FileSource,
  type HubAccess,
} from '@alignprop/autograd-ext/weights';
import type { RunManifest } from '@alignprop/trainer';
import { embeddedModel } from '../embedded-model.js';
import { pathExists } from '../path-exists.js';

/** A licence in the spelling of model cards. */
export interface License {
  readonly license: string;
  readonly license_name?: string;
  readonly license_link?: string;
}

/** The model that was trained. */
export interface BaseModel {
  /** The name for people: the id on the hub, or the name of the folder or file. */
  readonly name: string;
  /** The id on the hub; undefined for a model of this machine. */
  readonly id?: string;
  /** Undefined where its card names none, or has not been found. */
  readonly license?: License;
  readonly isEmbedded?: boolean;
}

/** Describes the model that a run's manifest names, with the licence in that model's card. */
export async function findBaseModel(
  { options, identity }: Pick<RunManifest, 'options' | 'identity'>,
  access: HubAccess = {},
): Promise<BaseModel> {
  if (!options) return { name: basename(identity?.model?.name ?? 'a model without a name') };
  const [model, revision] = [options.model ?? options.pretrainedModel, options.revision ?? options.pretrainedRevision];
  if (typeof model !== 'string')
    return { name: embeddedModel.name, isEmbedded: true, license: { license: embeddedModel.license } };
  const isLocal = pathExists(model);
  if (isLocal && isWeightFile(model)) return { name: basename(model) };
  let source: FileSource;
  try {
    source = await resolveSource(model, { ...access, revision: revision as string | undefined });
  } catch {
    return { name: basename(model) }; // a folder that has moved
  }
  const id = isLocal ? undefined : source.location.replace(/@.*$/, '');
  const license = await licenseIn(source, id);
  return { name: id ?? basename(model), ...(id !== undefined && { id }), ...(license && { license }) };
}

/** The licence that a model's card names. A card that is missing or cannot be read names none. */
async function licenseIn(source: FileSource, id: string | undefined): Promise<License | undefined> {
  let fields: Readonly<Record<string, unknown>> | null;
  try {
    const [, front = ''] = /^\uFEFF?---\r?\n(.*?)\r?\n---/s.exec(await readText(source, 'README.md')) ?? [];
    fields = parse(front) as typeof fields;
  } catch {
    return undefined; // no reason to fail a run
  }
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? excerpt(value, 200) : undefined);
  const [license, name, link] = [text(fields?.license), text(fields?.license_name), text(fields?.license_link)];
  if (license === undefined) return undefined;
  const address =
    link === undefined || /^https?:/.test(link) ? link : id && `https://huggingface.co/${id}/blob/main/${link}`;
  return { license, ...(name && { license_name: name }), ...(address && { license_link: address }) };
}
