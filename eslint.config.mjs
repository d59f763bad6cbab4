// One flat config for the workspace. Every boundary rule below has a snippet that must fail in
// tools/boundaries.test.ts.
import js from '@eslint/js';
import nx from '@nx/eslint-plugin';
import { createNodeResolver, importX } from 'eslint-plugin-import-x';
import * as jsonc from 'jsonc-eslint-parser';
import tseslint from 'typescript-eslint';

const libraries = ['autograd-ext', 'diffusion', 'lora', 'rewards', 'trainer'];
const librarySources = libraries.map((name) => `packages/${name}/src/**/*.ts`);
const sources = [...librarySources, 'packages/cli/src/**/*.ts'];
const tests = ['**/*.test.ts', '**/__fixtures__/**', 'fixtures/**'];

/**
 * The only library files that may reach for Node, and only by a dynamic import inside a function: bundles for browsers
 * stay possible.
 */
const nodeSeams = [
  'packages/autograd-ext/src/{backend,optional-package,tensorflow}.ts',
  'packages/autograd-ext/src/engine/onnxruntime/runtime/{node-runtime,onnx-runtime,process-runtime}.ts',
  'packages/autograd-ext/src/engine/onnxruntime/runtime/{session-process,temporary-folder}.ts',
  'packages/autograd-ext/src/engine/onnxruntime/runtime/{thread-count,weight-files}.ts',
  'packages/autograd-ext/src/weights/**/*.ts',
  'packages/trainer/src/collective/launcher.ts',
  'packages/trainer/src/run/{check*,earlier-run,folder,join-ranks,lock,manifest,published-files,run-start}.ts',
  'packages/trainer/src/trackers/**/*.ts',
];

/**
 * The rooms of each package from the lowest to the highest: a file imports from its own room and those before it, never
 * from a later one. Rooms of one line are equals, and do not import each other. `x/*` are the files of a folder without
 * its subfolders.
 */
const rooms = {
  'autograd-ext': [
    ['outside', 'if-present.ts'],
    ['params.ts', 'precision.ts', 'dispose-tensors.ts', 'optional-package.ts', 'check-options.ts'],
    ['random.ts', 'frozen.ts', 'define-op.ts'],
    ['weights/files', 'weights/dtypes'],
    ['weights/safetensors', 'weights/torch', 'weights/hub'],
    ['weights/*'],
    ['kernels/simd', 'kernels/geometry'],
    ['kernels/registry'],
    ['kernels/fused', 'kernels/gradients'],
    ['kernels/backends'],
    ['kernels/*'],
    ['wasm-binary.ts'],
    ['register-gradients.ts', 'tensorflow.ts', 'wasm-backend.ts'],
    ['backend.ts', 'ops'],
    ['vjp.ts', 'differentiable.ts'],
    ['checkpoint.ts'],
    ['engine/engine.ts'],
    ['engine/onnxruntime/graph'],
    ['engine/onnxruntime/recorder'],
    ['engine/onnxruntime/emit'],
    ['engine/onnxruntime/substitutes'],
    ['engine/onnxruntime/recording'],
    ['engine/onnxruntime/passes'],
    ['engine/onnxruntime/runtime'],
    ['engine/onnxruntime/options.ts'],
    ['engine/onnxruntime/engine.ts', 'engine/tfjs.ts'],
    ['engine/create-engine.ts'],
    ['testing'],
  ],
  diffusion: [['models'], ['clip'], ['image', 'schedulers'], ['single-file'], ['pipelines']],
  lora: [
    ['lora-layer.ts', 'modules.ts'],
    ['layouts', 'kinds'],
    ['reading'],
    ['add-lora.ts', 'fuse-lora.ts'],
    ['adapters.ts', 'apply-lora.ts', 'load-lora.ts', 'mix-lora.ts'],
    ['encode-lora.ts'],
    ['save-lora.ts', 'lora-pipeline.ts'],
  ],
  rewards: [
    ['returned-scores.ts'],
    ['reward.ts', 'rgb-image.ts'],
    ['jpeg', 'clip', 'combinators', 'graph-model', 'object-detection'],
    ['image-reward'], // BLIP reads the pixels that CLIP reads
    ['reward-scorer.ts'],
    ['score-images.ts', 'interface.ts'],
    ['testing'],
  ],
  trainer: [
    ['logger.ts', 'optim', 'estimators', 'trackers'],
    ['config'],
    ['collective', 'model'],
    ['gradient'],
    ['data'],
    ['step'],
    ['evaluation'],
    ['run'],
    ['ddpo', 'trainer.ts'],
    ['trainable-dora.ts'],
  ],
  cli: [
    ['embedded-model.ts', 'path-exists.ts', 'report-files.ts', 'run-records.ts', 'version.ts', 'terminal'],
    ['images', 'tensorflow'],
    ['options'],
    ['card', 'doctor'],
    ['report'],
    ['commands'],
    ['program.ts'],
    ['main.ts'],
  ],
};

/** A room as the glob that import-x/no-restricted-paths takes; it mixes no globs with paths. */
const files = (name, room) =>
  `./packages/${name}/src/${/\.ts$/.test(room) ? `${room}*` : /\*$/.test(room) ? room : `${room}/**/*`}`;

/** Forbids each room the imports of every later room and of its equals. */
const upwards = Object.entries(rooms)
  .flatMap(([name, order]) =>
    order.flatMap((equals, i) =>
      equals.map((room) => ({
        target: files(name, room),
        from: [...equals.filter((other) => other !== room), ...order.slice(i + 1).flat()].map((other) =>
          files(name, other),
        ),
        message: 'Rooms import downwards only (rooms in eslint.config.mjs).',
      })),
    ),
  )
  .filter(({ from }) => from.length > 0);

const tfjs = [
  {
    group: ['@tensorflow/tfjs', '@tensorflow/tfjs/*', '@tensorflow/tfjs-core/dist/*'],
    message: "Import '@tensorflow/tfjs-core' only: any other entry is a second copy of the library.",
  },
  {
    group: ['@alignprop/*/src', '@alignprop/*/src/*', '@alignprop/*/dist/*'],
    message: "Import the package's public entries.",
  },
];
const node = {
  group: ['node:*'],
  message: 'Import node:* inside the function that needs it, in a seam file (nodeSeams in eslint.config.mjs).',
  allowTypeImports: true,
};
const fixtures = { regex: '/fixtures/', message: 'Fixtures are for tests.' };
const clipOnly = {
  regex: '^@alignprop/diffusion(?!/clip$)',
  message: "Rewards see the diffusion package through '@alignprop/diffusion/clip' only.",
};
const rewardInterface = {
  regex: '^@alignprop/rewards(?!/interface$)',
  message: "The trainer knows rewards as types and by '@alignprop/rewards/interface': users hand the function in.",
  allowTypeImports: true,
};

/** One rule has one set of options per file, so each scope names all of its patterns. */
const restrictImports = (...patterns) => ({ '@typescript-eslint/no-restricted-imports': ['error', { patterns }] });

/** Objects from outside, and tables that are searched by names from outside, have no prototype. */
const outside = 'packages/autograd-ext/src/outside/**';
const ownKeys = [
  {
    selector: "BinaryExpression[operator='in'][left.type!='Literal'][left.type!='PrivateIdentifier']",
    message: "'constructor' is in every object: use Object.hasOwn.",
  },
  {
    selector:
      "VariableDeclarator[init.type='ObjectExpression'][init.properties.length=0]" +
      "[id.typeAnnotation.typeAnnotation.typeName.name='Record']",
    message: "Start with record(): a plain object takes the key '__proto__' for its prototype.",
  },
  {
    selector:
      "VariableDeclarator[init.type='ObjectExpression'][id.typeAnnotation.typeAnnotation.typeName.name='Readonly']" +
      "[id.typeAnnotation.typeAnnotation.typeArguments.params.0.typeName.name='Record']" +
      "[id.typeAnnotation.typeAnnotation.typeArguments.params.0.typeArguments.params.0.type='TSStringKeyword']",
    message: "Write table({ … }): a plain object also has 'constructor' and 'toString'.",
  },
];
const nodeImports = { selector: 'ImportExpression[source.value=/^node:/]', message: node.message };

const scopes = {
  'autograd-ext': [],
  diffusion: ['autograd-ext'],
  lora: ['autograd-ext'],
  rewards: ['autograd-ext', 'diffusion'],
  trainer: ['autograd-ext', 'diffusion', 'lora', 'rewards'],
  cli: ['autograd-ext', 'diffusion', 'lora', 'rewards', 'trainer'],
  tools: ['*'],
};
const scopeTag = (name) => (name === '*' ? '*' : `scope:${name}`);

const reading = '/^(access|l?stat|open|opendir|readFile|readdir|readlink|realpath)(Sync)?$/';
const onlyAbsent =
  'Only ENOENT means absent: use `ifPresent` (or `pathExists` in the command), which throws other errors.';
/** Code that takes every error of the file system for a file that does not exist. */
const absences = [
  'ImportSpecifier[imported.name="existsSync"], Property[key.name="existsSync"]',
  `CallExpression[callee.property.name="catch"][callee.object.callee.name=${reading}] > [params.length=0]`,
  `CallExpression[callee.property.name="then"][callee.object.callee.name=${reading}] > [params.length=0]:nth-child(2)`,
  `TryStatement:has(CallExpression[callee.name=${reading}]) > CatchClause[param=null]`,
  'CallExpression[callee.property.name="catch"] > ArrowFunctionExpression[params.length=0]' +
    '[body.type=/^(Identifier|Literal|TemplateLiteral|ArrayExpression|ObjectExpression)$/]',
].map((selector) => ({ selector, message: onlyAbsent }));

export default tseslint.config(
  {
    ignores: [
      '**/dist/**',
      '**/dist-ts/**',
      '**/node_modules/**',
      '.nx/**',
      '**/*.md',
      'packages/autograd-ext/assembly/*.ts', // AssemblyScript
      'packages/cli/models/**',
      'docs/.vitepress/cache/**',
      'docs/api/**',
      '**/tsup.config.bundled_*',
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,

  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    plugins: { '@nx': nx, 'import-x': importX },
    settings: {
      'import-x/resolver-next': [
        createNodeResolver({
          extensions: ['.ts', '.js', '.json'],
          extensionAlias: { '.js': ['.ts', '.js'] },
          conditionNames: ['@alignprop/source', 'node', 'import', 'default'],
        }),
      ],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
    },
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          // fixtures are for tests only, see below; the embedded model is no API, and benchmarks train it; the settings
          // of the example page are compared with Node's, and the cases of kernels with a browser's
          allow: [
            '^(\\.\\./)+fixtures/[a-z-]+\\.js$',
            '^(\\.\\./)+packages/cli/src/embedded-model\\.js$',
            '^(\\.\\./)+examples/browser/settings\\.js$',
            '^(\\.\\./)+packages/autograd-ext/src/engine/onnxruntime/__fixtures__/kernel-results\\.js$',
          ],
          banTransitiveDependencies: false,
          enforceBuildableLibDependency: false,
          depConstraints: Object.entries(scopes).map(([name, may]) => ({
            sourceTag: scopeTag(name),
            onlyDependOnLibsWithTags: may.map(scopeTag),
          })),
        },
      ],
      'import-x/no-cycle': ['error', { ignoreExternal: true }],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off', // array reads in numeric code under noUncheckedIndexedAccess
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true, allowArray: true, allowNullish: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off', // checks at the boundary doubt the types on purpose
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/no-unnecessary-type-assertion': 'off', // it takes tfjs's rank type arguments for inference
      '@typescript-eslint/no-misused-spread': 'off', // strings that are spread are ASCII here, classes never are
      '@typescript-eslint/unbound-method': 'off', // functions are taken out of options objects by destructuring
      // a tfjs backend is looked up by name and then taken for what it is
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      eqeqeq: 'error',
      'prefer-const': 'error',
      'no-console': 'error',
    },
  },

  {
    files: ['examples/browser/*.ts'], // with the types of browsers
    languageOptions: { parserOptions: { project: './examples/browser/tsconfig.json' } },
  },

  {
    files: sources,
    ignores: [...tests, 'packages/diffusion/src/single-file/packed-merges.ts'], // generated
    rules: {
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: sources,
    ignores: tests,
    rules: { 'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones: upwards }] },
  },
  { files: ['**/*.ts', '**/*.mjs'], rules: { 'max-len': ['error', { code: 120, ignoreUrls: true }] } },
  {
    files: ['packages/cli/src/**/*.ts', 'tools/**/*.ts', 'examples/*.ts'],
    rules: { 'no-console': 'off', ...restrictImports(...tfjs) },
  },
  { files: ['packages/cli/src/**/*.ts'], ignores: tests, rules: restrictImports(...tfjs, fixtures) },
  { files: librarySources, ignores: tests, rules: restrictImports(...tfjs, fixtures, node) },
  {
    files: ['packages/rewards/src/**/*.ts'],
    ignores: tests,
    rules: restrictImports(...tfjs, fixtures, node, clipOnly),
  },
  {
    files: ['packages/trainer/src/**/*.ts'],
    ignores: tests,
    rules: restrictImports(...tfjs, fixtures, node, rewardInterface),
  },
  {
    files: ['packages/autograd-ext/src/register-gradients.ts'],
    rules: { '@typescript-eslint/no-restricted-imports': 'off' },
  }, // the one exception; see the file
  {
    files: sources,
    ignores: [...tests, outside],
    rules: {
      'no-restricted-syntax': ['error', ...ownKeys, ...absences],
      'no-restricted-properties': [
        'error',
        { object: 'JSON', property: 'parse', message: "Use parseJson of '@alignprop/autograd-ext/outside'." },
      ],
    },
  },
  {
    files: librarySources,
    ignores: [...tests, ...nodeSeams, outside],
    rules: { 'no-restricted-syntax': ['error', ...ownKeys, ...absences, nodeImports] },
  },

  {
    files: ['packages/*/src/**/*.test.ts'],
    rules: restrictImports(...tfjs),
  },
  {
    files: [...tests, 'tools/**/*.ts', '*.config.ts', '*.base.ts', '**/tsup.config.ts'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-dynamic-delete': 'off',
    },
  },
  // read by tsup, not part of the package
  { files: ['packages/*/tsup.config.ts'], rules: { '@nx/enforce-module-boundaries': 'off' } },
  {
    files: ['packages/cli/page/*.js'],
    languageOptions: {
      sourceType: 'script',
      globals: Object.fromEntries(
        ['document', 'fetch', 'getComputedStyle', 'matchMedia', 'ResizeObserver', 'setTimeout', 'uPlot'].map((name) => [
          name,
          'readonly',
        ]),
      ),
    },
    rules: { 'max-len': ['error', { code: 120 }], 'max-lines': ['error', 400] },
  },
  // run as it is in a process of its own, also from the sources
  {
    files: ['packages/*/src/**/*.js'],
    languageOptions: { globals: { process: 'readonly', setImmediate: 'readonly' } },
    rules: { 'max-len': ['error', { code: 120 }] },
  },
  { files: ['**/*.mjs'], languageOptions: { globals: { process: 'readonly', URL: 'readonly', console: 'readonly' } } },

  {
    files: ['packages/*/package.json'],
    languageOptions: { parser: jsonc },
    plugins: { '@nx': nx },
    rules: {
      '@nx/dependency-checks': [
        'error',
        {
          ignoredFiles: [
            '{projectRoot}/tsup.config.ts',
            '{projectRoot}/assembly/*',
            '{projectRoot}/src/**/*.test.ts',
            '{projectRoot}/src/**/__fixtures__/**',
          ],
          // diffusion loads sharp by a name that bundlers do not follow; the command reads uplot's files
          ignoredDependencies: ['sharp', 'uplot'],
        },
      ],
    },
  },
);
