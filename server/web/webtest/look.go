package webtest

// contrastJS lists the visible texts whose contrast with what lies behind them is below 4.5 : 1, or 3 : 1 for large text
// (WCAG 2.2, 1.4.3). It knows plain colours: every ground of the pages is one.
const contrastJS = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = (colour) => {
		canvas.clearRect(0, 0, 1, 1);
		canvas.fillStyle = colour;
		canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] / 255 + under[i] * (1 - top[3] / 255));
	const ground = (element) => {
		if (!element) return [255, 255, 255];
		const colour = rgba(getComputedStyle(element).backgroundColor);
		return colour[3] === 255 ? colour.slice(0, 3) : over(colour, ground(element.parentElement));
	};
	const luminance = (c) => c.slice(0, 3)
		.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const low = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const text = walker.currentNode.textContent.trim();
		const element = walker.currentNode.parentElement;
		if (!text || !element.checkVisibility({ visibilityProperty: true }) || element.closest(".hidden, noscript, :disabled, dialog:not([open])")) continue;
		const style = getComputedStyle(element);
		const under = ground(element);
		const [a, b] = [luminance(over(rgba(style.color), under)), luminance(under)];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		const size = parseFloat(style.fontSize);
		const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
		if (ratio < (large ? 3 : 4.5)) low.push(text.slice(0, 40) + " " + ratio.toFixed(2));
	}
	return low;
})()`

// LowContrast returns the visible texts whose contrast with their ground is too low, with the ratio.
func (p *Page) LowContrast() []string {
	p.t.Helper()
	return Eval[[]string](p, contrastJS)
}

const tooWideJS = `[document.documentElement, document.getElementById("scroller")].filter((e) => e.scrollWidth > e.clientWidth)
	.concat([...document.querySelectorAll("button, input, textarea, .bubble, .pill, .node")]
		.filter((e) => e.checkVisibility({ visibilityProperty: true }) && e.getBoundingClientRect().right > innerWidth))
	.map((e) => e.outerHTML.slice(0, 80))`

// TooWide returns what is cut off at the right of the view, or makes it scroll sideways.
func (p *Page) TooWide() []string {
	p.t.Helper()
	return Eval[[]string](p, tooWideJS)
}
