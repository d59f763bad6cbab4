import type { Picture } from './messages.js';

/** Shows pictures, each with its prompt and its reward. */
export function showPictures(root: HTMLElement, pictures: readonly Picture[]): void {
  root.replaceChildren(
    ...pictures.map(({ prompt, image, reward }) =>
      figure([image], reward === undefined ? prompt : `${prompt} · ${reward.toFixed(3)}`),
    ),
  );
}

/** Shows pictures before and after training, one over the other; the CSS variable `--split` divides them. */
export function comparePictures(
  root: HTMLElement,
  before: readonly Picture[],
  after: readonly Picture[] | undefined,
): void {
  root.replaceChildren(
    ...before.map(({ prompt, image }, i) => figure(after ? [image, after[i]!.image] : [image], prompt)),
  );
}

function figure(images: readonly ImageData[], caption: string): HTMLElement {
  const [root, frame, text] = ['figure', 'div', 'figcaption'].map((name) => document.createElement(name)) as [
    HTMLElement,
    HTMLElement,
    HTMLElement,
  ];
  frame.className = images.length > 1 ? 'frame compared' : 'frame';
  frame.append(...images.map(canvasOf));
  text.textContent = caption;
  root.append(frame, text);
  return root;
}

function canvasOf(image: ImageData): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [image.width, image.height];
  canvas.getContext('2d')!.putImageData(image, 0, 0);
  return canvas;
}
