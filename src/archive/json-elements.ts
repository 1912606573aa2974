/** The members of an object that `formatDicomJsonObject` wrote, each as it stands in the text: a result shows them without reading them. */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d];
/** `"GGGGEEEE":` */
const KEY_CHARACTERS = 11;

/** By key; no white space stands between anything. */
export function elementsIn(text: string): Map<string, string> {
  const elements = new Map<string, string>();
  for (let at = 1; at + KEY_CHARACTERS < text.length;) {
    const end = endOfValue(text, at + KEY_CHARACTERS);
    elements.set(text.slice(at + 1, at + 9), text.slice(at, end));
    // Behind the comma.
    at = end + 1;
  }
  return elements;
}

/** `at`: where an object or array begins. */
function endOfValue(text: string, at: number): number {
  let depth = 0;
  for (; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++;
    else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) return at + 1;
  }
  return at;
}

/** `at`: of the quotation mark that it begins with; of the one that it ends with. */
function endOfString(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}
