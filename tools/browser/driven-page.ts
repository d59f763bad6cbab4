import type { ChildProcess } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { withChromium } from './chromium.js';

type Params = Readonly<Record<string, unknown>>;
interface Answer {
  readonly id?: number;
  readonly result?: any;
  readonly error?: { readonly message: string };
  readonly method?: string;
  readonly params?: any;
}

/** A page in headless Chromium that a test drives, by the DevTools protocol over pipes. */
export class DrivenPage {
  /** Errors that the page has thrown or logged, and requests that failed. */
  readonly errors: string[] = [];
  readonly #pipe: Writable;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #session: string | undefined;
  #count = 0;

  private constructor({ stdio }: ChildProcess) {
    this.#pipe = stdio[3] as Writable;
    let text = '';
    (stdio[4] as Readable).setEncoding('utf8').on('data', (piece: string) => {
      const messages = (text + piece).split('\0');
      text = messages.pop()!;
      for (const message of messages) this.#receive(JSON.parse(message) as Answer);
    });
  }

  /** Opens an empty page, and closes it when `use` settles. */
  static open<T>(chromium: string, use: (page: DrivenPage) => Promise<T>): Promise<T> {
    const args = ['--disable-gpu', '--remote-debugging-pipe', 'about:blank'];
    return withChromium(chromium, args, ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], async (child) => {
      const page = new DrivenPage(child);
      const { targetId } = await page.send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await page.send('Target.attachToTarget', { targetId, flatten: true });
      page.#session = sessionId as string;
      for (const domain of ['Page', 'Runtime', 'Log']) await page.send(`${domain}.enable`);
      return use(page);
    });
  }

  /** Sends a command of https://chromedevtools.github.io/devtools-protocol/. @throws what Chromium answers */
  async send(method: string, params: Params = {}): Promise<any> {
    const id = ++this.#count;
    const answer = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    this.#pipe.write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`);
    const { result, error } = await answer;
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  /** Sets the size in CSS pixels, and the colour scheme. */
  async show({
    width,
    height = 900,
    isDark = false,
  }: {
    width: number;
    height?: number;
    isDark?: boolean;
  }): Promise<void> {
    await this.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: width < 500 });
    const value = isDark ? 'dark' : 'light';
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] });
  }

  /** Evaluates an expression in the page, awaits it, and returns its value as JSON holds it. @throws what it throws */
  async evaluate<T>(expression: string): Promise<T> {
    const options = { awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails: thrown } = await this.send('Runtime.evaluate', { expression, ...options });
    if (thrown) throw new Error(`${expression.slice(0, 80)}: ${thrown.exception?.description ?? thrown.text}`);
    return result.value as T;
  }

  /** Waits until an expression is true in the page. @throws after a time, with the text of the page */
  async waitFor(expression: string, seconds = 60): Promise<void> {
    for (let tries = seconds * 20; tries > 0; tries--) {
      if (await this.evaluate<boolean>(`Boolean(${expression})`)) return;
      await sleep(50);
    }
    const text = await this.evaluate<string>('document.body.innerText');
    throw new Error(`waitFor: ${expression} did not come true in ${seconds} s. The page says: ${text}`);
  }

  /** Presses and releases a key, such as Tab. */
  async press(key: string, keyCode: number): Promise<void> {
    for (const type of ['keyDown', 'keyUp'])
      await this.send('Input.dispatchKeyEvent', { type, key, code: key, windowsVirtualKeyCode: keyCode });
  }

  /** Draws the page as a PNG file, in base64. */
  async screenshot(): Promise<string> {
    const { data } = await this.send('Page.captureScreenshot', { captureBeyondViewport: true });
    return data as string;
  }

  #receive(answer: Answer): void {
    if (answer.id === undefined) return this.#notice(answer);
    this.#waiting.get(answer.id)?.(answer);
    this.#waiting.delete(answer.id);
  }

  /** Keeps the errors among the events. */
  #notice({ method, params }: Answer): void {
    const isError =
      method === 'Runtime.exceptionThrown' ||
      (method === 'Runtime.consoleAPICalled' && params.type === 'error') ||
      (method === 'Log.entryAdded' && params.entry.level === 'error');
    if (isError) this.errors.push(JSON.stringify(params));
  }
}
