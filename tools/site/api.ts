// Writes the API reference, a page for each entry of each package, from the doc comments: docs/api/, which git ignores.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, Converter, type Context, type ParameterReflection } from 'typedoc';
import { brokenLinks } from './links.js';
import { apiIndex } from './pages.js';
import { sourceAddress } from './source-address.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Options of typedoc-plugin-markdown, which typedoc's own type does not have. */
const markdownOptions: object = {
  outputFileStrategy: 'modules',
  entryFileName: 'index',
  hideBreadcrumbs: true,
  hidePageHeader: true,
  sanitizeComments: true,
  useHTMLAnchors: true, // its anchors of members are not those of their headings
};

interface PackageJson {
  readonly name: string;
  readonly exports: Readonly<Record<string, { readonly '@alignprop/source'?: string }>>;
}

/** The source file of each entry of the libraries, and the name that programs import it by. */
const entries = new Map(
  readdirSync(join(root, 'packages'))
    .filter((name) => name !== 'cli')
    .flatMap((name) => {
      const { name: scope, exports } = JSON.parse(
        readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'),
      ) as PackageJson;
      return Object.entries(exports).flatMap(([entry, { '@alignprop/source': source }]) =>
        source === undefined ? [] : [[join('packages', name, source), `${scope}${entry.slice(1)}`] as const],
      );
    }),
);

const app = await Application.bootstrapWithPlugins({
  plugin: ['typedoc-plugin-markdown'],
  entryPoints: [...entries.keys()].map((file) => join(root, file)),
  tsconfig: join(root, 'tsconfig.json'),
  displayBasePath: root,
  readme: 'none',
  name: 'API reference',
  logLevel: 'Warn',
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  disableGit: true,
  sourceLinkTemplate: `${sourceAddress}/{path}#L{line}`,
  skipErrorChecking: true, // npm run typecheck reports them
  validation: { invalidLink: true, notExported: false },
  treatWarningsAsErrors: true,
  outputs: [{ name: 'markdown', path: dirname(join(root, apiIndex)) }],
  ...markdownOptions,
});
app.converter.on(Converter.EVENT_CREATE_PARAMETER, nameParameter);
const project = await app.convert();
if (!project) throw new Error('api: the doc comments could not be read.');
for (const entry of project.children ?? []) entry.name = entries.get(relative(root, entry.sources![0]!.fullFileName))!;
await app.generateOutputs(project);
app.validate(project);
const pages = readdirSync(dirname(join(root, apiIndex)), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.md'))
  .map((file) => join(dirname(apiIndex), file));
const broken = brokenLinks(root, pages);
for (const link of broken) console.error(`api: the link ${link} leads nowhere.`);
process.exitCode = broken.length > 0 || app.logger.hasWarnings() || app.logger.hasErrors() ? 1 : 0;

/** Names the parameters that the source takes apart as its comments do: `@param options.quality`. */
function nameParameter(_: Context, parameter: ParameterReflection): void {
  if (parameter.name === '__namedParameters') parameter.name = 'options';
}
