import { factsOf, limitsOf } from './facts.js';
import { html, type Html } from './html.js';
import { repetitionOf } from './repeat-command.js';
import type { ReportedRun } from './reported-run.js';
import { differencesOf, environmentOf, settingsOf, type Setting } from './settings.js';
import { warningsOf } from './warnings.js';

/** The numbers that a reader looks for first. */
export const factsSection = (runs: readonly ReportedRun[]): Html =>
  html`<h2>Summary</h2>
    ${settingsTable(runs, factsOf(runs), 'Facts')}`;

/** Things to know before trusting the curves; nothing where there is nothing to say. */
export function warningsSection(runs: readonly ReportedRun[]): Html {
  const warnings = runs.flatMap((run) => {
    const name = runs.length > 1 ? `${run.name}: ` : '';
    return warningsOf(run).map((text) => `${name}${text}`);
  });
  if (warnings.length === 0) return html``;
  return html`<h2>Warnings</h2>
    <ul class="warning">
      ${warnings.map((text) => html`<li>${text}</li>`)}
    </ul>`;
}

/** The making of the runs: commands to repeat them, differences, settings, environment, limits of their rewards. */
export function setupSection(runs: readonly ReportedRun[]): Html {
  return html`<h2>Setup</h2>
    ${runs.length > 1 ? differences(runs) : undefined}
    <h3>Run it again</h3>
    ${runs.map((run) => repetition(run, runs.length > 1))}
    ${folded('All settings', settingsTable(runs, settingsOf(runs), 'All settings'))}
    ${folded('Environment', settingsTable(runs, environmentOf(runs), 'Environment'))}
    <h3>What the reward cannot see</h3>
    <ul>
      ${limitsOf(runs).map(([name, limits]) => html`<li><code>${name}</code>: ${limits}</li>`)}
      <li>Whatever a reward does not see may have become worse: look at the pictures.</li>
    </ul>`;
}

function differences(runs: readonly ReportedRun[]): Html {
  const rows = differencesOf(runs);
  return html`<h3>Differences</h3>
    ${rows.length > 0 ? settingsTable(runs, rows, 'Differences') : html`<p>The runs have the same settings.</p>`}`;
}

function repetition(run: ReportedRun, isNamed: boolean): Html {
  const { command, remarks } = repetitionOf(run);
  return html`${isNamed ? html`<h4>${run.name}</h4>` : undefined}
    <pre tabindex="0"><code>${command}</code></pre>
    ${remarks.map((text) => html`<p>${text}</p>`)}`;
}

const folded = (title: string, content: Html): Html =>
  html`<details>
    <summary>${title}</summary>
    ${content}
  </details>`;

/** A table with a row for each setting and a column for each run, which scrolls where the screen is narrow. */
function settingsTable(runs: readonly ReportedRun[], settings: readonly Setting[], label: string): Html {
  const head = html`<thead>
    <tr>
      <td></td>
      ${runs.map(({ name }) => html`<th scope="col">${name}</th>`)}
    </tr>
  </thead>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${label}">
    <table>
      ${runs.length > 1 ? head : undefined}
      <tbody>
        ${settings.map(
          ({ name, values }) =>
            html`<tr>
              <th scope="row">${name}</th>
              ${values.map((value) => html`<td>${value}</td>`)}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
