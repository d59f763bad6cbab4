/** A text of HTML, which `html` takes as it is. */
export class Html {
  constructor(readonly text: string) {}

  toString(): string {
    return this.text;
  }
}

/** A value in a template: texts and numbers are escaped, HTML is not, lists are joined, undefined is left out. */
export type HtmlPart = Html | string | number | undefined | readonly HtmlPart[];

/** The tag of templates of HTML: html`<b>${prompt}</b>`. */
export const html = (texts: TemplateStringsArray, ...parts: readonly HtmlPart[]): Html =>
  new Html(texts.map((text, i) => text + written(parts[i])).join(''));

function written(part: HtmlPart): string {
  if (part === undefined) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(written).join('');
  return escaped(String(part));
}

const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (character) => entities[character as keyof typeof entities]);

/** JSON for a script element: no text in it can end the element. */
export const jsonForScript = (value: unknown): Html => new Html(JSON.stringify(value).replaceAll('<', '\\u003c'));
