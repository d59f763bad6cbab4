import type { SheetImage } from '../images/sheet.js';
import { chartsOf, type Chart } from './charts.js';
import type { ReportedRun } from './reported-run.js';
import type { StepPictures } from './run-pictures.js';
import { factsSection, setupSection, warningsSection } from './sections.js';

/** A picture in the page. */
interface ShownPicture {
  /** The address that an image element loads. */
  readonly src: string;
  readonly height: number;
  readonly width: number;
  readonly prompt: string;
  /** Null where it is not known. */
  readonly reward: number | null;
}

/** Pictures of one kind over time. */
interface ShownSeries {
  readonly title: string;
  readonly about: string;
  readonly runs: readonly {
    /** The index of the run. */
    readonly run: number;
    readonly shown: readonly { readonly step: number; readonly images: readonly ShownPicture[] }[];
  }[];
}

/** Pictures of held-out prompts of a run, before and after training. */
interface ShownComparison {
  /** The index of the run. */
  readonly run: number;
  readonly labels: readonly [string, string];
  readonly pairs: readonly (readonly [ShownPicture, ShownPicture])[];
}

/** The content of a page. The program of the page draws it; sections are HTML. */
export interface ReportContent {
  readonly title: string;
  readonly runs: readonly string[];
  readonly charts: readonly Chart[];
  readonly compared: readonly ShownComparison[];
  readonly series: readonly ShownSeries[];
  readonly sections: Readonly<Record<'facts' | 'warnings' | 'setup', string>>;
}

/** The address of a PNG file as a part of the page itself. */
const dataUrl = (png: Uint8Array): string => `data:image/png;base64,${Buffer.from(png).toString('base64')}`;

/** @param source returns the address under which the page finds a PNG file */
export function reportContent(
  runs: readonly ReportedRun[],
  source: (png: Uint8Array) => string = dataUrl,
): ReportContent {
  const shown = ({ png, height, width, prompt, reward }: SheetImage): ShownPicture => ({
    ...{ src: source(png), height, width, prompt },
    reward: Number.isFinite(reward) ? reward : null,
  });
  const series = (title: string, about: string, kind: 'samples' | 'evaluations'): ShownSeries => ({
    ...{ title, about },
    runs: runs.flatMap(({ pictures }, run) => {
      const steps = pictures[kind].shown.map(({ step, images }: StepPictures) => ({ step, images: images.map(shown) }));
      return steps.length > 0 ? [{ run, shown: steps }] : [];
    }),
  });
  return {
    title: `Report of ${runs.map(({ name }) => name).join(', ')}`,
    runs: runs.map(({ name }) => name),
    charts: chartsOf(runs),
    compared: runs.flatMap(({ pictures: { compared } }, run) =>
      compared
        ? [{ run, labels: compared.labels, pairs: compared.before.map((first, i) => pair(first, compared.after[i]!)) }]
        : [],
    ),
    series: [
      series('Held-out pictures over time', 'The same prompts and the same noise at each evaluation.', 'evaluations'),
      series('Training pictures over time', 'Other prompts and other noise at each step.', 'samples'),
    ].filter((one) => one.runs.length > 0),
    sections: {
      facts: factsSection(runs).text,
      warnings: warningsSection(runs).text,
      setup: setupSection(runs).text,
    },
  };

  function pair(before: SheetImage, after: SheetImage): readonly [ShownPicture, ShownPicture] {
    return [shown(before), shown(after)];
  }
}
