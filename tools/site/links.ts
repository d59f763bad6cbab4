import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, posix } from 'node:path';

/** A link of a page that leads to a file or folder of the repository. */
export interface RepositoryLink {
  /** The file or folder, from the root of the repository. The file is the README of a folder that has one. */
  readonly target: string;
  /** The heading that it leads to, without `#`; `''` if there is none. */
  readonly anchor: string;
}

/**
 * Resolves a link as GitHub does.
 * @param source the page, from the root of the repository
 * @returns nothing for links to other places
 */
export function resolveLink(root: string, source: string, href: string): RepositoryLink | undefined {
  if (/^[a-z][a-z+.-]*:|^\/\//i.test(href)) return undefined;
  const [path = '', anchor = ''] = href.split('#');
  const file = path === '' ? source : posix.join(posix.dirname(source), decodeURI(path)).replace(/\/$/, '');
  const readme = posix.join(file, 'README.md');
  const isFolder = existsSync(join(root, file)) && statSync(join(root, file)).isDirectory();
  return { target: isFolder && existsSync(join(root, readme)) ? readme : file, anchor };
}

/** The anchor of a heading, as GitHub makes it of its text: `Caps, and more` is `caps-and-more`. */
export const slug = (heading: string): string =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}\p{Pc}\- ]/gu, '')
    .replaceAll(' ', '-');

/**
 * The links of pages that lead to no file, or to no heading of it.
 * @param pages from the root of the repository
 */
export function brokenLinks(root: string, pages: readonly string[]): readonly string[] {
  const found = new Map<string, ReadonlySet<string>>();
  const read = (file: string): string => readFileSync(join(root, file), 'utf8');
  const hasAnchor = ({ target, anchor }: RepositoryLink): boolean => {
    if (!found.has(target)) found.set(target, anchors(read(target)));
    return found.get(target)!.has(anchor);
  };
  return pages.flatMap((page) =>
    links(read(page)).flatMap((href) => {
      const link = resolveLink(root, page, href);
      const isFound = !link || (existsSync(join(root, link.target)) && (link.anchor === '' || hasAnchor(link)));
      return isFound ? [] : [`${page}: ${href}`];
    }),
  );
}

/** The anchors of a Markdown file: those that it names, and those of its headings, of which equal ones are numbered. */
function anchors(markdown: string): ReadonlySet<string> {
  const text = withoutBlocks(markdown);
  const counts = new Map<string, number>();
  const headings = [...text.matchAll(/^#{1,6} +(.*)$/gm)].map(([, heading]) => {
    const name = slug(plain(heading!));
    const count = counts.get(name) ?? 0;
    counts.set(name, count + 1);
    return count === 0 ? name : `${name}-${count}`;
  });
  const named = [...text.matchAll(/<a id="([^"]*)">/g)].map(([, name]) => name!);
  return new Set([...headings, ...named]);
}

/** The addresses of a Markdown file's links and pictures. */
const links = (markdown: string): string[] =>
  [
    ...withoutBlocks(markdown)
      .replace(/`[^`\n]*`/g, '')
      .matchAll(/\]\(([^)\s]+)\)/g),
  ].map(([, href]) => href!);

const withoutBlocks = (markdown: string): string => markdown.replace(/^ *```.*?^ *```$/gms, '');

/** The text of a heading without its marks. */
const plain = (heading: string): string => heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '');
