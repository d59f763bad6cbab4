// The documentation site: npm run site builds it, npm run site:dev serves it while pages are edited. Its pages are the
// Markdown files of the repository that tools/site/pages.ts lists. SITE_BASE is the path under which it is published,
// by default `/`.
import { existsSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type MarkdownEnv, type MarkdownRenderer } from 'vitepress';
import { resolveLink, slug } from '../../tools/site/links.js';
import { apiIndex, isPage, sections, sitePath } from '../../tools/site/pages.js';
import { sourceAddress } from '../../tools/site/source-address.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const address = (source: string): string => `/${sitePath(source).replace(/(^|\/)index\.md$|\.md$/, '$1')}`;

/** The address of what a page links to: another page, or the file in the repository. */
function linkAddress(source: string, href: string): string {
  const link = resolveLink(root, source, href);
  if (!link) return href;
  const hash = link.anchor && `#${link.anchor}`;
  if (isPage(link.target)) return `${address(link.target)}${hash}`;
  if (!existsSync(join(root, link.target))) throw new Error(`${source}: the link ${href} leads nowhere.`);
  return `${sourceAddress}/${link.target}${hash}`;
}

/** The text that the search finds: whole pages, and of the API reference the names. */
function searchable(markdown: string, env: MarkdownEnv, md: Pick<MarkdownRenderer, 'render'>): string {
  const isApi = env.relativePath.startsWith(sitePath(dirname(apiIndex)));
  return md.render(isApi ? [...markdown.matchAll(/^#{1,3} .*$/gm)].join('\n\n') : markdown, env);
}

export default defineConfig({
  title: 'AlignProp',
  description: 'Fine-tune Stable Diffusion on what you want, in TypeScript.',
  base: process.env.SITE_BASE ?? '/',
  srcDir: '..',
  srcExclude: [
    ...['.changeset', '.github', 'out', '**/__fixtures__', 'packages/*/models'].map((folder) => `${folder}/**`),
    ...['*/*/CHANGELOG.md', 'fixtures/*/**', 'README.md', 'RELEASING.md', 'SECURITY.md'],
  ],
  rewrites(source) {
    if (!isPage(source)) throw new Error(`${source}: this page is in no section of tools/site/pages.ts.`);
    return sitePath(source);
  },
  cleanUrls: true,
  outDir: '.vitepress/dist',
  markdown: {
    anchor: { slugify: slug },
    config: (md) =>
      md.core.ruler.push('repository-links', ({ tokens, env }) => {
        const { realPath, path } = env as MarkdownEnv;
        const source = relative(root, realPath ?? path);
        for (const token of tokens.flatMap(({ children }) => children ?? []).filter(({ type }) => type === 'link_open'))
          token.attrSet('href', linkAddress(source, token.attrGet('href')!));
      }),
  },
  themeConfig: {
    outline: [2, 3],
    search: { provider: 'local', options: { _render: searchable } },
    nav: [
      { text: 'Ten minutes to a LoRA', link: '/ten-minutes' },
      { text: 'API', link: address(apiIndex) },
    ],
    sidebar: [...sections, { text: 'API reference', items: [{ text: 'All packages', source: apiIndex }] }].map(
      ({ text, items }) => ({ text, items: items.map((item) => ({ text: item.text, link: address(item.source) })) }),
    ),
    socialLinks: [{ icon: 'github', link: sourceAddress.replace(/\/blob\/main$/, '') }],
  },
});
