/** How this software names itself in associations, file meta and what it writes (PS3.7 D.3.3.2, PS3.10 7.1). */

/** Release; the same as in package.json, which a test holds. */
export const SOFTWARE_VERSION = '0.1.0';
/** Ours for good: changes only when the implementation becomes another one. */
export const IMPLEMENTATION_CLASS_UID = '2.25.262407063583281447394215104838216271390';
/** Manufacturer (0008,0070) of what it makes. */
export const MANUFACTURER = 'Isthmus';
/** At most 16 characters. */
export const IMPLEMENTATION_VERSION_NAME = 'ISTHMUS_0.1';
