/** Numbers as people read them. @module */

/** A number of bytes, as `12 MB` or `1.6 GB`. */
export function inBytes(bytes: number): string {
  const units = ["MB", "GB", "TB", "PB"];
  let value = bytes / 1e6;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  if (unit === 0) return `${Math.max(1, Math.round(value))} MB`;
  return `${value < 1000 ? value.toFixed(1) : Math.round(value).toLocaleString("en")} ${units[unit]}`;
}
