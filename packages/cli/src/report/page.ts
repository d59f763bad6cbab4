import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { programVersion } from '../version.js';
import { reportFile } from '../report-files.js';
import { html, Html, jsonForScript } from './html.js';
import type { ReportContent } from './content.js';

/** The way a page stays up to date: it asks for changes since a version of it. */
export interface LiveContent {
  readonly version: string;
}

/**
 * Writes a page that needs no other file: charts by uPlot, pictures as the content has them.
 * @param live for a page that is served while a run goes on; it asks its server for newer content
 */
export async function reportPage(content: ReportContent, live?: LiveContent): Promise<string> {
  const [license, library, libraryStyle] = await texts(
    ['LICENSE', 'dist/uPlot.iife.min.js', 'dist/uPlot.min.css'].map((name) => uPlot.resolve(`uplot/${name}`)),
  );
  const [program, programStyle] = await texts(['report.js', 'report.css'].map(reportFile));
  const scripts = [`/* uPlot\n${license!}*/\n${library!}`, program!].map(scriptOf);
  const style = `${libraryStyle!}\n${programStyle!}`;
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.map(({ hash }) => `'sha256-${hash}'`).join(' ')}`,
    "style-src 'unsafe-inline'",
    ...(live ? ["img-src data: 'self'", "connect-src 'self'"] : ['img-src data:']),
    "base-uri 'none'; form-action 'none'",
  ];
  const { title, sections, ...data } = content;
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta http-equiv="Content-Security-Policy" content="${policy.join('; ')}" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <link rel="icon" href="data:," />
        <title>${title}</title>
        <style>
          ${new Html(style)}
        </style>
      </head>
      <body>
        <header>
          <h1>${title}</h1>
          <p id="live">Written by alignprop ${programVersion()} on ${new Date().toUTCString()}.</p>
        </header>
        <noscript><p class="warning">Curves and pictures need JavaScript.</p></noscript>
        ${frame(sections)}
        <script id="content" type="application/json">
          ${jsonForScript({ ...data, ...(live && { live, sections }) })}
        </script>
        ${scripts.map(({ element }) => element)}
      </body>
    </html> `;
  return page.text;
}

/** Finds the files of uPlot, which draws the charts: MIT licence, 51 kB. */
const uPlot = createRequire(import.meta.url);

const texts = (paths: readonly string[]): Promise<readonly string[]> =>
  Promise.all(paths.map((path) => readFile(path, 'utf8')));

/** The places of all that the page shows; its program draws the curves and the pictures. */
const frame = (sections: ReportContent['sections']): Html =>
  html`<main>
    <section id="facts">${new Html(sections.facts)}</section>
    <section id="warnings">${new Html(sections.warnings)}</section>
    <section id="curves" aria-labelledby="curves-title">
      <h2 id="curves-title">Curves</h2>
      <div class="controls">
        <div id="runs" class="runs"></div>
        <label>
          Average over <output id="window"></output>
          <input id="smoothing" type="range" min="0" max="6" value="0" />
        </label>
      </div>
      <p class="hint">
        Drag to enlarge a part, double-click for all of it. With the keyboard: Tab to a chart, then ← and →.
      </p>
      <div id="main-charts" class="charts"></div>
      <details id="more">
        <summary>More curves</summary>
        <div id="more-charts" class="charts"></div>
      </details>
    </section>
    <section id="pictures"></section>
    <section id="setup">${new Html(sections.setup)}</section>
  </main>`;

/** A script, and the hash by which the page's policy allows it and no other. */
const scriptOf = (text: string): { readonly element: Html; readonly hash: string } => ({
  element: new Html(`<script>${text}</script>`),
  hash: createHash('sha256').update(text).digest('base64'),
});
