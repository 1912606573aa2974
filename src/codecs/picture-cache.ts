/** Pictures that were drawn already, up to so many bytes; what was longest not asked for goes first. */

export interface PictureCache {
  readonly pictures: Map<string, Promise<Buffer>>;
  readonly mostBytes: number;
  bytes: number;
}

export function openPictureCache(mostBytes = 64 * 2 ** 20): PictureCache {
  return { pictures: new Map(), mostBytes, bytes: 0 };
}

/** The picture under this key; drawn once, however many ask for it at the same time. What fails is not kept. */
export async function cachedPicture(cache: PictureCache, key: string, draw: () => Promise<Buffer>): Promise<Buffer> {
  const { pictures } = cache;
  const known = pictures.get(key);
  if (known !== undefined) {
    // A Map keeps the order of insertion: the first is the one longest unused.
    pictures.delete(key);
    pictures.set(key, known);
    return known;
  }
  const drawing = draw();
  pictures.set(key, drawing);
  try {
    const picture = await drawing;
    cache.bytes += picture.length;
    await shrink(cache);
    return picture;
  } catch (error) {
    pictures.delete(key);
    throw error;
  }
}

async function shrink(cache: PictureCache): Promise<void> {
  for (const [key, picture] of cache.pictures) {
    if (cache.bytes <= cache.mostBytes) return;
    cache.pictures.delete(key);
    cache.bytes -= await picture.then(
      ({ length }) => length,
      () => 0,
    );
  }
}
