import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A way to install the command. */
export interface Method {
  readonly name: string;
  /** The manager's package, pinned, under an alias. */
  readonly install: string;
  /** The command lines of its programs; `modules` is the folder that has the package. */
  programs(modules: string): Readonly<Record<string, string>>;
  /** Writes the files that the manager expects in the folder of a project. */
  prepare?(project: string, registry: string): void;
  /** The command that installs, which runs in the project. */
  readonly command: string;
  /** The words that run a program of an installed package. */
  readonly run: string;
  /** Whether the manager runs the install script of onnxruntime-node unasked, so that a variable has to stop it. */
  readonly runsScripts?: boolean;
}

const npm = (version: string, runsScripts: boolean): readonly Method[] => {
  const alias = `npm-${version}`;
  const programs = (modules: string) => ({
    npm: `node ${modules}/${alias}/bin/npm-cli.js`,
    npx: `node ${modules}/${alias}/bin/npx-cli.js`,
  });
  const shared = { install: `${alias}@npm:npm@${version}`, programs, runsScripts };
  return [
    { ...shared, name: `npm ${version}, in a folder`, command: 'npm install @alignprop/cli', run: 'npx --no-install' },
    { ...shared, name: `npm ${version}, global`, command: 'npm install --global @alignprop/cli', run: '' },
  ];
};

const berry = (linker: string): Method => ({
  name: `yarn 4.18.1, ${linker}`,
  install: 'yarn-4@npm:@yarnpkg/cli-dist@4.18.1',
  programs: (modules) => ({ yarn: `node ${modules}/yarn-4/bin/yarn.js` }),
  prepare(project, registry) {
    const settings = [
      `nodeLinker: ${linker}`,
      'enableTelemetry: false',
      'enableGlobalCache: true',
      "unsafeHttpWhitelist: ['127.0.0.1']",
      `npmScopes: { alignprop: { npmRegistryServer: '${registry}' } }`,
    ];
    writeFileSync(join(project, '.yarnrc.yml'), settings.join('\n'));
    writeFileSync(join(project, 'yarn.lock'), '');
  },
  command: 'yarn add @alignprop/cli',
  run: 'yarn run',
});

/** Package managers, the oldest with a name of its own to the newest. */
export const methods: readonly Method[] = [
  ...npm('11.19.1', true),
  ...npm('12.2.2', false),
  {
    name: 'yarn 1.22.22',
    install: 'yarn-1@npm:yarn@1.22.22',
    programs: (modules) => ({ yarn: `node ${modules}/yarn-1/bin/yarn.js` }),
    command: 'yarn add @alignprop/cli',
    run: 'yarn --silent run',
    runsScripts: true,
  },
  berry('node-modules'),
  berry('pnp'),
  {
    name: 'pnpm 12.21.0, in a folder',
    install: 'pnpm@12.21.0',
    programs: (modules) => ({ pnpm: `${modules}/pnpm/pnpm` }),
    command: 'pnpm add @alignprop/cli',
    run: 'pnpm exec',
  },
  {
    name: 'pnpm 12.21.0, global',
    install: 'pnpm@12.21.0',
    programs: (modules) => ({ pnpm: `${modules}/pnpm/pnpm` }),
    command: 'pnpm add --global @alignprop/cli',
    run: '',
  },
];
