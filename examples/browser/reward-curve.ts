/** The plot's area in the units of the drawing: 600 × 200. */
const area = { left: 78, right: 590, top: 12, bottom: 172 } as const;

/** Draws the mean reward of each step, of at least one, as a curve. */
export function drawCurve(svg: SVGElement, rewards: readonly number[]): void {
  const [low, high] = [Math.min(...rewards), Math.max(...rewards)];
  const x = (step: number) => area.left + ((area.right - area.left) * step) / Math.max(1, rewards.length - 1);
  const y = (reward: number) => area.bottom - ((area.bottom - area.top) * (reward - low)) / (high - low || 1);
  const axis = [area.top, area.bottom].map((at) => line({ x1: area.left, x2: area.right, y1: at, y2: at }));
  svg.replaceChildren(...axis);
  const last = rewards.at(-1)!;
  svg.append(
    element('polyline', { points: rewards.map((reward, step) => `${x(step)},${y(reward)}`).join(' ') }),
    element('circle', { cx: x(rewards.length - 1), cy: y(last), r: 4 }),
    ...(high > low ? [label(high.toPrecision(3), 0, area.top + 7)] : []),
    label(low.toPrecision(3), 0, area.bottom + 5),
    label('step 1', area.left, 194),
    ...(rewards.length > 1 ? [label(`step ${rewards.length}`, area.right, 194, 'end')] : []),
  );
  svg.setAttribute(
    'aria-label',
    `${rewards.length} steps, reward ${rewards[0]!.toPrecision(3)} to ${last.toPrecision(3)}`,
  );
}

type Attributes = Readonly<Record<string, string | number>>;

function element(name: string, attributes: Attributes): SVGElement {
  const created = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, `${value}`);
  return created;
}

const line = (attributes: Attributes): SVGElement => element('line', attributes);

function label(text: string, x: number, y: number, anchor: 'start' | 'end' = 'start'): SVGElement {
  const created = element('text', { x, y, 'text-anchor': anchor });
  created.textContent = text;
  return created;
}
